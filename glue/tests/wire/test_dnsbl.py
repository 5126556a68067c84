"""Lists in the DNS at the door of a real service, with a real name server: those that are well, and those that die."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

from postane.config.model import Dns
from postane.dns.shared import shared
from postane.filters.base import Tools
from postane.filters.blocklists import health
from postane.filters.builtin.dnsbl import Dnsbl, Options
from postane.filters.store.sqlite import SqliteStore
from postane.observe.metrics import Metrics
from support.dns import NameServer, name_server
from support.wire import Line, Wire

_numbers = count(1)


@pytest.fixture(scope="module")
def names() -> Iterator[tuple[NameServer, str]]:
    with name_server() as found:
        yield found


class Host:
    """A service with the filter; each peer comes from an address of its own, 127.0.7.n."""

    def __init__(self, wire: Wire, judge: Dnsbl, tools: Tools, server: NameServer) -> None:
        self.wire, self.judge, self.tools, self.server = wire, judge, tools, server
        self._peers = count(1)

    def mail(self, *listed: str, sender: str = "a@ham.example", code: str = "127.0.0.2") -> str:
        """The reply to RCPT for a new peer whom these zones list."""
        number = next(self._peers)
        for zone in listed:
            self.server.add(f"{number}.7.0.127.{zone}", "A", code)
            self.server.add(f"{number}.7.0.127.{zone}", "TXT", '"See https://bl.example/"')
        line = Line(self.wire, source=f"127.0.7.{number}")
        try:
            assert line.greeting.startswith("220")
            assert line(f"MAIL FROM:<{sender}>").startswith("250")
            return line("RCPT TO:<ayse@demo.test>")
        finally:
            line.close()

    def aside(self) -> dict[str, float]:
        """The metric of each list."""
        families = self.tools.metrics.read()
        return {dict(key)["zone"]: figure[0] for key, figure in families["postane_dnsbl_list_set_aside"].values.items()}


@pytest.fixture
def zone() -> str:
    """A new list, which the name server does not have yet."""
    return f"bl{next(_numbers)}.example"


@pytest.fixture
def host(names: tuple[NameServer, str], tmp_path: Path) -> Any:
    server, address = names

    @contextmanager
    def made(*lists: dict[str, Any], **options: Any) -> Iterator[Host]:
        settings = Dns(nameservers=(address,), timeout=2)
        metrics = Metrics()
        store = SqliteStore(tmp_path, time.time, metrics)
        tools = Tools("mx.test", settings, time.time, shared(settings), metrics, tmp_path, lambda: store)
        given = {"lists": [{"inside": True, **one} for one in lists], "trusted_peers": [], "seconds": 1} | options
        judge = Dnsbl(msgspec.convert(given, Options), tools)
        wire = Wire(tmp_path, filters=(judge,))
        try:
            yield Host(wire, judge, tools, server)
        finally:
            wire.call(judge.close())
            wire.close()

    return made


def well(server: NameServer, zone: str) -> None:
    server.add(f"2.0.0.127.{zone}", "A", "127.0.0.2")


def test_listed_unlisted_and_allowed(names: tuple[NameServer, str], host: Any, zone: str) -> None:
    server, _ = names
    well(server, zone)
    well(server, f"wl-{zone}")
    with host({"zone": zone}, {"zone": f"wl-{zone}", "allow": True}) as service:
        assert service.mail().startswith("250 ")
        assert service.mail(zone) == f"554 5.7.1 127.0.7.2 is listed by {zone}: See https://bl.example/"
        assert service.mail(zone, f"wl-{zone}").startswith("250 ")
        assert service.aside() == {zone: 0, f"wl-{zone}": 0}


def test_domains(names: tuple[NameServer, str], host: Any, zone: str) -> None:
    server, _ = names
    server.add(f"test.{zone}", "A", "127.0.1.2")
    server.add(f"spam.example.{zone}", "A", "127.0.1.2")
    with host({"zone": zone, "of": ["sender_domain", "helo"]}) as service:
        assert service.mail().startswith("250 ")
        assert service.mail(sender="a@spam.example").startswith(
            f"550 5.7.1 The domain spam.example is listed by {zone}"
        )
        assert service.mail(sender="").startswith("250 ")


def test_a_refusal_may_stand_in_place_of_the_greeting(names: tuple[NameServer, str], host: Any, zone: str) -> None:
    server, _ = names
    well(server, zone)
    server.add(f"1.9.0.127.{zone}", "A", "127.0.0.2")
    with host({"zone": zone}, at_once=True) as service:
        line = Line(service.wire, hello=False, source="127.0.9.1")
        assert line.greeting == f"554 5.7.1 127.0.9.1 is listed by {zone}"
        line.close()


def test_a_silent_list_costs_its_time_a_few_times_and_refuses_nobody(
    names: tuple[NameServer, str], host: Any, zone: str
) -> None:
    server, _ = names
    server.zones[zone] = None
    with host({"zone": zone}, seconds=0.2) as service:
        took = []
        for _ in range(5):
            begun = time.monotonic()
            assert service.mail().startswith("250 ")
            took.append(time.monotonic() - begun)
        assert max(took) < 0.5
        assert max(took[3:]) < 0.15  # it is set aside, and not asked
        assert service.aside() == {zone: 1}


@pytest.mark.parametrize("answer", ["127.0.0.2", "127.255.255.254", "192.0.2.1", "127.0.0.77"])
def test_a_list_that_dies_between_two_tests_and_comes_back(
    names: tuple[NameServer, str], host: Any, zone: str, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lists everybody, does not talk to us any more, or is a domain for sale."""
    monkeypatch.setattr(health, "_FIRST_REST", 0.1)
    monkeypatch.setattr(health, "_LONGEST_REST", 0.1)
    server, _ = names
    well(server, zone)
    with host({"zone": zone, "codes": {"127.0.0.2": 5}}) as service:
        assert service.mail(zone).startswith("554 ")
        server.zones[zone] = [answer]
        for _ in range(3):
            assert service.mail().startswith("250 ")
        assert service.aside() == {zone: 1}
        assert service.mail(zone).startswith("250 ")
        del server.zones[zone]
        end = time.monotonic() + 10
        while service.aside() == {zone: 1} and time.monotonic() < end:
            time.sleep(0.02)
        assert service.mail().startswith("250 ")
        assert service.mail(zone).startswith("554 ")


def test_a_list_that_was_never_well_refuses_nobody(names: tuple[NameServer, str], host: Any, zone: str) -> None:
    with host({"zone": zone}) as service:  # it has no test entry
        for _ in range(3):
            assert service.mail(zone).startswith("250 ")
        assert service.aside() == {zone: 1}


def test_all_lists_together_have_one_budget(names: tuple[NameServer, str], host: Any, zone: str) -> None:
    server, _ = names
    zones = [f"{n}.{zone}" for n in range(6)]
    for one in zones[:3]:
        server.zones[one] = None
    for one in zones[3:]:
        well(server, one)
    with host(*({"zone": one, "weight": 1} for one in zones), seconds=0.3, reject_at=2, questions=5) as service:
        begun = time.monotonic()
        assert service.mail(*zones[3:]).startswith("554 5.7.1")  # two that are well are within the budget
        assert time.monotonic() - begun < 0.6
        asked = {name.partition(".7.0.127.")[2] for name, _ in server.questions if ".7.0.127." in name}
        assert zones[5] not in asked
        assert asked >= set(zones[3:5])
