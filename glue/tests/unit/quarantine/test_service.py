from __future__ import annotations

import asyncio
import email
import email.policy
import re
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from postane.config.model import Quarantine
from postane.core.address import Address
from postane.core.envelope import Envelope, Recipient
from postane.core.errors import SpoolFullError, TemporaryError
from postane.core.ports import Body, Mailbox, Resolved
from postane.quarantine import digest
from postane.quarantine.control import Answer, Request
from postane.quarantine.digest import Digest, Link
from postane.quarantine.items import Selection, Settings
from postane.quarantine.service import Service, base_url, effective
from postane.quarantine.store import Store
from postane.quarantine.token import unseal
from support.quarantine import make_fresh

AYSE = "ayse@demo.test"
NOON = datetime(2026, 5, 20, 12, 0).timestamp()


class Spool:
    """What was put; a crash forgets nothing of it."""

    def __init__(self) -> None:
        self.put_: dict[str, tuple[Envelope, bytes]] = {}
        self.failure: Exception | None = None
        self._ids = 0

    def new_id(self) -> str:
        self._ids += 1
        return f"N{self._ids:025}"

    async def put(self, envelope: Envelope, head: bytes, body: Body) -> None:
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        self.put_[envelope.id] = (envelope, head + body.bytes())


class Directory:
    def __init__(self, *mailboxes: str) -> None:
        self.mailboxes = mailboxes
        self.since = 0.0
        self.aliases: dict[str, tuple[Recipient, ...]] = {}

    async def mailbox(self, address: str) -> Mailbox | None:
        return Mailbox(7, "", self.since) if address in self.mailboxes else None

    async def resolve(self, address: Address) -> Resolved:
        return Resolved(address.key_domain == "demo.test", self.aliases.get(address.key, ()))


class World:
    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "quarantine")
        self.spool = Spool()
        self.directory = Directory(AYSE, "ali@demo.test")
        self.now = NOON
        self.own: dict[str, Settings] = {}
        self.settings = Quarantine(digest_spread=1, digest_messages=2)
        self.waits: set[str] = set()
        self.service: Service

    def keep(self, *numbers: int, mailbox: str = AYSE, **changes: Any) -> None:
        for number in numbers:
            text = b"Subject: %d\r\nX-Spam: Yes\r\n\r\nbody\r\n" % number
            fresh = make_fresh(number, mailbox, size=len(text), **{"received_at": NOON - 60, **changes})
            self.store.check_room()
            assert self.store.write_texts([(fresh.spool_id, [text])]) == [None]
            self.store.index.add([fresh], most_octets=1 << 40, most_items=1000)

    def run(self, test: Callable[[], Awaitable[None]]) -> None:
        """A service's life."""
        default = Settings(30 * 86_400, "daily", "en")

        async def main() -> None:
            self.service = Service(
                self.store,
                self.directory,
                self.settings,
                "mail.demo.test",
                lambda: bytes(32),
                settings_of=lambda mailbox: self.own.get(mailbox, default),
                now=lambda: self.now,
            )
            # It does nothing by itself: the spool is never read for it.
            task = asyncio.create_task(self.service.run(self.spool, lambda: False, lambda one: one in self.waits))
            await asyncio.sleep(0)
            await test()
            assert not task.done(), task.result()
            task.cancel()
            await asyncio.wait([task])
            await self.service.close()

        asyncio.run(main())
        self.store = Store(self.store.root)

    def look(self) -> None:
        """Starts, does what is due, and ends."""

        async def look() -> None:
            await self.service.look(lambda one: one in self.waits, sweep=True)

        self.run(look)

    async def ask(self, **request: Any) -> Answer:
        wanted = Request(**{"selection": Selection(), "by": "ali", **request})
        return msgspec.json.decode(await self.service.answer(msgspec.json.encode(wanted)), type=Answer)

    def states(self) -> list[str]:
        return [item.state for item in self.store.index.choose(Selection())]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_released_with_its_octets_once(world: World) -> None:
    world.keep(1, 2)

    async def test() -> None:
        assert (await world.ask(do="release", selection=Selection(ids=("1",)), dry_run=True)).count == 1
        assert not world.spool.put_
        answers = await asyncio.gather(*(world.ask(do="release", selection=Selection(ids=("1",))) for _ in range(5)))
        assert sorted(answer.count for answer in answers) == [0, 0, 0, 0, 1]

    world.run(test)
    ((envelope, text),) = world.spool.put_.values()
    assert envelope.recipients[0].address == AYSE
    assert text.startswith(b"X-Postane-Released: Wed, 20 May 2026 ")
    assert text.endswith(b"; by=ali\r\nSubject: 1\r\n\r\nbody\r\n")
    assert world.states() == ["released", "held"]


def test_many_are_released_in_parts(world: World) -> None:
    world.keep(*range(1, 101))

    async def test() -> None:
        answer = await world.ask(do="release", limit=7)
        assert (answer.count, len(answer.items)) == (100, 7)

    world.run(test)
    assert len(world.spool.put_) == 100
    assert set(world.states()) == {"released"}


