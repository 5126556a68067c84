"""octoDNS targets as the operator has them: from the configuration to zones that are planned, changed and healed."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from postane.admin import dns_targets, domain, domain_facts, domain_plan
from postane.admin.domain_plan import Applied
from postane.admin.site import Site
from postane.config.load import parse
from postane.config.model import Config, Dns, DnsTarget, Domains
from postane.core.errors import ConfigError, NotAllowedError, ServiceMissingError, TemporaryError
from postane.dns.records import Record, canonical, text_of
from postane.dns.targets.octodns import OctoDns
from postane.dns.targets.rfc2136 import Rfc2136, key_from
from postane.domains.kinds import Kind
from postane.domains.plan import Action
from postane.storage.schema import OwnedRecord
from support.cloudflare import READ_ONLY, TOKEN, Cloudflare, cloudflare
from support.dns import name_server
from support.knot import KNOTD, SECRET, RunningKnot, running
from support.relay import relay

needs_knot = pytest.mark.skipif(KNOTD is None, reason="Knot is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:.*DEPRECATED:DeprecationWarning")

D = "shop.test"
OLD = """@ 300 MX 10 mx.old.test.
@ 300 TXT "v=spf1 ip4:198.51.100.0/24 ~all"
@ 300 TXT "site-verification=1"
www 300 A 198.51.100.7
"""


@pytest.fixture(scope="module")
def nameserver() -> Iterator[str]:
    """A resolver that knows of no parent: what the world sees is not known, quickly."""
    with name_server() as (server, address):
        server.add("", "NS", "root.invalid.")
        yield address


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKnot]:
    with running(tmp_path_factory.mktemp("knot"), {D: OLD}) as knot:
        yield knot


@pytest.fixture
def api() -> Iterator[Cloudflare]:
    with cloudflare() as state:
        state.add(D, "MX", "mx.old.test", priority=10)
        state.add(D, "TXT", '"v=spf1 ip4:198.51.100.0/24 ~all"')
        state.add(D, "TXT", '"site-verification=1"')
        state.add(D, "A", "198.51.100.7", name=f"www.{D}")
        yield state


def secret(folder: Path, text: str) -> str:
    file = folder / "token"
    file.write_text(f"{text}\n")
    file.chmod(0o600)
    return str(file)


def site_of(folder: Path, nameserver: str, api: Cloudflare, token: str = TOKEN, **wishes: Any) -> Site:
    options = {"api_url": api.url, "pagerules": False, "retry_count": 1, "retry_period": 0}
    far = DnsTarget(
        type="octodns",
        provider="octodns_cloudflare.CloudflareProvider",
        options=options,
        secret_files={"token": secret(folder, token)},
        zone_timeout=10,
        **wishes,
    )
    dns = Dns(nameservers=(nameserver,), timeout=1, targets={"far": far}, addresses=("192.0.2.1",))
    site = Site(Config(host="mail.host.test", state=str(folder), dns=dns, domains=Domains(target="far")))
    site.database.upgrade()
    return site


def apply(site: Site, *names: str, take: tuple[Kind, ...] = ()) -> list[Applied]:
    return domain_plan.apply(site, domain_plan.plan(site, list(names) or None, take=take))


def rows(site: Site) -> set[tuple[str, str, str]]:
    with site.database.session() as session:
        found = session.scalars(select(OwnedRecord))
        return {canonical(Record(row.name, row.type, row.data)) for row in found}


def foreign(api: Cloudflare) -> list[dict[str, Any]]:
    return [one for one in api.zones[D].values() if "198.51.100.7" in one["content"] or "site-" in one["content"]]


def test_a_domain_at_a_provider_is_planned_carried_out_and_has_nothing_more_to_do(
    tmp_path: Path, nameserver: str, api: Cloudflare
) -> None:
    site = site_of(tmp_path, nameserver, api)
    domain.add(site, D)
    before = [dict(one) for one in foreign(api)]
    [done] = apply(site, D)
    assert (done.state, done.conflicts) == ("done", 1)
    assert [{**one, "data": {}} for one in foreign(api)] == [{**one, "data": {}} for one in before]
    texts = [one["content"] for one in api.zones[D].values() if one["name"] == D and one["type"] == "TXT"]
    assert '"v=spf1 ip4:198.51.100.0/24 a:mail.host.test ~all"' in texts
    calls = len(api.writes())
    [again] = apply(site, D)
    assert (again.state, len(api.writes())) == ("unchanged", calls)
    # A TLS policy that names our host alone is not announced while the MX names another.
    assert f"_mta-sts.{D}" not in {one["name"] for one in api.zones[D].values()}
    [done] = apply(site, D, take=(Kind.MX,))
    assert (done.state, done.conflicts) == ("done", 0)
    assert f"_mta-sts.{D}" in {one["name"] for one in api.zones[D].values()}
    [again] = apply(site, D)
    assert again.state == "unchanged"


def test_what_broke_off_is_ours_all_the_same_and_is_healed(tmp_path: Path, nameserver: str, api: Cloudflare) -> None:
    site = site_of(tmp_path, nameserver, api)
    domain.add(site, D)
    api.writes_left = 4
    [done] = apply(site, D)
    assert done.state == "failed"
    assert isinstance(done.error, TemporaryError)
    assert "records were changed before that" in str(done.error)
    api.writes_left = None
    [done] = apply(site, D)
    assert done.state == "done"
    held = {canonical(one) for one in asyncio.run(dns_targets.target(site, "far").read(D)) or ()}
    assert rows(site) <= held
    assert [one.state for one in apply(site, D)] == ["unchanged"]
    # All of it is ours, what was put in before the break too: with the domain it goes again.
    ours = rows(site)
    domain_facts.change(site, D, None, None, {"mta_sts": "off"})
    [done] = apply(site, D)
    assert {name for name, _, _ in ours - rows(site)} == {f"mta-sts.{D}"}


def test_a_token_without_rights_changes_nothing_and_leaves_no_rows(
    tmp_path: Path, nameserver: str, api: Cloudflare
) -> None:
    site = site_of(tmp_path, nameserver, api, READ_ONLY)
    domain.add(site, D)
    [done] = apply(site, D)
    assert isinstance(done.error, NotAllowedError)
    assert rows(site) == set()
    assert READ_ONLY not in str(done.error)


def test_an_api_that_is_down_fails_its_domains_and_no_other(tmp_path: Path, nameserver: str, api: Cloudflare) -> None:
    site = site_of(tmp_path, nameserver, api)
    for name in (D, "hand.test"):
        domain.add(site, name)
    domain_facts.change(site, "hand.test", "manual", None, {})
    api.broken = True
    found = {one.domain: one for one in domain_plan.plan(site, None)}
    assert isinstance(found[D].error, ServiceMissingError)
    assert found["hand.test"].plan is not None


def test_what_the_provider_cannot_hold_is_a_conflict_with_ways_out(
    tmp_path: Path, nameserver: str, api: Cloudflare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OctoDns, "types", frozenset({"A", "AAAA", "CNAME", "MX", "TXT"}))
    site = site_of(tmp_path, nameserver, api)
    domain.add(site, D)
    [found] = domain_plan.plan(site, [D], take=[Kind.MX])
    assert found.plan is not None
    left = found.plan.of(Action.CONFLICT)
    assert {line.kind for line in left} == {Kind.SRV}
    assert all("cannot hold SRV records" in line.reason and line.ways_out for line in left)
    assert {line.kind for line in found.plan.of(Action.ADD)} >= {Kind.DKIM, Kind.DMARC}


def test_a_limit_of_texts_is_a_conflict_before_anything_is_tried(
    tmp_path: Path, nameserver: str, api: Cloudflare
) -> None:
    api.longest_text = 255
    site = site_of(tmp_path, nameserver, api, text_limit=255)
    domain.add(site, D)
    [done] = apply(site, D, take=(Kind.MX,))
    assert (done.state, done.conflicts) == ("done", 1)
    assert done.plan is not None
    [line] = done.plan.of(Action.CONFLICT)
    assert line.kind is Kind.DKIM
    assert line.ways_out
    assert all(len(text_of(one["content"])) <= 255 for one in api.zones[D].values() if one["type"] == "TXT")


def test_a_least_ttl_is_what_is_wanted(tmp_path: Path, nameserver: str, api: Cloudflare) -> None:
    site = site_of(tmp_path, nameserver, api, least_ttl=120)
    domain.add(site, D)
    domain_facts.change(site, D, None, None, {"ttl": 60})
    apply(site, D, take=(Kind.MX,))
    assert {one["ttl"] for one in api.zones[D].values() if one["type"] in ("CNAME", "SRV")} == {120}
    assert [one.state for one in apply(site, D)] == ["unchanged"]


def test_an_alias_at_the_apex_and_a_domain_of_many_letters(tmp_path: Path, nameserver: str, api: Cloudflare) -> None:
    name = "müze.test"
    api.add("xn--mze-hoa.test", "CNAME", "shop.elsewhere.test")  # Cloudflare answers with what it leads to
    site = site_of(tmp_path, nameserver, api)
    domain.add(site, name)
    [done] = apply(site, name)
    assert (done.state, done.conflicts) == ("done", 0)
    kinds = {(one["type"], one["name"]) for one in api.zones["xn--mze-hoa.test"].values()}
    assert {("CNAME", "xn--mze-hoa.test"), ("MX", "xn--mze-hoa.test")} <= kinds
    assert [one.state for one in apply(site, name)] == ["unchanged"]


def test_progress_is_told_zone_by_zone(tmp_path: Path, nameserver: str, api: Cloudflare) -> None:
    site = site_of(tmp_path, nameserver, api)
    names = [f"z{number}.test" for number in range(12)]
    for name in names:
        domain.add(site, name)
        api.add(name, "A", "198.51.100.7", name=f"www.{name}")
    told: list[tuple[int, int]] = []
    found = domain_plan.plan(site, None, told=lambda done, of: told.append((done, of)))
    assert told == [(number, 12) for number in range(1, 13)]
    told.clear()
    done = domain_plan.apply(site, found, told=lambda done, of: told.append((done, of)))
    assert told == [(10, 12), (12, 12)]
    assert {one.state for one in done} == {"done"}
    assert [one.state for one in apply(site)] == ["unchanged"] * 12


CONFIG = """host: mail.host.test
state: {folder}
dns:
  nameservers: ["{nameserver}"]
  timeout: 1
  addresses: [192.0.2.1]
  targets:
    far:
      type: octodns
      provider: octodns_bind.Rfc2136Provider
      options:
        {{host: 127.0.0.1, port: {port}, key_name: writer, key_algorithm: hmac-sha256, update_batch_size: 1}}
      secret_files: {{key_secret: {secret}}}
