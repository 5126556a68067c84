"""One session's filters: who is asked when, by whose policy, and what each group of recipients gets."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from postane.config.model import Dns
from postane.core.address import Address
from postane.core.envelope import Envelope, Recipient
from postane.core.peer import Peer, Service
from postane.core.ports import Body, Resolved
from postane.core.reply import Reply
from postane.core.verdict import ACCEPT, Decision, Ruling, Suspect, Verdict
from postane.filters.base import Filter, Options, Tools
from postane.filters.case import FilterCase, Policy
from postane.filters.pipeline import Judge, Pipeline

STRANGER = Peer(Service.SMTP, "192.0.2.1", 4711)
MEMBER = Peer(Service.SUBMISSION, "192.0.2.1", 4711, login="me@x.test", own=True)
TOOLS = Tools("mx.test", Dns(), lambda: 0.0)
NO = Verdict(Decision.REJECT, "listed", Reply(554, "5.7.1", "Listed"), score=5.0, opinion=True)
SPAM = Verdict(Decision.QUARANTINE, "spam", headers=(("X-Score", "7"),), opinion=True)


class Text:
    """A core.ports.Body."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.size = len(octets)

    def chunks(self) -> list[bytes]:
        return [self._octets]

    def bytes(self) -> bytes:
        return self._octets


class Says(Filter[Options]):
    """Says one thing in one phase, and notes who asked."""

    def __init__(self, phase: str, verdict: Verdict = ACCEPT, *, name: str = "says") -> None:
        super().__init__(Options(), TOOLS)
        self.name = name  # type: ignore[misc]
        self._phase, self._verdict = phase, verdict
        self.heard: list[Peer] = []

    def phases(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self._phase,)

    async def connect(self, peer: Peer) -> Verdict:
        self.heard.append(peer)
        return self._verdict

    async def mail(self, peer: Peer, sender: str) -> Verdict:
        return await self.connect(peer)

    async def rcpt(self, peer: Peer, sender: str, recipient: Address) -> Verdict:
        return await self.connect(peer)

    async def data(self, peer: Peer, envelope: Envelope, body: Body) -> Verdict:
        return await self.connect(peer)


class Members(Says):
    members = True


class BySender(Members):
    by_sender = True


class ByRecipient(Members):
    by_recipient = True


def policy(*filters: Filter[Options], suspect: Suspect = "junk") -> Policy:
    return Policy(Pipeline(filters), suspect)


def case(server: Policy, **others: Policy) -> FilterCase:
    """`others` by the one wish that names them."""
    return FilterCase(lambda wishes: others[wishes[-1]] if wishes else server, Judge())


def resolved(*names: str, **wishes: str) -> Resolved:
    targets = tuple(Recipient(f"{name}@x.test") for name in names)
    return Resolved(True, targets, policies={f"{name}@x.test": (wish,) for name, wish in wishes.items()})


async def rcpt(
    one: FilterCase, found: Resolved, peer: Peer = STRANGER, to: str = "a@x.test"
) -> tuple[Verdict, list[str]]:
    verdict, targets = await one.rcpt(peer, "s@far.test", Address.parse(to), found)
    return verdict, [target.address for target in targets]


def data(one: FilterCase, recipients: Sequence[str], peer: Peer = STRANGER) -> dict[str, Ruling]:
    envelope = Envelope("id", "s@far.test", tuple(Recipient(f"{name}@x.test") for name in recipients), 0.0)
    rulings = asyncio.run(one.data(peer, envelope, None))  # type: ignore[arg-type]
    return {recipient.address[0]: ruling for ruling in rulings for recipient in ruling.recipients}


def test_a_refusal_at_connect_is_said_at_rcpt_unless_it_is_at_once() -> None:
    async def talk() -> None:
        one = case(policy(Says("connect", NO)))
        assert await one.connect(STRANGER) == ACCEPT
        assert await one.mail(STRANGER, "s@far.test") == ACCEPT
        verdict, targets = await rcpt(one, resolved("a"))
        assert (verdict.reply, targets) == (NO.reply, [])
        loud = case(policy(Says("connect", Verdict(Decision.DEFER, "too many", at_once=True))))
        assert (await loud.connect(STRANGER)).decision is Decision.DEFER

    asyncio.run(talk())


def test_a_recipient_who_wants_no_blocklist_is_not_refused_by_one() -> None:
    async def talk() -> None:
        lists, other = Says("connect", NO), Says("mail")
        one = case(policy(lists, other), open=policy(other))
        await one.connect(STRANGER)
        await one.mail(STRANGER, "s@far.test")
        assert (await rcpt(one, resolved("a", "b", a="open")))[1] == ["a@x.test"]
        assert (await rcpt(one, resolved("c")))[0].decision is Decision.REJECT
        assert (len(lists.heard), len(other.heard)) == (1, 1)  # asked once, whosever policy it serves

    asyncio.run(talk())


def test_each_phase_knows_the_score_of_those_before_it() -> None:
    first, second, third, last = (
        Says("connect", Verdict(score=2)),
        Says("mail", Verdict(score=3)),
        Says("rcpt"),
        Says("data"),
    )
    one = case(policy(first, second, third, last))
    asyncio.run(one.connect(STRANGER))
    asyncio.run(one.mail(STRANGER, "s@far.test"))
    asyncio.run(rcpt(one, resolved("a")))
    data(one, "a")
    assert [filter_.heard[0].score for filter_ in (first, second, third, last)] == [0, 2, 5, 5]
    assert [filter_.heard for filter_ in (first, second, third, last)] == [
        [f.heard[0]] for f in (first, second, third, last)
    ]