def test_what_the_spool_does_not_take_is_held_as_before(world: World) -> None:
    world.keep(1)
    world.spool.failure = SpoolFullError("no room")

    async def test() -> None:
        answer = await world.ask(do="release")
        assert (answer.count, answer.failed) == (0, ("1: no room",))
        world.spool.failure = None
        assert (await world.ask(do="release")).count == 1

    world.run(test)
    assert world.states() == ["released"]


def test_where_a_released_message_goes(world: World) -> None:
    world.keep(1, 2, mailbox="info@demo.test")
    world.keep(3, mailbox="gone@demo.test")
    world.keep(4, mailbox="old@left.test")
    world.directory.aliases["info@demo.test"] = (Recipient("x@away.test", kind="remote"),)

    async def test() -> None:
        answer = await world.ask(do="release", selection=Selection(ids=("1", "3", "4")))
        assert answer.count == 1
        assert len(answer.failed) == 2
        assert "there is no mailbox gone@demo.test" in answer.failed[0]
        nobody = await world.ask(do="release", to="nobody@demo.test")
        assert ("no mailbox nobody@demo.test" in nobody.error, nobody.permanent) == (True, True)
        assert "local@domain" in (await world.ask(do="release", to="rubbish")).error
        assert (await world.ask(do="release", to="abuse@elsewhere.test")).count == 3

    world.run(test)
    went = [(envelope.sender, envelope.recipients[0].address) for envelope, _ in world.spool.put_.values()]
    assert went == [
        ("info@demo.test", "x@away.test"),
        ("info@demo.test", "abuse@elsewhere.test"),
        ("gone@demo.test", "abuse@elsewhere.test"),
        ("old@left.test", "abuse@elsewhere.test"),
    ]


def test_a_text_that_is_gone_is_told_and_stays(world: World) -> None:
    world.keep(1, 2)
    world.store.path(f"{1:026}").unlink()

    async def test() -> None:
        answer = await world.ask(do="release")
        assert (answer.count, len(answer.failed)) == (1, 1)

    world.run(test)
    assert world.states() == ["held", "released"]


@pytest.mark.parametrize("put", [True, False])
def test_a_crash_before_or_after_the_spool_took_it(world: World, put: bool) -> None:
    world.keep(1, 2)
    world.store.index.begin_release([(1, "A")], now=NOON, by="ali")
    world.store.index.begin_digest(AYSE, 7.0, "B", [2], now=5)
    if put:
        world.waits |= {"A", "B"}
    world.own[AYSE] = Settings(86_400 * 30, "never", "en")
    world.look()
    assert world.states() == (["released", "held"] if put else ["held", "held"])
    assert [item.told for item in world.store.index.choose(Selection())] == ["", "B" if put else ""]
    assert world.store.index.unsettled() == []


def test_a_digest_at_its_hour_and_not_again(world: World) -> None:
    world.keep(1, 2, 3, received_at=NOON - 86_400)
    world.keep(4, mailbox="ali@demo.test")  # after today's moment
    world.look()
    ((envelope, text),) = world.spool.put_.values()
    assert (envelope.sender, envelope.recipients[0].address, envelope.tenant) == ("", AYSE, "demo")
    assert b"Subject: 3 messages wait in your quarantine" in text
    assert b"One older message is not listed" in text
    world.look()
    world.keep(5, received_at=NOON - 86_400)  # it had to wait for room
    world.look()
    assert len(world.spool.put_) == 1
    world.now += 86_400
    world.look()
    assert [b"Subject: 1 message waits" in text for _, text in world.spool.put_.values()] == [False, True, True]


def test_a_virus_has_no_link_that_lets_it_out(world: World) -> None:
    world.keep(1, filter="clamav", received_at=NOON - 86_400)
    world.keep(2, received_at=NOON - 86_400)
    world.look()
    ((_, text),) = world.spool.put_.values()
    plain: Any = email.message_from_bytes(text, policy=email.policy.default)
    links = re.findall(r"/q/(\S+)", plain.get_body(("plain",)).get_content())
    allowed = sorted((token.item, token.action) for token in (unseal(bytes(32), link, 0) for link in links))
    assert allowed == [(1, "delete"), (2, "delete"), (2, "release"), (int(NOON), "list")]


def test_a_digest_by_each_ones_own_wishes(world: World) -> None:
    for number, mailbox in enumerate((AYSE, "ali@demo.test", "gone@demo.test")):
        world.keep(number + 1, mailbox=mailbox, received_at=NOON - 86_400)
    world.own[AYSE] = Settings(7 * 86_400, "weekly", "tr")
    world.own["ali@demo.test"] = Settings(86_400, "never", "en")
    world.look()
    assert not world.spool.put_  # what came on Tuesday is told on Monday
    world.now += 6 * 86_400
    world.keep(4, received_at=world.now)
    world.look()
    ((_, text),) = world.spool.put_.values()
    assert b"=?utf-8?" in text
    assert b"7 g=C3=BCn sonra" in text


def test_a_digest_that_the_spool_does_not_take_is_sent_later(world: World) -> None:
    world.keep(1, received_at=NOON - 86_400)
    world.spool.failure = SpoolFullError("no room")
    world.look()
    assert world.store.index.unsettled() == []
    world.spool.failure = None
    world.look()
    assert len(world.spool.put_) == 1


