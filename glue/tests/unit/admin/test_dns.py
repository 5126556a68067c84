"""Publishing: which zones come, change and go, and what is left to the operator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from sqlalchemy import update

from postane.admin import dns, domain
from postane.admin.site import Site
from postane.cli import domain_dns
from postane.config.model import Config, Dns
from postane.core.errors import ConfigError, ConflictError, NotFoundError, UsageError
from postane.dns.records import Plan, Record
from postane.storage.schema import Domain

FOREIGN = Record("www.demo.test", "A", "198.51.100.7")


class Server:
    """A name server as `Knot` shows it: members, and the records of each."""

    def __init__(self) -> None:
        self.zones: dict[str, set[Record]] = {}

    def members(self) -> dict[str, str]:
        return {zone: f"entry-of-{zone}" for zone in self.zones}

    def read(self, zones: Sequence[str]) -> dict[str, list[Record]]:
        return {zone: sorted(self.zones[zone]) for zone in zones}

    def change_members(self, add: Iterable[str], remove: dict[str, str]) -> None:
        self.zones |= {zone: set() for zone in add}
        for zone in remove:
            del self.zones[zone]

    def apply(self, plans: Iterable[Plan]) -> None:
        for plan in plans:
            self.zones[plan.zone] = self.zones[plan.zone] - set(plan.remove) | set(plan.add)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()
    monkeypatch.setattr(dns, "Knot", lambda _socket: made)
    return made


def make_site(folder: Path, host: str = "mail.demo.test", publish: str = "knot") -> Site:
    settings = Dns(publish=publish, addresses=("192.0.2.1",))  # type: ignore[arg-type]
    site = Site(Config(host=host, state=str(folder), dns=settings))
    site.database.upgrade()
    domain.add(site, "demo.test")
    domain.add(site, "other.test")
    return site


def test_a_second_time_changes_nothing(tmp_path: Path, server: Server) -> None:
    site = make_site(tmp_path)
    first = dns.publish(site, [], everything=True)
    assert first.changed
    assert [change.domain for change in first.zones] == ["demo.test", "other.test"]
    assert dns.publish(site, [], everything=True) == dns.Published(False, ())


def test_only_named_domains_are_touched(tmp_path: Path, server: Server) -> None:
    dns.publish(make_site(tmp_path), ["demo.test"])
    assert list(server.zones) == ["demo.test"]


def test_a_domain_whose_mail_is_elsewhere_yet_keeps_the_zone_it_has(tmp_path: Path, server: Server) -> None:
    site = make_site(tmp_path)
    dns.publish(site, [], everything=True)
    zone = set(server.zones["demo.test"])
    with site.database.change() as session:
        session.execute(update(Domain).where(Domain.name == "demo.test").values(state="leaving", came_from="shadow"))
    server.zones["demo.test"].discard(next(one for one in zone if one.type == "MX"))
    kept = set(server.zones["demo.test"])
    assert not dns.publish(site, [], everything=True).changed
    assert server.zones["demo.test"] == kept
    with pytest.raises(ConflictError, match=r"demo\.test is shadow"):
        dns.publish(site, ["demo.test"])


def test_a_dry_run_tells_and_changes_nothing(tmp_path: Path, server: Server) -> None:
    site = make_site(tmp_path)
    assert dns.publish(site, ["demo.test"], dry_run=True).changed
    assert server.zones == {}


def test_a_domain_that_is_gone_takes_its_zone_along_only_where_all_are_published(
    tmp_path: Path, server: Server
) -> None:
    site = make_site(tmp_path)
    dns.publish(site, [], everything=True)
    domain.remove(site, "other.test")
    assert not dns.publish(site, ["demo.test"]).changed
    assert "other.test" in server.zones
    assert dns.publish(site, [], everything=True).zones == (dns.ZoneChange("other.test", False),)
    assert list(server.zones) == ["demo.test"]


def test_what_others_put_in_stays(tmp_path: Path, server: Server) -> None:
    site = make_site(tmp_path)
    dns.publish(site, ["demo.test"])
    server.zones["demo.test"].add(FOREIGN)
    assert not dns.publish(site, ["demo.test"]).changed
    assert FOREIGN in server.zones["demo.test"]


@pytest.mark.parametrize(("host", "told"), [("mail.demo.test", False), ("demo.test", False), ("mail.xdemo.test", True)])
def test_a_host_in_no_hosted_domain_is_the_operators(tmp_path: Path, server: Server, host: str, told: bool) -> None:
    note = dns.publish(make_site(tmp_path, host), ["demo.test"]).note
    assert note.startswith(f"{host} lies in no hosted domain") is told
    assert bool(note) is told


def test_the_note_is_printed_on_a_line(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = make_site(tmp_path, "mail.host.test")
    monkeypatch.setattr(domain_dns, "site", lambda: site)
    domain_dns.publish(["demo.test"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("note: mail.host.test lies in no hosted domain")


def test_what_cannot_be_published_is_told(tmp_path: Path, server: Server) -> None:
    site = make_site(tmp_path)
    with pytest.raises(NotFoundError):
        dns.publish(site, ["nobody.test"])
    with pytest.raises(UsageError):
        domain_dns.publish([])
    with pytest.raises(ConfigError, match="publish is none"):
        dns.publish(make_site(tmp_path / "none", publish="none"), ["demo.test"])
