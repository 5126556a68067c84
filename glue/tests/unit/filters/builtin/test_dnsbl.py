"""The filter dnsbl: what lists add up to, what is asked at all, and that none is believed before it was tested."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from postane.config.model import Dns
from postane.core.envelope import Envelope, Recipient
from postane.core.errors import ServiceMissingError
from postane.core.peer import Peer, Service
from postane.core.question import Answer, Question
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters.base import Tools
from postane.filters.blocklists import watch
from postane.filters.blocklists.health import State
from postane.filters.builtin.dnsbl import Dnsbl, List, Options, kinds
from support.zone import Zone

BAD = "192.0.2.66"

TESTS = """
2.0.0.127.bl.example A 127.0.0.2
2.0.0.127.other.example A 127.0.0.2
2.0.0.127.wl.example A 127.0.5.3
test.dbl.example A 127.0.1.2
"""

ZONE = f"""
{TESTS}
66.2.0.192.bl.example A 127.0.0.4
66.2.0.192.bl.example TXT Open relay, see https://bl.example/192.0.2.66
67.2.0.192.bl.example A 127.0.0.10
67.2.0.192.wl.example A 127.0.5.3
68.2.0.192.wl.example A 127.0.5.1
spam.example.dbl.example A 127.0.1.4
"""


class Text:
    """A message of one piece."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self.size = len(text)

    def chunks(self) -> Sequence[bytes]:
        return [self._text]

    def bytes(self) -> bytes:
        return self._text