def test_the_operator_may_not_wait_for_the_hour(world: World) -> None:
    world.keep(1)
    world.keep(2, mailbox="ali@demo.test")
    world.own["ali@demo.test"] = Settings(86_400, "never", "en")

    async def test() -> None:
        dry = await world.ask(do="digest", dry_run=True)
        assert [(view.mailbox, view.messages) for view in dry.digests] == [(AYSE, 1)]
        assert not world.spool.put_
        assert (await world.ask(do="digest")).count == 1
        assert (await world.ask(do="digest")).count == 0
        assert (await world.ask(do="digest", selection=Selection(account="ali@demo.test"))).count == 1

    world.run(test)
    assert len(world.spool.put_) == 2


def test_the_sweep_keeps_to_each_mailboxs_time(world: World) -> None:
    world.keep(1, received_at=NOON - 31 * 86_400)
    world.keep(2, received_at=NOON - 2 * 86_400)
    world.keep(3, mailbox="ali@demo.test", received_at=NOON - 2 * 86_400)
    world.keep(4)
    world.store.index.mark([4], "deleted", now=NOON - 4 * 86_400, by="x")
    world.own["ali@demo.test"] = Settings(86_400, "never", "en")
    world.own[AYSE] = Settings(30 * 86_400, "never", "en")
    world.look()
    assert [item.spool_id[-1] for item in world.store.index.choose(Selection())] == ["2"]
    assert [world.store.path(f"{number:026}").exists() for number in range(1, 5)] == [False, True, False, False]


def test_a_dry_sweep_only_counts(world: World) -> None:
    world.own[AYSE] = Settings(86_400, "never", "en")

    async def test() -> None:
        world.keep(1, 2, received_at=NOON - 2 * 86_400)
        assert (await world.ask(do="sweep", dry_run=True)).count == 2
        assert world.store.index.count(Selection()) == 2
        assert (await world.ask(do="sweep")).count == 2

    world.run(test)
    assert world.states() == []


def test_a_request_that_is_not_understood_is_told(world: World) -> None:
    async def test() -> None:
        for line in (b"{}", b"rubbish", b'{"do": "explode"}', b'{"do": "sweep", "more": 1}'):
            assert b'"error":"the request is not understood' in await world.service.answer(line)

    world.run(test)


def test_one_mailbox_that_breaks_does_not_stop_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    build = digest.build

    def breaks(one: Digest, link: Link) -> bytes:
        if one.mailbox == "ali@demo.test":
            raise ValueError("a fault of ours")
        return build(one, link)

    monkeypatch.setattr(digest, "build", breaks)
    world.keep(1, mailbox="ali@demo.test", received_at=NOON - 86_400)
    world.keep(2, received_at=NOON - 86_400)
    world.look()
    assert [envelope.recipients[0].address for envelope, _ in world.spool.put_.values()] == [AYSE]


def test_trouble_with_the_directory_stops_nothing(world: World) -> None:
    world.keep(1)

    def away(mailbox: str) -> Settings:
        raise TemporaryError("the directory is away")

    world.own = type("Away", (dict,), {"get": lambda self, mailbox, default: away(mailbox)})()
    with pytest.raises(TemporaryError):
        world.look()
    assert not world.spool.put_
    assert world.states() == ["held"]


def test_the_nearest_policy_wins() -> None:
    server = Quarantine(days=30, digest="daily", language="en")
    assert effective(server) == Settings(30 * 86_400, "daily", "en")
    tenant, domain, account = '{"language": "tr", "days": 7}', '{"days": 14}', '{"digest": "never"}'
    assert effective(server, [tenant, domain, account]) == Settings(14 * 86_400, "never", "tr")
    # What an older version took, and this one does not: the wider levels hold.
    assert effective(server, [tenant, '{"digest": "hourly"}', "rubbish"]) == Settings(7 * 86_400, "daily", "tr")


@pytest.mark.parametrize(
    ("url", "host", "base"),
    [
        ("", "mail.demo.test", "https://panel.demo.test/"),
        ("", "localhost", "https://panel.localhost/"),
        ("https://q.test", "x", "https://q.test/"),
        ("http://h:1/base/", "x", "http://h:1/base/"),
    ],
)
def test_where_the_links_lead(url: str, host: str, base: str) -> None:
    assert base_url(Quarantine(url=url), host) == base


def test_what_came_for_an_owner_before_is_neither_told_nor_given_to_the_next(world: World) -> None:
    world.keep(1)
    world.directory.since = world.store.index.choose(Selection())[0].received_at + 1

    async def test() -> None:
        assert (await world.ask(do="digest", selection=Selection(account=AYSE))).count == 0
        answer = await world.ask(do="release")
        assert (answer.count, len(answer.failed)) == (0, 1)
        assert "an account ayse@demo.test that is gone" in answer.failed[0]
        assert (await world.ask(do="release", to="ali@demo.test")).count == 1

    world.run(test)
    assert [envelope.recipients[0].address for envelope, _ in world.spool.put_.values()] == ["ali@demo.test"]
