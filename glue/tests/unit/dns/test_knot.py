"""The doorway to Knot, against a stand-in that answers as knotc 3.2 and 3.4 do."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from postane.core.errors import ServiceMissingError
from postane.dns.knot import CATALOG, Knot
from postane.dns.records import Plan, Record

MX = Record("demo.test", "MX", "10 mail.demo.test.")
TXT = Record("demo.test", "TXT", r'"a \"b\"" "c;c"')


class FakeKnot(Knot):
    """Zones as sets of lines, transactions, and members that appear a look later."""

    def __init__(self) -> None:
        super().__init__("/nowhere")
        self.zones: dict[str, dict[tuple[str, str, str], int]] = {
            CATALOG: {(CATALOG, "SOA", "invalid. invalid. 1 3600 600 2147483646 0"): 0}
        }
        self.open: dict[str, dict[tuple[str, str, str], int]] = {}
        self.late: list[str] = []
        self.refuse = ""
        self.sessions = 0

    def _session(self, commands: list[str], *, blocking: bool = False) -> list[str]:  # type: ignore[override]
        self.sessions += bool(commands)
        return [line for command in commands for line in self._answer(*shlex.split(command))]

    def _answer(self, verb: str, zone: str, *words: str) -> list[str]:
        zone = zone.rstrip(".")
        if zone in self.late:
            self.late.remove(zone)
            return [f"error: [{zone}.] (no such zone found)"]
        if zone not in self.zones:
            return [f"error: (no such zone found) [{zone}.] "]
        if verb == "zone-read":
            return [f"[{zone}.] {n}. {ttl} {t} {data}" for (n, t, data), ttl in self.zones[zone].items()]
        if verb == "zone-begin":
            if zone in self.open:
                return [f"error: [{zone}.] (too many transactions)"]
            self.open[zone] = dict(self.zones[zone])
        elif verb == "zone-set":
            name, ttl, kind, data = words
            if self.refuse and self.refuse in data:
                return [f"error: (parser failed) [{zone}.] {name} {ttl} {kind} {data}"]
            self.open[zone][name.rstrip("."), kind, data] = int(ttl)
        elif verb == "zone-unset":
            name, kind, *rest = words
            for key in [k for k in self.open[zone] if k[:2] == (name.rstrip("."), kind) and rest in ([], [k[2]])]:
                del self.open[zone][key]
        elif verb == "zone-abort":
            del self.open[zone]
        elif verb == "zone-commit":
            self.zones[zone] = self.open.pop(zone)
            if zone == CATALOG:
                self._follow_catalog()
        return ["OK"]

    def _follow_catalog(self) -> None:
        members = {data.rstrip(".") for (_, kind, data) in self.zones[CATALOG] if kind == "PTR"}
        self.late += [zone for zone in members if zone not in self.zones]
        self.zones = {CATALOG: self.zones[CATALOG], **{zone: self.zones.get(zone, {}) for zone in members}}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)


@pytest.fixture
def knot() -> FakeKnot:
    fake = FakeKnot()
    fake.change_members(["demo.test"], {})
    return fake


def test_a_member_is_served_before_the_call_returns(knot: FakeKnot) -> None:
    assert knot.late == []
    assert list(knot.members()) == ["demo.test"]
    assert knot.read(["demo.test"]) == {"demo.test": []}


def test_a_member_goes_by_its_entry(knot: FakeKnot) -> None:
    knot.change_members(["other.test"], knot.members())
    assert list(knot.members()) == ["other.test"]


def test_records_come_back_as_they_went_in(knot: FakeKnot) -> None:
    knot.apply([Plan("demo.test", (), (MX, TXT))])
    assert knot.read(["demo.test"])["demo.test"] == [MX, TXT]
    knot.apply([Plan("demo.test", (TXT,), ())])
    assert knot.read(["demo.test"])["demo.test"] == [MX]


def test_many_zones_take_as_many_sessions_as_one(knot: FakeKnot) -> None:
    names = [f"d{number}.test" for number in range(50)]
    knot.change_members(names, {})
    knot.sessions = 0
    knot.apply([Plan(name, (), (Record(name, "MX", "10 mail.demo.test."),)) for name in names])
    assert knot.sessions == 3
    assert all(knot.read(names).values())


def test_a_refused_record_leaves_every_zone_as_it_was(knot: FakeKnot) -> None:
    knot.change_members(["other.test"], {})
    knot.refuse = "mail.demo.test"
    with pytest.raises(ServiceMissingError, match="parser failed"):
        knot.apply([Plan("other.test", (), (Record("other.test", "A", "192.0.2.1"),)), Plan("demo.test", (), (MX,))])
    assert knot.open == {}
    assert knot.read(["demo.test", "other.test"]) == {"demo.test": [], "other.test": []}


def test_a_transaction_left_by_a_dead_publisher_is_given_up(knot: FakeKnot) -> None:
    knot.open["demo.test"] = {("demo.test", "A", "192.0.2.9"): 1}
    knot.apply([Plan("demo.test", (), (MX,))])
    assert knot.read(["demo.test"])["demo.test"] == [MX]


def test_a_zone_that_is_no_member_opens_no_transaction(knot: FakeKnot) -> None:
    with pytest.raises(ServiceMissingError, match="no such zone"):
        knot.apply([Plan("demo.test", (), (MX,)), Plan("nope.test", (), (MX,))])
    assert knot.open == {}


def test_without_a_catalog_the_hint_says_what_to_run(knot: FakeKnot) -> None:
    del knot.zones[CATALOG]
    with pytest.raises(ServiceMissingError, match="no catalog zone") as caught:
        knot.members()
    assert "role dns" in caught.value.hint


def test_a_knot_that_is_not_there_is_a_missing_service(tmp_path: Path) -> None:
    with pytest.raises(ServiceMissingError, match="does not answer") as caught:
        Knot(str(tmp_path / "none")).members()
    assert "knot.service" in caught.value.hint