domains: {{target: far}}
"""


@needs_knot
def test_a_run_that_is_killed_between_two_records_is_healed_by_the_next(
    tmp_path: Path, server: RunningKnot, nameserver: str
) -> None:
    file = tmp_path / "postane.yml"

    def write(port: int) -> Site:
        token = secret(tmp_path, SECRET)
        file.write_text(CONFIG.format(folder=tmp_path, nameserver=nameserver, port=port, secret=token))
        return Site.at(file)

    site = write(server.port)
    site.database.upgrade()
    domain.add(site, D)
    far = Rfc2136("far", "127.0.0.1", server.port, key_from("writer", "hmac-sha256", secret(tmp_path, SECRET)))

    def there() -> set[tuple[str, str, str]]:
        return {canonical(one) for one in asyncio.run(far.read(D)) or () if one.type not in ("SOA", "NS")}

    before = there()
    command = [sys.executable, "-m", "postane.cli.main", "--config", str(file), "domain", "apply", D, "--take", "mx"]
    running_command: list[subprocess.Popen[bytes]] = []
    with relay(server.port, 4, lambda: os.kill(running_command[0].pid, signal.SIGKILL)) as port:
        write(port)
        running_command.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        assert running_command[0].wait(60) == -signal.SIGKILL
    half = there()
    assert len(before ^ half) == 3  # three records were put in, and the fourth was not
    assert half - before <= rows(site)  # and each of them is known to be ours
    write(server.port)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert rows(site) <= there()
    assert {one for one in before if one[1] in ("A", "AAAA") or "site-" in one[2]} <= there()
    assert [one.state for one in apply(write(server.port), D)] == ["unchanged"]


@pytest.mark.parametrize(
    ("mode", "text", "said"), [(0o644, "x", "by others"), (0o660, "x", "others"), (0o600, "", "empty")]
)
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, mode: int, text: str, said: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(mode)
    target = DnsTarget(type="octodns", provider="octodns_bind.Rfc2136Provider", secret_files={"key_secret": str(file)})
    site = Site(Config(host="mail.host.test", state=str(tmp_path), dns=Dns(targets={"far": target})))
    with pytest.raises(ConfigError, match=said):
        dns_targets.target(site, "far")
    file.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        dns_targets.target(site, "far")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{type: octodns}", "octodns needs the provider's class"),
        ("{type: octodns, provider: a.B, options: {token: t-1}}", "belongs into a file"),
        ("{type: octodns, provider: a.B, options: {secret_access_key: t-1}}", "belongs into a file"),
    ],
)
def test_a_target_is_refused_where_it_is_written(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        parse(f"host: mail.host.test\ndns:\n  targets:\n    far: {text}\n", "postane.yml")
    assert str(refused.value).startswith("postane.yml:4: ")
    assert "t-1" not in str(refused.value)
