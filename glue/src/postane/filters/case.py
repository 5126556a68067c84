"""The filters of one session, phase by phase: each filter is asked once, however many policies it serves.

Connect and MAIL are judged by the server's own policy when they happen, and by a recipient's policy at RCPT: the
filters that both have were asked already. So a recipient who wants no blocklist is not refused by one.

What our own users send is judged by the filters of the sender's policy and of the recipient's, those that judge
members at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from postane.core.address import Address
from postane.core.envelope import Envelope, Recipient
from postane.core.peer import Peer
from postane.core.ports import Body, Resolved
from postane.core.verdict import ACCEPT, Decision, Ruling, Suspect, Verdict, combine
from postane.filters.base import Filter, Options
from postane.filters.pipeline import Call, Judge, Judged, Pipeline

# Names at which somebody can be reached whatever is thought of the sender (RFC 5321 section 4.5.1, RFC 2142).
REACHABLE = ("postmaster", "abuse")

_TRUSTED = Verdict(trust=True)

Filters = tuple[Filter[Options], ...]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """Filters, and where suspect mail goes."""

    pipeline: Pipeline
    suspect: Suspect


@dataclass(frozen=True, slots=True)
class _Place:
    """What is known of an accepted recipient: the policy, and what it made of the phases before the text."""

    policy: Policy
    said: tuple[Verdict, ...]


class FilterCase:
    """The core.ports.Case."""

    def __init__(
        self, of: Callable[[tuple[str, ...]], Policy], judge: Judge, forget: Callable[[str], None] = lambda _: None
    ) -> None:
        """`of` gives the policy of one who has these wishes; `forget` is told the id of a message that is judged."""
        self._of = of
        self._forget = forget
        self._judge = judge
        self._connected: dict[Filter[Options], Judged] = {}  # by filter: what it said when the peer came
        self._asked: dict[Filter[Options], Judged] = {}  # the same at MAIL of this transaction
        self._sender_policy = of(())
        self._places: dict[str, _Place] = {}  # by the address of a target
        self.judged: list[Judged] = []  # all that was said, in order, when the peer came and in this transaction

    async def connect(self, peer: Peer) -> Verdict:
        filters = self._of(()).pipeline.of("connect", own=peer.own)
        return _at_once(combine(await self._connect(filters, peer)))

    async def mail(self, peer: Peer, sender: str, wishes: tuple[str, ...] = ()) -> Verdict:
        self._asked, self._places = {}, {}
        self.judged = list(self._connected.values())  # a session may have any number of transactions
        self._sender_policy = self._of(wishes)
        pipeline = self._sender_policy.pipeline
        said = await self._connect(pipeline.of("connect", own=peer.own), peer)
        filters = pipeline.of("mail", own=peer.own)
        scored = _scored(peer, said)
        return _at_once(combine([*said, *await self._mail(dict.fromkeys(filters, scored), sender)]))

    async def rcpt(
        self, peer: Peer, sender: str, recipient: Address, resolved: Resolved
    ) -> tuple[Verdict, tuple[Recipient, ...]]:
        policies = {target.address: self._of(resolved.policies.get(target.address, ())) for target in resolved.targets}
        verdicts: dict[Policy, Verdict] = {}
        places: dict[Policy, _Place] = {}
        heard = await self._before_text(list(dict.fromkeys(policies.values())), peer, sender, recipient)
        for policy, said in heard.items():
            spared = [_TRUSTED] if recipient.key_local in REACHABLE else []
            verdicts[policy] = combine([*said, *spared])
            places[policy] = _Place(policy, tuple(map(_forgiven, said)) if spared else said)
        accepted = tuple(t for t in resolved.targets if not _refuses(verdicts[policies[t.address]]))
        for target in accepted:
            self._places.setdefault(target.address, places[policies[target.address]])
        if not accepted and verdicts:
            return max(verdicts.values(), key=lambda verdict: verdict.decision), ()
        return ACCEPT, accepted

    async def unknown(self, peer: Peer, sender: str, recipient: Address) -> Verdict:
        filters = self._sender_policy.pipeline.of("unknown", own=peer.own)
        judged = await self._judge.all(
            filters, "unknown", [lambda f: f.unknown(peer, sender, recipient)] * len(filters)
        )
        self.judged += judged
        return combine(one.verdict for one in judged)

    async def data(self, peer: Peer, envelope: Envelope, body: Body) -> list[Ruling]:
        groups: dict[_Place, list[Recipient]] = {}
        for recipient in envelope.recipients:
            place = self._places.get(recipient.address) or _Place(self._sender_policy, ())
            groups.setdefault(place, []).append(recipient)
        # Filters of two policies are one question where the peer's score is the same.
        wanted = {place: self._scores(place, peer) for place in groups}
        questions = list(dict.fromkeys(one for scores in wanted.values() for one in scores))
        call = {score: _data_call(_at(peer, score), envelope, body) for _, score in questions}
        calls = [call[score] for _, score in questions]
        try:
            judged = await self._judge.all([one for one, _ in questions], "data", calls)
        finally:
            self._forget(envelope.id)
        self.judged += judged
        said = {question: one.verdict for question, one in zip(questions, judged, strict=True)}
        return [
            Ruling(
                tuple(recipients),
                combine([*place.said, *(said[question] for question in wanted[place])]),
                place.policy.suspect,
            )
            for place, recipients in groups.items()
        ]

    # -- inside ---------------------------------------------------------------------------------------------------

    async def _before_text(
        self, policies: Sequence[Policy], peer: Peer, sender: str, recipient: Address
    ) -> dict[Policy, tuple[Verdict, ...]]:
        """What the filters of each policy say up to RCPT. All policies go through a phase together: an alias may lead
        to hundreds of people, and the peer waits for its answer.
        """
        await self._connect(_all_of(self._filters(one, peer, "connect") for one in policies), peer)
        said = {one: await self._connect(self._filters(one, peer, "connect"), peer) for one in policies}
        peers: dict[Filter[Options], Peer] = {}
        for one in policies:
            for judge in self._filters(one, peer, "mail"):
                peers.setdefault(judge, _scored(peer, said[one]))
        await self._mail(peers, sender)
        for one in policies:
            said[one] += [self._asked[judge].verdict for judge in self._filters(one, peer, "mail")]
        questions = {
            one: [(judge, _scored(peer, said[one]).score) for judge in self._filters(one, peer, "rcpt")]
            for one in policies
        }
        new = _all_of(questions.values())
        calls = [_rcpt_call(_at(peer, score), sender, recipient) for _, score in new]
        judged = await self._judge.all([judge for judge, _ in new], "rcpt", calls)
        self.judged += judged
        answers = dict(zip(new, (one.verdict for one in judged), strict=True))
        return {one: (*said[one], *(answers[question] for question in questions[one])) for one in policies}

    def _filters(self, policy: Policy, peer: Peer, phase: str) -> Filters:
        filters = policy.pipeline.of(phase, own=peer.own)
        if peer.own and policy is not self._sender_policy:
            mine = (one for one in self._sender_policy.pipeline.of(phase, own=True) if not one.by_recipient)
            theirs = (one for one in filters if not one.by_sender)
            filters = tuple(dict.fromkeys((*mine, *theirs)))
        return filters

    def _scores(self, place: _Place, peer: Peer) -> list[tuple[Filter[Options], float]]:
        """The filters of the data phase, each with the score that the peer has by this policy."""
        score = sum(verdict.score for verdict in place.said)
        return [(one, score) for one in self._filters(place.policy, peer, "data")]

    async def _connect(self, filters: Filters, peer: Peer) -> list[Verdict]:
        return await self._remembered(self._connected, filters, "connect", lambda f: f.connect(peer))

    async def _mail(self, peers: Mapping[Filter[Options], Peer], sender: str) -> list[Verdict]:
        """`peers` has for each filter the peer with the score that it has before MAIL."""
        return await self._remembered(self._asked, tuple(peers), "mail", lambda f: f.mail(peers[f], sender))

    async def _remembered(
        self, memory: dict[Filter[Options], Judged], filters: Filters, phase: str, call: Call
    ) -> list[Verdict]:
        new = [one for one in filters if one not in memory]
        if new:
            judged = await self._judge.all(new, phase, [call] * len(new))
            memory.update(zip(new, judged, strict=True))
            self.judged += judged
        return [memory[one].verdict for one in filters]


def _all_of(several: Iterable[Iterable[T]]) -> tuple[T, ...]:
    return tuple(dict.fromkeys(one for every in several for one in every))


def _rcpt_call(peer: Peer, sender: str, recipient: Address) -> Call:
    return lambda judge: judge.rcpt(peer, sender, recipient)


def _data_call(peer: Peer, envelope: Envelope, body: Body) -> Call:
    async def call(judge: Filter[Options]) -> Verdict:
        verdict = await judge.data(peer, envelope, body)
        if isinstance(verdict, Verdict) and any(at + len(octets) > body.size for at, octets in verdict.patches):
            raise ValueError("wants octets replaced beyond the end of the text")
        return verdict

    return call


def _scored(peer: Peer, said: Sequence[Verdict]) -> Peer:
    return _at(peer, sum(verdict.score for verdict in said)) if said else peer


def _at(peer: Peer, score: float) -> Peer:
    return peer if peer.score == score else replace(peer, score=score)


def _refuses(verdict: Verdict) -> bool:
    return verdict.decision in (Decision.DEFER, Decision.REJECT)


def _forgiven(verdict: Verdict) -> Verdict:
    """What was overlooked at RCPT refuses nothing after the text either; the text itself is judged as any other."""
    return replace(verdict, decision=Decision.ACCEPT, reply=None) if verdict.opinion and _refuses(verdict) else verdict


def _at_once(verdict: Verdict) -> Verdict:
    """What is said before RCPT."""
    return verdict if verdict.at_once and _refuses(verdict) else ACCEPT