def test_postmaster_hears_whatever_is_thought_of_the_sender() -> None:
    one = case(policy(Says("connect", NO)))
    assert asyncio.run(rcpt(one, resolved("a"), to="postmaster@x.test"))[1] == ["a@x.test"]
    assert data(one, "a")["a"].verdict.decision is Decision.ACCEPT  # and not refused after the text instead
    strict = case(policy(Says("data", NO)))
    assert asyncio.run(rcpt(strict, resolved("a"), to="postmaster@x.test"))[1] == ["a@x.test"]
    assert data(strict, "a")["a"].verdict.decision is Decision.REJECT  # the text is judged as any other
    firm = case(policy(Says("connect", Verdict(Decision.DEFER, "too many"))))
    assert asyncio.run(rcpt(firm, resolved("a"), to="postmaster@x.test"))[1] == []


def test_recipients_of_one_message_get_what_their_own_policies_say() -> None:
    shared, strict = Says("data", SPAM), Says("data", NO)
    one = case(policy(shared), kept=policy(shared, suspect="quarantine"), strict=policy(shared, strict))
    asyncio.run(one.mail(STRANGER, "s@far.test"))
    asyncio.run(rcpt(one, resolved("a", "b", "c", b="kept", c="strict")))
    rulings = data(one, "abc")
    assert [(rulings[to].verdict.decision.name, rulings[to].suspect) for to in "abc"] == [
        ("QUARANTINE", "junk"),
        ("QUARANTINE", "quarantine"),
        ("REJECT", "junk"),
    ]
    assert rulings["c"].verdict.headers == SPAM.headers
    assert len(shared.heard) == 1  # asked once for all three


def test_one_who_is_wanted_is_spared_opinions_of_every_phase() -> None:
    one = case(policy(Says("connect", NO), Says("rcpt", Verdict(trust=True)), Says("data", SPAM)))
    asyncio.run(one.connect(STRANGER))
    asyncio.run(one.mail(STRANGER, "s@far.test"))
    assert asyncio.run(rcpt(one, resolved("a")))[1] == ["a@x.test"]
    assert data(one, "a")["a"].verdict.decision is Decision.ACCEPT


def test_our_users_are_judged_by_filters_for_members_of_both_sides() -> None:
    outside, server, mine, theirs = Says("data", NO), Members("data"), Members("data"), Members("data")
    rates = BySender("data")
    one = case(policy(outside, server, rates), me=policy(mine), you=policy(theirs, outside, rates))
    asyncio.run(one.mail(MEMBER, "me@x.test", ("me",)))
    asyncio.run(rcpt(one, resolved("a", "b", a="you"), MEMBER))
    assert data(one, "ab", MEMBER)["a"].verdict.decision is Decision.ACCEPT
    assert [len(f.heard) for f in (outside, server, mine, theirs, rates)] == [0, 1, 1, 1, 0]


def test_a_filter_may_be_the_recipients_alone() -> None:
    mine, theirs = ByRecipient("rcpt", NO), ByRecipient("rcpt")
    one = case(policy(), me=policy(mine), you=policy(theirs))
    asyncio.run(one.mail(MEMBER, "me@x.test", ("me",)))
    assert asyncio.run(rcpt(one, resolved("a", a="you"), MEMBER))[1] == ["a@x.test"]
    assert (len(mine.heard), len(theirs.heard)) == (0, 1)


def test_a_new_transaction_forgets_the_last_one_but_not_the_connection() -> None:
    connect, mail = Says("connect"), Says("mail")
    one = case(policy(connect, mail))
    asyncio.run(one.connect(STRANGER))
    for _ in range(3):
        asyncio.run(one.mail(STRANGER, "s@far.test"))
    assert (len(connect.heard), len(mail.heard)) == (1, 3)


def test_the_policies_behind_one_recipient_are_asked_side_by_side() -> None:
    class Slow(Says):
        async def rcpt(self, peer: Peer, sender: str, recipient: Address) -> Verdict:
            await asyncio.sleep(0.05)
            return await super().rcpt(peer, sender, recipient)

    async def talk() -> None:
        others = {f"p{number}": policy(Slow("rcpt")) for number in range(100)}
        one = case(policy(), **others)
        await one.mail(STRANGER, "s@far.test")
        found = resolved(*others, **{name: name for name in others})
        async with asyncio.timeout(2):
            assert len((await rcpt(one, found))[1]) == 100

    asyncio.run(talk())


def test_a_session_of_many_transactions_keeps_what_was_said_of_the_last() -> None:
    async def talk() -> None:
        first, second = Says("connect", name="first"), Says("mail", name="second")
        one = case(policy(first, second))
        await one.connect(STRANGER)
        for _ in range(5):
            await one.mail(STRANGER, "s@far.test")
        assert [said.filter for said in one.judged] == ["first", "second"]

    asyncio.run(talk())


def test_octets_beyond_the_text_are_the_filters_fault() -> None:
    one = case(policy(Says("data", Verdict(patches=((8, b"xxx"),)), name="beyond")))
    envelope = Envelope("id", "s@far.test", (Recipient("a@x.test"),), 0.0)
    (ruling,) = asyncio.run(one.data(STRANGER, envelope, Text(b"ten octets")))
    assert ruling.verdict.decision is Decision.DEFER
    assert "beyond: " in ruling.verdict.why
