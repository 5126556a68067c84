from __future__ import annotations

import asyncio
from collections.abc import Sequence

from postane.core.envelope import Envelope, Recipient
from postane.core.outcome import Outcome
from postane.core.ports import Claimed
from postane.core.reply import Reply
from postane.delivery.router import Router
from support.queue import Mail


class Door:
    def __init__(self, name: str) -> None:
        self.name = name
        self.closed = False

    async def deliver(self, message: Claimed, recipients: Sequence[Recipient]) -> list[Outcome]:
        return [Outcome.from_reply(r.address, Reply(250, "", self.name)) for r in recipients]

    async def close(self) -> None:
        self.closed = True


def test_mailboxes_go_one_way_and_domains_their_own() -> None:
    router = Router(Door("local"), Door("remote"))
    assert router.destination(Recipient("a@demo.test")).local
    names = [router.destination(Recipient(a, kind="remote")).name for a in ("a@X.test", "b@x.test", "c@müze.test")]
    assert names == ["x.test", "x.test", "xn--mze-hoa.test"]
    assert router.destination(Recipient("a@[192.0.2.1]", kind="remote")).name == "[192.0.2.1]"
    assert router.destination(Recipient("a@bad..name", kind="remote")).name == "bad..name"


def test_smarthost_is_one_destination() -> None:
    router = Router(Door("local"), Door("remote"), "relay.test:587")
    assert router.destination(Recipient("a@x.test", kind="remote")).name == "relay.test:587"
    assert router.destination(Recipient("a@demo.test")).name == "local"


def test_each_goes_by_its_door() -> None:
    local, remote = Door("local"), Door("remote")
    router = Router(local, remote)
    for kind in ("local", "remote"):
        recipient = Recipient("a@demo.test", kind=kind)
        (outcome,) = asyncio.run(router.deliver(Mail(Envelope("1" * 26, "", (recipient,), 0.0)), [recipient]))
        assert outcome.reply.text == kind
    asyncio.run(router.close())
    assert local.closed
    assert remote.closed


def test_what_is_suspect_has_a_door_and_a_lane_of_its_own() -> None:
    doors = Door("local"), Door("remote"), Door("quarantine")
    message = Mail(Envelope("1" * 26, "", (), 0.0))
    suspect = Recipient("a@demo.test", kind="quarantine")
    router = Router(doors[0], doors[1], "relay.test", doors[2])
    found = router.destination(suspect)
    assert (found.name, found.local) == ("quarantine", True)

    async def main(router: Router) -> str:
        (outcome,) = await router.deliver(message, [suspect])
        await router.close()
        return outcome.reply.text

    assert asyncio.run(main(router)) == "quarantine"
    assert all(door.closed for door in doors)
    assert asyncio.run(main(Router(doors[0], doors[1]))) == "local"
