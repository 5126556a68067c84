"""The host's own Knot as a target, the real one: zones come by themselves, many at once, a changed world is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from postane.core.errors import ServiceMissingError
from postane.dns.knot import Knot
from postane.dns.records import Record
from postane.dns.targets.base import Change, WorldChangedError, apply_many, read_many
from postane.dns.targets.knot import KnotTarget
from support.knot import KNOTD, running

pytestmark = pytest.mark.skipif(KNOTD is None, reason="Knot is not installed")


def apex(zone: str) -> list[Record]:
    return [
        Record(zone, "SOA", f"ns.host.test. hostmaster.{zone}. 1 10800 3600 1209600 3600"),
        Record(zone, "NS", "ns.host.test."),
    ]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnotTarget]:
    with running(tmp_path_factory.mktemp("knot")) as knot:
        yield KnotTarget("here", Knot(knot.socket), apex)


def read(target: KnotTarget, zone: str) -> list[Record]:
    return [one for one in asyncio.run(target.read(zone)) or () if one.type not in ("SOA", "NS")]


def test_a_new_zone_comes_with_its_first_records(target: KnotTarget) -> None:
    mx = Record("a.test", "MX", "10 mail.host.test.")
    assert asyncio.run(target.read("a.test")) == []
    asyncio.run(target.apply("a.test", (), [mx], ()))
    assert read(target, "a.test") == [mx]
    assert {one.type for one in asyncio.run(target.read("a.test")) or ()} == {"SOA", "NS", "MX"}
    asyncio.run(target.apply("a.test", [mx], [], [mx]))
    assert read(target, "a.test") == []


def test_a_changed_world_is_refused(target: KnotTarget) -> None:
    mx = Record("b.test", "MX", "10 mail.host.test.")
    asyncio.run(target.apply("b.test", (), [mx]))
    with pytest.raises(WorldChangedError, match=r"b\.test MX has changed"):
        asyncio.run(target.apply("b.test", (), [Record("b.test", "MX", "20 other.test.")], ()))
    assert read(target, "b.test") == [mx]


def test_many_zones_at_once_and_one_that_is_refused_alone(target: KnotTarget) -> None:
    changes = [Change(f"d{n}.test", (), (Record(f"d{n}.test", "MX", "10 mail.host.test."),), ()) for n in range(8)]
    bad = Change("bad.test", (), (Record("bad.test", "MX", "no number"),), ())
    stale = Change("b.test", (), (Record("b.test", "MX", "20 other.test."),), ())
    done = asyncio.run(apply_many(target, [*changes, bad, stale]))
    assert isinstance(done.pop("bad.test"), ServiceMissingError)
    assert isinstance(done.pop("b.test"), WorldChangedError)
    assert done == dict.fromkeys((change.zone for change in changes), None)
    found = asyncio.run(read_many(target, [change.zone for change in changes]))
    for change in changes:
        records = found[change.zone]
        assert isinstance(records, list)
        assert change.add[0] in records


def test_the_catalog_is_read_once_for_many_batches(target: KnotTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postane.dns.targets.knot.BATCH", 2)
    real, count = Knot.members, 0

    def members(self: Knot) -> dict[str, str]:
        nonlocal count
        count += 1
        return real(self)

    monkeypatch.setattr(Knot, "members", members)
    names = [f"e{n}.test" for n in range(6)]
    asyncio.run(read_many(target, names))
    for data in ("10 mail.host.test.", "20 mail.host.test."):
        changes = [Change(name, (), (Record(name, "MX", data),)) for name in names]
        assert set(asyncio.run(apply_many(target, changes)).values()) == {None}
    assert count == 1
    # A zone that somebody else has taken away meanwhile comes again, with the next run at the latest.
    target._knot.change_members([], {"e0.test": real(target._knot)["e0.test"]})
    change = Change("e0.test", (), (Record("e0.test", "MX", "30 mail.host.test."),))
    asyncio.run(apply_many(target, [change]))
    assert asyncio.run(apply_many(target, [change])) == {"e0.test": None}
    assert change.add[0] in read(target, "e0.test")


def test_a_knot_that_is_away(tmp_path: Path) -> None:
    away = KnotTarget("here", Knot(str(tmp_path / "none")), apex)
    found = asyncio.run(read_many(away, ["a.test"]))
    assert isinstance(found["a.test"], ServiceMissingError)