class Memory:
    """A store, as far as it is used here. `down`: it does not answer."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.down = False

    async def put(self, key: str, value: str, seconds: float) -> None:
        if self.down:
            raise ServiceMissingError("no store")
        self.kept[key] = value

    async def get(self, key: str) -> str | None:
        if self.down:
            raise ServiceMissingError("no store")
        return self.kept.get(key)

    async def close(self) -> None:
        pass


class Case:
    """One filter over a zone; `say` runs a mail through it, and gives the verdicts of connect, mail and data."""

    def __init__(self, zone: Zone, *lists: dict[str, Any], **options: Any) -> None:
        self.zone = zone
        self.store = Memory()
        self.tools = Tools("mx.test", Dns(), lambda: 0.0, lambda: self.ask, store=self._shared)
        self.filter = Dnsbl(msgspec.convert({"lists": lists, "trusted_peers": []} | options, Options), self.tools)
        self.silent = ""  # questions below this zone have no answer
        self.asked: list[str] = []

    def _shared(self) -> Any:
        return self.store

    async def ask(self, question: Question) -> Answer:
        self.asked.append(question.name)
        if self.silent and question.name.endswith(self.silent):
            await asyncio.sleep(60)
        return await self.zone.ask(question)

    async def say(
        self, ip: str = BAD, sender: str = "a@ham.example", helo: str = "mx.ham.example", author: str = "a@ham.example"
    ) -> list[Verdict]:
        peer = Peer(Service.SMTP, ip, 4711, helo)
        envelope = Envelope("id", sender, (Recipient("b@demo.test"),), 0.0)
        text = Text(f"From: {author}\r\n\r\nHello\r\n".encode())
        return [
            await self.filter.connect(peer),
            await self.filter.mail(peer, sender),
            await self.filter.data(peer, envelope, text),
        ]

    def names(self, zone: str) -> list[str]:
        """What was asked of a zone, its tests and controls aside."""
        found = [name.removesuffix(f".{zone}") for name in self.asked if name.endswith(f".{zone}")]
        return [name for name in found if not name.endswith((".127", "test", "invalid"))]


def tried(test: Callable[[Case], Coroutine[Any, Any, None]], *lists: dict[str, Any], **options: Any) -> None:
    async def main() -> None:
        case = Case(Zone(ZONE), *lists, **options)
        try:
            await test(case)
        finally:
            await case.filter.close()
        assert not len(case.filter._watch.tasks)

    asyncio.run(main())


BL = {"zone": "bl.example"}
DBL = {"zone": "dbl.example", "of": ["sender_domain", "helo", "author_domain"], "weight": 3}


def test_listed_and_not_listed() -> None:
    async def test(case: Case) -> None:
        connected, mailed, read = await case.say()
        assert connected.decision is Decision.REJECT
        assert (connected.score, connected.opinion, connected.at_once) == (5, True, False)
        assert str(connected.reply) == (
            "554 5.7.1 192.0.2.66 is listed by bl.example: Open relay, see https://bl.example/192.0.2.66"
        )
        assert connected.why == "dnsbl: score 5 of 5: 192.0.2.66 by bl.example (127.0.0.4, +5)"
        assert (mailed, read) == (ACCEPT, ACCEPT)  # that stands
        fine, *_ = await case.say("192.0.2.1")
        assert (fine.decision, fine.score, fine.reply) == (Decision.ACCEPT, 0, None)
        assert fine.why == "dnsbl: score 0 of 5: on none of 1 lists"

    tried(test, BL)


def test_options_of_the_refusal() -> None:
    async def test(case: Case) -> None:
        connected, *_ = await case.say()
        assert connected.at_once
        assert str(connected.reply) == "554 5.7.1 192.0.2.66 is listed by ours"
        assert all(not name.startswith("66") or name.endswith("bl.example") for name in case.asked)

    tried(test, {**BL, "name": "ours"}, text=False, at_once=True)


def test_below_the_threshold_the_score_goes_on() -> None:
    async def test(case: Case) -> None:
        connected, mailed, read = await case.say(sender="a@spam.example", helo="spam.example", author="a@spam.example")
        assert (connected.decision, connected.score) == (Decision.ACCEPT, 2)
        assert (mailed.decision, mailed.score) == (Decision.ACCEPT, 3)  # one list, one domain: once
        assert read == ACCEPT
        assert case.names("dbl.example") == ["spam.example"]

    tried(test, {**BL, "weight": 2}, DBL, reject_at=6)


@pytest.mark.parametrize(
    ("part", "text"),
    [("sender", "a@spam.example"), ("helo", "SPAM.example."), ("author", '"a@ham.example" <a@Spam.example>')],
)
def test_domains_are_refused_with_550(part: str, text: str) -> None:
    async def test(case: Case) -> None:
        said = await case.say("192.0.2.1", **{part: text})
        refused = said[2 if part == "author" else 1]
        assert refused.decision is Decision.REJECT
        assert str(refused.reply) == "550 5.7.1 The domain spam.example is listed by dbl.example"

    tried(test, {**DBL, "weight": 5})


def test_without_a_threshold_all_are_heard_whatever_was_said_before() -> None:
    async def test(case: Case) -> None:
        connected, mailed, _ = await case.say("192.0.2.67", sender="a@spam.example", helo="x.spam.example")
        assert (connected.score, mailed.score) == (-5, 3)
        assert "was not waited for" not in mailed.why

    tried(test, {"zone": "wl.example", "allow": True}, DBL, {**DBL, "zone": "other.example"}, reject_at=0)


def test_the_phases_add_up() -> None:
    async def test(case: Case) -> None:
        connected, mailed, _ = await case.say(sender="a@spam.example")
        assert connected.decision is Decision.ACCEPT
        assert (mailed.decision, mailed.score) == (Decision.REJECT, 3)
        assert "score 5 of 5: spam.example by dbl.example (127.0.1.4, +3)" in mailed.why

    tried(test, {**BL, "weight": 2}, DBL)


def test_codes_have_weights_of_their_own() -> None:
    async def test(case: Case) -> None:
        scores = [(await case.say(f"192.0.2.{n}"))[0].score for n in (66, 67, 1)]
        assert scores == [7, 0, 0]

    tried(test, {**BL, "codes": {"127.0.0.2": 1, "127.0.0.4-7": 7, "127.0.0.10": 0}}, reject_at=0)


def test_allow_lists_take_away_and_may_vouch() -> None:
    async def test(case: Case) -> None:
        known = (await case.say("192.0.2.67"))[0]
        assert (known.decision, known.score, known.trust) == (Decision.ACCEPT, 0, True)
        assert "by wl.example (127.0.5.3, -5)" in known.why
        little = (await case.say("192.0.2.68"))[0]
        assert (little.score, little.trust) == (0, False)

    wl = {"zone": "wl.example", "allow": True, "trust": True, "codes": {"127.0.*.3": 5, "127.0.*.0-2": 0}}
    tried(test, BL, wl)


def test_who_is_not_asked_about() -> None:
    async def test(case: Case) -> None:
        for ip in ("10.0.0.1", "127.0.0.9", "::1", "fe80::1", "2001:db8::1", "198.51.100.7"):
            assert (await case.say(ip, sender="", helo="[192.0.2.1]", author="x"))[0].score == 0
        assert case.names("bl.example") == []
        assert case.names("dbl.example") == []
        assert (await case.say("::ffff:192.0.2.66"))[0].score == 5

    tried(test, BL, DBL, trusted_peers=["198.51.100.0/24"])


def test_lists_of_ones_own_may_know_what_is_inside_and_ipv6_is_for_those_who_have_it() -> None:
    async def test(case: Case) -> None:
        case.zone.add("9.0.0.10.bl.example", "A", "127.0.0.2")
        for tail, code in [("2.0.0.0.0.0.f.7.f.f.f.f" + ".0" * 20, "2"), ("1" + ".0" * 23 + ".8.b.d.0.1.0.0.2", "4")]:
            case.zone.add(f"{tail}.bl.example", "A", f"127.0.0.{code}")
        assert (await case.say("10.0.0.9"))[0].score == 5
        assert (await case.say("2001:db8::1"))[0].score == 5
        assert len(case.names("bl.example")[-1].split(".")) == 32

    tried(test, {**BL, "inside": True, "ipv6": True}, reject_at=0)


def test_the_budget_of_questions_holds_for_a_mail() -> None:
    async def test(case: Case) -> None:
        await case.say(sender="a@spam.example")
        assert [*case.names("bl.example"), *case.names("other.example")] == ["66.2.0.192", "66.2.0.192"]
        assert case.names("dbl.example") == ["spam.example"]  # HELO's name was one too many

    tried(test, BL, {"zone": "other.example"}, DBL, questions=3, reject_at=0)


def test_a_list_that_is_late_is_not_waited_for() -> None:
    async def test(case: Case) -> None:
        case.silent = "other.example"
        begun = asyncio.get_running_loop().time()
        connected, *_ = await case.say()
        assert 0.2 <= asyncio.get_running_loop().time() - begun < 0.5
        assert (connected.decision, connected.score) == (Decision.ACCEPT, 5)
        assert connected.why.endswith("; other.example is silent: no answer in time")

    tried(test, {"zone": "other.example"}, BL, seconds=0.2, reject_at=6)


def test_nobody_waits_for_lists_that_can_change_nothing() -> None:
    async def test(case: Case) -> None:
        case.silent = "other.example"
        begun = asyncio.get_running_loop().time()
        connected, *_ = await case.say()
        assert asyncio.get_running_loop().time() - begun < 0.5
        assert str(connected.reply).endswith("https://bl.example/192.0.2.66")
        assert connected.why.endswith("; other.example was not waited for")

    tried(test, {"zone": "other.example"}, BL, seconds=5)


@pytest.mark.parametrize("late", [{"allow": True, "weight": 1}, {"allow": True, "trust": True, "weight": 0}])
def test_an_allow_list_that_may_change_it_is_waited_for(late: dict[str, Any]) -> None:
    async def test(case: Case) -> None:
        case.silent = "other.example"
        connected, *_ = await case.say()
        assert connected.decision is Decision.REJECT
        assert "other.example is silent" in connected.why
        # What the list says is asked for all the same.
        assert str(connected.reply).endswith("https://bl.example/192.0.2.66")

    tried(test, {"zone": "other.example", **late}, BL, seconds=0.2)


def test_nobody_is_refused_by_a_list_before_it_has_passed_its_tests() -> None:
    async def test(case: Case) -> None:
        case.silent = ".127.bl.example"  # its tests only
        connected, *_ = await case.say()
        assert (connected.decision, connected.score) == (Decision.ACCEPT, 0)
        assert "has not been tested yet" in connected.why

    tried(test, BL, seconds=0.2)


def test_a_list_that_fails_its_tests_is_not_asked_and_there_is_an_alarm() -> None:
    async def test(case: Case) -> None:
        case.zone.add("1.0.0.127.bl.example", "A", "127.0.0.2")
        connected, *_ = await case.say()
        assert (connected.decision, connected.score) == (Decision.ACCEPT, 0)
        assert "set aside: lists everything" in connected.why
        asked = len(case.asked)
        await case.say()
        assert len(case.asked) == asked
        (key, figure), *_ = case.tools.metrics.read()["postane_dnsbl_list_set_aside"].values.items()
        assert (dict(key), figure) == ({"zone": "bl.example", "kind": "ipv4"}, [1.0])

    tried(test, BL)


def test_filters_of_other_options_share_lists_and_end_together() -> None:
    async def test(case: Case) -> None:
        other = Dnsbl(msgspec.convert({"lists": [BL], "reject_at": 0, "trusted_peers": []}, Options), case.tools)
        await case.say()
        await other.connect(Peer(Service.SMTP, BAD, 1))
        assert case.asked.count("2.0.0.127.bl.example") == 1
        await other.close()
        assert len(case.filter._watch.tasks) == 2  # its tests, and what other workers say

    tried(test, BL)


def test_test_entries_are_for_their_kind() -> None:
    every = msgspec.convert(
        {
            "zone": "X.example.",
            "of": ["address", "helo"],
            "ipv6": True,
            "listed": ["192.0.2.9", "test.example", "2001:db8::9"],
            "unlisted": "192.0.2.1",
        },
        List,
    )
    v4, v6, domain = (every.named(kind).points for kind in kinds(every))
    assert (v4.listed, v4.unlisted) == ("9.2.0.192", "1.2.0.192")
    assert (v6.listed[:3], v6.unlisted[:3]) == ("9.0", "1.0")
    assert (domain.listed, domain.unlisted) == ("test.example", "invalid")
    uribl = msgspec.convert({"zone": "x.example", "of": "helo", "listed": "2.0.0.127"}, List)
    assert uribl.named("domain").points.listed == "2.0.0.127"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lists": [{"zone": "a b"}]}, "no domain"),
        ({"lists": [{"zone": "x.example", "codes": {"1.2": 1}}]}, "no code"),
        ({"lists": [{"zone": "x.example", "trust": True}]}, "goes with"),
        ({"lists": [{"zone": "x.example", "listed": "test"}]}, "no kind"),
        ({"lists": [{"zone": "x.example", "unlisted": ["::1"]}]}, "no kind"),
        ({"lists": [{"zone": "x.example", "of": "sender"}]}, "sender"),
        ({"seconds": 10}, "a second more"),
        ({"trusted_peers": ["x"]}, "x"),
    ],
)
def test_bad_options_say_what_is_wrong(options: dict[str, Any], words: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=words):
        msgspec.convert(options, Options)


def test_every_key_of_a_list_is_on_the_page() -> None:
    page = (Path(__file__).parents[5] / "docs/reference/filters/dnsbl.md").read_text()
    for field in msgspec.structs.fields(List):
        assert f"| `{field.name}` |" in page


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110 (nobody tells of it)
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("down", [False, True])
def test_a_list_that_is_set_aside_is_so_for_all_workers(monkeypatch: pytest.MonkeyPatch, down: bool) -> None:
    monkeypatch.setattr(watch, "EVERY", 0.05)

    async def test(case: Case) -> None:
        case.store.down = down
        other = Case(case.zone, BL)
        other.store = case.store
        assert (await other.say())[0].decision is Decision.REJECT  # it is well, and tested
        case.silent = ".bl.example"
        channel = case.filter._watch.channel(case.filter._of_kind["ipv4"][0].named)
        for _ in range(3):
            await case.say()
        await until(lambda: channel.health.state is State.ASIDE)
        heard = other.filter._watch.channel(other.filter._of_kind["ipv4"][0].named)
        if down:
            await asyncio.sleep(0.3)
            assert heard.health.state is State.WELL
        else:
            await until(lambda: heard.health.state is State.ASIDE)
            assert heard.health.reason == channel.health.reason
            assert list(case.store.kept) == ["dnsbl aside mx.test ipv4 bl.example"]
            # It is back for the one whose test passes, and that is told.
            case.silent = ""
            await channel.test()
            await until(lambda: set(case.store.kept.values()) == {""})
        await other.filter.close()

    tried(test, BL | {"name": ""}, seconds=0.2)
