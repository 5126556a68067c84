"""The filters of one session, phase by phase: each filter is asked once, however many policies it serves.

Connect and MAIL are judged by the server's own policy when they happen, and by a recipient's policy at RCPT: the
filters that both have were asked already. So a recipient who wants no blocklist is not refused by one.

What our own users send is judged by the filters of the sender's policy and of the recipient's, those that judge
members at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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
_Answers = dict[tuple[Filter[Options], float], Verdict]  # by filter, and by the score that the peer had


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

    def __init__(self, of: Callable[[tuple[str, ...]], Policy], judge: Judge) -> None:
        """`of` gives the policy of one who has these wishes."""
        self._of = of
        self._judge = judge
        self._connected: dict[Filter[Options], Judged] = {}  # by filter: what it said when the peer came
        self._asked: dict[Filter[Options], Judged] = {}  # the same at MAIL of this transaction
        self._sender_policy = of(())
        self._places: dict[str, _Place] = {}  # by the address of a target
        self.judged: list[Judged] = []  # all that was said, in order

    async def connect(self, peer: Peer) -> Verdict:
        filters = self._of(()).pipeline.of("connect", own=peer.own)
        return _at_once(combine(await self._connect(filters, peer)))

    async def mail(self, peer: Peer, sender: str, wishes: tuple[str, ...] = ()) -> Verdict:
        self._asked, self._places = {}, {}
        self._sender_policy = self._of(wishes)
        pipeline = self._sender_policy.pipeline
        said = await self._connect(pipeline.of("connect", own=peer.own), peer)
        filters = pipeline.of("mail", own=peer.own)
        return _at_once(combine([*said, *await self._mail(filters, _scored(peer, said), sender)]))

    async def rcpt(
        self, peer: Peer, sender: str, recipient: Address, resolved: Resolved
    ) -> tuple[Verdict, tuple[Recipient, ...]]:
        policies = {target.address: self._of(resolved.policies.get(target.address, ())) for target in resolved.targets}
        verdicts: dict[Policy, Verdict] = {}
        places: dict[Policy, _Place] = {}
        asked: _Answers = {}
        for policy in dict.fromkeys(policies.values()):
            said = await self._before_text(policy, peer, sender, recipient, asked)
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
        calls = [_data_call(replace(peer, score=score), envelope, body) for _, score in questions]
        judged = await self._judge.all([one for one, _ in questions], "data", calls)
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
        self, policy: Policy, peer: Peer, sender: str, recipient: Address, asked: _Answers
    ) -> tuple[Verdict, ...]:
        """What the policy's filters say up to RCPT; `asked` is what those of other policies said of this one."""
        said = await self._connect(self._filters(policy, peer, "connect"), peer)
        said += await self._mail(self._filters(policy, peer, "mail"), _scored(peer, said), sender)
        scored = _scored(peer, said)
        questions = [(one, scored.score) for one in self._filters(policy, peer, "rcpt")]
        new = [question for question in questions if question not in asked]
        calls = [lambda f: f.rcpt(scored, sender, recipient)] * len(new)
        judged = await self._judge.all([one for one, _ in new], "rcpt", calls)
        asked.update(zip(new, (one.verdict for one in judged), strict=True))
        self.judged += judged
        return (*said, *(asked[question] for question in questions))

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

    async def _mail(self, filters: Filters, peer: Peer, sender: str) -> list[Verdict]:
        return await self._remembered(self._asked, filters, "mail", lambda f: f.mail(peer, sender))

    async def _remembered(
        self, memory: dict[Filter[Options], Judged], filters: Filters, phase: str, call: Call
    ) -> list[Verdict]:
        new = [one for one in filters if one not in memory]
        if new:
            judged = await self._judge.all(new, phase, [call] * len(new))
            memory.update(zip(new, judged, strict=True))
            self.judged += judged
        return [memory[one].verdict for one in filters]


def _data_call(peer: Peer, envelope: Envelope, body: Body) -> Call:
    return lambda judge: judge.data(peer, envelope, body)


def _scored(peer: Peer, said: Sequence[Verdict]) -> Peer:
    return replace(peer, score=sum(verdict.score for verdict in said)) if said else peer


def _refuses(verdict: Verdict) -> bool:
    return verdict.decision in (Decision.DEFER, Decision.REJECT)


def _forgiven(verdict: Verdict) -> Verdict:
    """What was overlooked at RCPT refuses nothing after the text either; the text itself is judged as any other."""
    return replace(verdict, decision=Decision.ACCEPT, reply=None) if verdict.opinion and _refuses(verdict) else verdict


def _at_once(verdict: Verdict) -> Verdict:
    """What is said before RCPT."""
    return verdict if verdict.at_once and _refuses(verdict) else ACCEPT
