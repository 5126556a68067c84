"""Domains of a table are made once, set as it says, and taken up where a killed run has left them."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from postane.admin import account, domain, domain_bulk, domain_facts
from postane.admin.audit import every as audit
from postane.admin.domain_bulk import BATCH, Imported, bring_in, plan_ahead
from postane.admin.domain_life import Desk
from postane.admin.domain_table import Row, read
from postane.admin.site import Site
from postane.config.model import Config, Dns
from postane.core.errors import ConfigError, ConflictError
from postane.directory import dkim_keys
from postane.storage.schema import DkimKey, Domain
from support.dns import name_server


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(Config(host="mail.host.test", state=str(tmp_path), dns=Dns(nameservers=("127.0.0.1:1",), timeout=0.2)))
    made.database.upgrade()
    return made


def table(*lines: str) -> list[Row]:
    return read("\n".join(("domain,tenant,start,admin,quota,dmarc", *lines)).encode(), "c.csv")


def states(done: list[Imported]) -> list[str]:
    return [one.state for one in done]


def keys(site: Site) -> int:
    with site.database.session() as session:
        return len(session.scalars(select(DkimKey)).all())


ROWS = ("shop.test,bakery,,info,1G,", "müze.test,museum,move,,,quarantine", "far.test,library,claim,,,")


def test_each_way_to_begin(site: Site) -> None:
    done = bring_in(site, table(*ROWS), who="ayse")
    assert states(done) == ["made"] * 3
    found = {one.name: (one.state, one.proof, one.tenant) for one in Desk(site).every()}
    assert found == {
        "shop.test": ("cutover", "operator", "bakery"),
        "xn--mze-hoa.test": ("verified", "operator", "museum"),
        "far.test": ("claimed", "", "library"),
    }
    assert keys(site) == 4  # a claim has none until it is proved
    assert len(list((Path(site.config.state) / "keys" / "dkim").glob("*/*.pem"))) == 4
    assert Desk(site).claim("far.test", "library").item.record
    assert [(one.who, one.verb, one.scope) for one in audit(site)] == [
        ("ayse", "domain import", name) for name in ("shop.test", "xn--mze-hoa.test", "far.test")
    ]
    assert domain_facts.known(site, ["xn--mze-hoa.test"])[0].facts.dmarc == "quarantine"


def test_again_changes_nothing_and_writes_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    bring_in(site, table(*ROWS))

    def refuse() -> Any:
        raise AssertionError("it is written")

    monkeypatch.setattr(site.database, "change", refuse)
    done = bring_in(site, table(*ROWS))
    assert states(done) == ["unchanged"] * 3
    assert not any(one.what for one in done)


def test_a_new_account_has_a_password_that_works_and_is_told_nowhere(site: Site) -> None:
    [one] = bring_in(site, table(ROWS[0]))
    file = Path(one.password_file)
    assert file.name == "info@shop.test"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    password = file.read_text().strip()
    assert account.check_password(site, "info@shop.test", password)
    assert password not in repr(one)
    assert account.show(site, "info@shop.test").quota_bytes == 1 << 30
    [again] = bring_in(site, table("shop.test,,,info,2G,"))
    assert (again.state, again.what, again.password_file) == ("changed", ("quota of info@shop.test: 2G",), "")
    assert account.show(site, "info@shop.test").quota_bytes == 2 << 30
    assert account.check_password(site, "info@shop.test", password)


def test_a_dry_run_says_the_same_and_leaves_nothing(site: Site) -> None:
    before = bring_in(site, table(*ROWS), dry_run=True)
    assert Desk(site).every() == []
    assert not (Path(site.config.state) / "initial-passwords").exists()
    assert not (Path(site.config.state) / "keys").exists()
    after = bring_in(site, table(*ROWS))
    assert [(one.state, one.what, one.life) for one in before] == [(one.state, one.what, one.life) for one in after]
    would = bring_in(site, table("shop.test,,,,,reject"), dry_run=True)
    assert (would[0].state, would[0].what) == ("changed", ("dmarc reject",))
    assert domain_facts.known(site, ["shop.test"])[0].facts.dmarc == "none"


def test_another_tenants_domain_stays_and_keeps_no_other_row_back(site: Site) -> None:
    domain.add(site, "shop.test", "bakery")
    done = bring_in(site, table("shop.test,thief,,info,,", "good.test,,,,,"))
    assert states(done) == ["failed", "made"]
    assert isinstance(done[0].error, ConflictError)
    assert domain.show(site, "shop.test").tenant == "bakery"
    assert account.every(site) == []


def test_a_claim_stays_one_whatever_the_row_says(site: Site) -> None:
    Desk(site).claim("far.test", "library")
    for start in ("", "host", "move", "claim"):
        assert states(bring_in(site, table(f"far.test,library,{start},,,"))) == ["unchanged"]
    assert keys(site) == 0
    assert Desk(site).show("far.test").state == "claimed"


def test_settings_are_set_kept_and_taken_back(site: Site) -> None:
    def settle(text: str) -> Imported:
        [one] = bring_in(site, read(f"domain,dns_target,keep,ttl,plan\n{text}".encode(), "c.csv"))
        return one

    assert settle("a.test,manual,mx spf,300,small").what == (
        "hosted",
        "dns_target manual",
        "keep mx spf",
        "plan small",
        "ttl 300",
    )
    assert settle("a.test,,,,").state == "unchanged"
    assert settle("a.test,-,-,-,-").what == ("dns_target -", "keep -", "plan -", "ttl -")
    [known] = domain_facts.known(site, ["a.test"])
    assert (known.target, known.facts.ttl) == ("", site.config.domains.ttl)
    wrong = settle("a.test,nowhere,,,")
    assert isinstance(wrong.error, ConfigError)
    assert "nowhere" in str(wrong.error)


def test_a_run_that_is_killed_is_taken_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = table(*(f"d{number}.test,,,info,," for number in range(BATCH + 5)))

    class KilledError(BaseException):
        pass

    real, count = account.add, 0

    def killed(*words: Any, **more: Any) -> Any:
        nonlocal count
        count += 1
        if count == 7:  # the domains of the batch are made, most of their accounts are not
            raise KilledError
        return real(*words, **more)

    monkeypatch.setattr(account, "add", killed)
    with pytest.raises(KilledError):
        bring_in(site, rows)
    left = {file.name: file.read_text() for file in (Path(site.config.state) / "initial-passwords").iterdir()}
    assert len(left) == 7
    monkeypatch.setattr(account, "add", real)
    done = bring_in(site, rows)
    assert states(done) == ["unchanged"] * 6 + ["changed"] * (BATCH - 6) + ["made"] * 5
    for name, text in left.items():
        assert account.check_password(site, name, text.strip())
    assert keys(site) == 2 * len(rows)
    assert states(bring_in(site, rows)) == ["unchanged"] * len(rows)


def test_somebody_else_is_quicker(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    real = dkim_keys.new_pair

    def slow(algorithm: str) -> Any:
        monkeypatch.setattr(domain_bulk, "new_pair", real)
        domain.add(site, "shop.test", "bakery")
        return real(algorithm)

    monkeypatch.setattr(domain_bulk, "new_pair", slow)
    [one] = bring_in(site, table("shop.test,bakery,,,,"))
    assert one.state == "unchanged"
    assert keys(site) == 2


def test_progress_is_told_by_batch(site: Site) -> None:
    seen: list[tuple[int, int]] = []
    bring_in(
        site, table(*(f"d{n}.test,,claim,,," for n in range(BATCH + 1))), told=lambda done, of: seen.append((done, of))
    )
    assert seen == [(BATCH, BATCH + 1), (BATCH + 1, BATCH + 1)]
    with site.database.session() as session:
        assert len(session.scalars(select(Domain)).all()) == BATCH + 1


def test_records_of_domains_that_are_not_here_yet_are_planned(tmp_path: Path) -> None:
    with name_server() as (server, address):
        server.add("", "NS", "root.invalid.")
        site = Site(Config(host="mail.host.test", state=str(tmp_path), dns=Dns(nameservers=(address,), timeout=1)))
        site.database.upgrade()
        domain.add(site, "here.test")
        planned = plan_ahead(site, table("here.test,,,,,", "new.test,,,,,", "later.test,,claim,,,"))
    found = {one.domain: one.plan for one in planned}
    assert set(found) == {"new.test", "later.test"}
    assert found["new.test"] is not None
    assert {("new.test", "MX"), ("_dmarc.new.test", "TXT")} <= set(found["new.test"].questions)
    assert found["later.test"] is not None
    assert found["later.test"].target == "manual"
    assert found["later.test"].questions == (("_postane-challenge.later.test", "TXT"),)
