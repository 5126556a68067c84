"""octoDNS's provider for Cloudflare, the real one, at an API that behaves badly in all the ways that APIs do."""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from postane.core.errors import (
    ConfigError,
    NotAllowedError,
    NotFoundError,
    PermanentError,
    PostaneError,
    ServiceMissingError,
    TemporaryError,
)
from postane.dns.records import Record, canonical, text_data
from postane.dns.targets.base import Change, HalfDoneError, apply_many, read_many
from postane.dns.targets.octodns import GIVE_UP_AFTER, OctoDns, load_provider, sorted_error, without
from support.cloudflare import READ_ONLY, TOKEN, Cloudflare, cloudflare

D = "shop.test"
MANY = int(os.environ.get("POSTANE_TEST_ZONES", "60"))
MX = Record(D, "MX", "10 mail.host.test.", 3600)
OLD_MX = Record(D, "MX", "10 mx.old.test.", 300)
OURS = (
    Record(f"_dmarc.{D}", "TXT", text_data("v=DMARC1; p=none; rua=mailto:x@shop.test"), 3600),
    Record(f"p._domainkey.{D}", "TXT", text_data("v=DKIM1; k=rsa; p=" + "A" * 400), 3600),
    Record(f"autoconfig.{D}", "CNAME", "mail.host.test.", 3600),
    Record(f"_imaps._tcp.{D}", "SRV", "0 1 993 mail.host.test.", 3600),
    Record(f"_25._tcp.mail.{D}", "TLSA", "3 1 1 " + "ab" * 32, 3600),
)


@pytest.fixture
def api() -> Iterator[Cloudflare]:
    with cloudflare() as state:
        state.add(D, "MX", "mx.old.test", priority=10)
        state.add(D, "TXT", '"site-verification=1; x"', comment="the shop's")
        state.add(D, "TXT", '"v=spf1 ~all"')
        state.add(D, "A", "198.51.100.7", name=f"www.{D}", proxied=True)
        yield state


def target(api: Cloudflare, token: str = TOKEN, **wishes: Any) -> OctoDns:
    options = {"api_url": api.url, "pagerules": False, "retry_count": 2, "retry_period": 0, "timeout": 5}
    provider = load_provider("cf", "octodns_cloudflare.CloudflareProvider", options, {"token": token})
    return OctoDns("cf", provider, **{"seconds": 10.0, "secrets": (token,), **wishes})


def there(api: Cloudflare) -> set[tuple[str, str, str]]:
    return {canonical(one) for one in asyncio.run(target(api).read(D)) or ()}


def test_only_what_is_ours_is_called_for(api: Cloudflare) -> None:
    before = copy.deepcopy(api.zones[D])
    far = target(api)
    asyncio.run(far.apply(D, [OLD_MX], [MX, *OURS], [OLD_MX]))
    assert {canonical(one) for one in (MX, *OURS)} <= there(api)
    assert len(api.writes()) == 1 + len(OURS)
    foreign = {key: one for key, one in before.items() if one["type"] != "MX"}
    assert {key: api.zones[D][key] for key in foreign} == foreign
    asyncio.run(far.apply(D, [MX, *OURS], [OLD_MX], [MX, *OURS]))
    assert {key: one["content"] for key, one in api.zones[D].items()} == {
        k: one["content"] for k, one in before.items()
    }


def test_a_text_beside_foreign_ones_is_changed_alone(api: Cloudflare) -> None:
    spf, new = Record(D, "TXT", '"v=spf1 ~all"', 300), Record(D, "TXT", '"v=spf1 mx ~all"', 300)
    other = Record(D, "TXT", '"site-verification=1; x"', 300)
    asyncio.run(target(api).apply(D, [spf], [new], [spf, other]))
    assert {one["content"] for one in api.zones[D].values() if one["type"] == "TXT"} == {
        '"site-verification=1; x"',
        '"v=spf1 mx ~all"',
    }


@pytest.mark.parametrize("text", [r'"a\\b"', r'"say \"hello\""', '"ağaç"'])
def test_a_foreign_text_that_could_be_garbled_stops_the_change(api: Cloudflare, text: str) -> None:
    api.add(D, "TXT", text)
    before = copy.deepcopy(api.zones[D])
    with pytest.raises(PermanentError, match="garble"):
        asyncio.run(target(api).apply(D, [], [Record(D, "TXT", '"v=x"', 300)]))
    assert api.zones[D] == before
    asyncio.run(target(api).apply(D, [], [OURS[0]]))  # at other names it is in nobody's way


def test_a_token_without_rights_and_an_unknown_one(api: Cloudflare) -> None:
    before = copy.deepcopy(api.zones[D])
    with pytest.raises(NotAllowedError, match="cf does not take the change") as refused:
        asyncio.run(target(api, READ_ONLY).apply(D, [], OURS))
    assert READ_ONLY not in f"{refused.value} {refused.value.hint}"
    assert api.zones[D] == before
    with pytest.raises(NotAllowedError, match="cannot read"):
        asyncio.run(target(api, "nobody's").read(D))


def test_a_zone_that_is_not_there_and_one_that_is_empty(api: Cloudflare) -> None:
    api.zones["empty.test"] = {}
    far = target(api)
    with pytest.raises(NotFoundError, match=r"no zone other\.test, or does not show it"):
        asyncio.run(far.read("other.test"))
    with pytest.raises(NotFoundError):
        asyncio.run(far.apply("other.test", [], [Record("other.test", "MX", "10 mail.host.test.")]))
    assert not api.writes()  # no zone is made by the way
    assert asyncio.run(far.read("empty.test")) == []
    asyncio.run(far.apply("empty.test", [], [Record("empty.test", "MX", "10 mail.host.test.")]))
    assert [one["type"] for one in api.zones["empty.test"].values()] == ["MX"]


def test_a_change_that_breaks_off_is_half_done_and_the_next_does_the_rest(api: Cloudflare) -> None:
    api.writes_left = 2
    far = target(api)
    with pytest.raises(HalfDoneError, match=f"2 of {len(OURS)} records were changed before") as stopped:
        asyncio.run(far.apply(D, [], OURS, []))
    assert isinstance(stopped.value, TemporaryError)
    assert len(api.zones[D]) == 6
    api.writes_left = None
    standing = [one for one in asyncio.run(far.read(D)) or () if canonical(one) in {canonical(o) for o in OURS}]
    rest = [one for one in OURS if canonical(one) not in {canonical(s) for s in standing}]
    asyncio.run(far.apply(D, [], rest, []))
    assert {canonical(one) for one in OURS} <= there(api)
    assert len(api.zones[D]) == 4 + len(OURS)


def test_a_change_that_is_refused_at_its_first_record_is_not_half_done(api: Cloudflare) -> None:
    api.longest_text = 30
    with pytest.raises(PermanentError, match="too long") as refused:
        asyncio.run(target(api).apply(D, [], [OURS[1]], []))
    assert not isinstance(refused.value, (HalfDoneError, NotAllowedError))


def test_an_api_that_asks_for_patience_is_asked_again(api: Cloudflare) -> None:
    api.bursts = 1
    assert asyncio.run(target(api).read(D))


def test_an_api_that_is_down_is_not_asked_about_every_zone(api: Cloudflare) -> None:
    zones = [f"z{number}.test" for number in range(12)]
    api.broken = True
    found = asyncio.run(read_many(target(api), zones))
    assert all(isinstance(one, ServiceMissingError) for one in found.values())
    assert sum("was not asked" in str(one) for one in found.values()) == len(zones) - GIVE_UP_AFTER
    assert len(api.calls) <= GIVE_UP_AFTER * 4
    away = target(api)
    away._provider.api_url = "http://127.0.0.1:1/client/v4"
    with pytest.raises(ServiceMissingError):
        asyncio.run(away.read(D))


def test_a_silent_api_costs_its_time_and_no_more(api: Cloudflare) -> None:
    api.silent = True
    far = target(api, seconds=0.3)
    started = time.monotonic()
    found = asyncio.run(read_many(far, [f"z{number}.test" for number in range(9)]))
    assert all(isinstance(one, ServiceMissingError) for one in found.values())
    assert "was not done with" in str(found["z0.test"])
    assert time.monotonic() - started < 20  # and not 9 times the 30 s of a call


def test_zones_are_worked_on_at_the_pace_that_is_set(api: Cloudflare) -> None:
    zones = [f"z{number}.test" for number in range(5)]
    for zone in zones:
        api.add(zone, "MX", "mx.old.test", priority=10)
    started = time.monotonic()
    asyncio.run(read_many(target(api, per_minute=300), zones))
    assert time.monotonic() - started >= 4 * 60 / 300


def test_many_zones_are_listed_once_and_changed_each_by_itself(api: Cloudflare) -> None:
    zones = [f"many{number}.test" for number in range(MANY)]
    for zone in zones:
        api.add(zone, "A", "198.51.100.7", name=f"www.{zone}")
    far = target(api)
    found = asyncio.run(read_many(far, zones))
    assert all(isinstance(one, list) for one in found.values())
    changes = [
        Change(zone, (), (Record(f"_dmarc.{zone}", "TXT", text_data("v=DMARC1; p=none")),), ()) for zone in zones
    ]
    done = asyncio.run(apply_many(far, changes))
    assert done == dict.fromkeys(zones, None)
    listed = [one for one in api.calls if one == ("GET", "/zones")]
    assert len(listed) == (MANY + 1) // 50 + 1
    assert len(api.calls) == len(listed) + 3 * MANY  # read, read again before the change, one record written
    again = asyncio.run(apply_many(far, [Change(one.zone, (), one.add) for one in changes]))
    assert again == dict.fromkeys(zones, None)
    assert len(api.writes()) == MANY


def test_a_ttl_that_the_provider_rounds_up_is_no_change_for_ever(api: Cloudflare) -> None:
    quick = Record(f"_dmarc.{D}", "TXT", text_data("v=DMARC1; p=none"), 60)
    far = target(api)
    asyncio.run(far.apply(D, [], [quick], []))
    standing = next(one for one in asyncio.run(far.read(D)) or () if one.name == quick.name)
    assert standing.ttl == 120
    asyncio.run(far.apply(D, [standing], [quick], [standing]))
    assert len(api.writes()) == 1


def test_what_the_provider_cannot_hold_is_known_and_refused(api: Cloudflare) -> None:
    far = target(api)
    assert {"MX", "TXT", "TLSA", "SRV"} <= far.types
    far._provider.SUPPORTS = {"MX", "TXT"}
    assert far.types == {"MX", "TXT"}
    with pytest.raises(PermanentError, match="TLSA records not supported"):
        asyncio.run(far.apply(D, [], [OURS[4]], []))
    with pytest.raises(PermanentError, match="the provider's"):
        asyncio.run(far.apply(D, [], [Record(D, "NS", "ns.elsewhere.test.")], []))
    with pytest.raises(PermanentError, match="octoDNS does not take"):
        asyncio.run(target(api).apply(D, [], [Record(f"a.{D}", "MX", "10 not_a..name.")], []))
    assert not api.writes()


def test_a_provider_that_is_not_there_says_what_to_install(api: Cloudflare) -> None:
    with pytest.raises(ConfigError, match="needs the package octodns-nowhere, which is not installed") as missing:
        load_provider("x", "octodns_nowhere.NowhereProvider", {}, {})
    assert "postane_extra_packages: [octodns-nowhere]" in missing.value.hint
    for place, said in (
        ("CloudflareProvider", "is no class"),
        ("octodns_cloudflare.Nothing", "is no provider"),
        ("octodns.zone.Zone", "is no provider"),
    ):
        with pytest.raises(ConfigError, match=said):
            load_provider("x", place, {}, {})
    with pytest.raises(ConfigError, match="tokn"):
        load_provider("x", "octodns_bind.Rfc2136Provider", {"host": "127.0.0.1", "tokn": 1}, {})
    with pytest.raises(ConfigError, match="apply_disabled"):
        load_provider("x", "octodns_cloudflare.CloudflareProvider", {"apply_disabled": True}, {"token": "t"})


def test_secrets_are_in_no_error_and_no_log(api: Cloudflare, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen = logging.getLogger()
    far = target(api)
    seen.debug("Bearer %s", TOKEN)
    assert TOKEN not in caplog.text
    assert "Bearer ***" in caplog.text
    asyncio.run(far.apply(D, [], OURS, []))
    assert TOKEN not in caplog.text
    with pytest.raises(PostaneError) as failed:
        load_provider("x", "octodns_cloudflare.CloudflareProvider", {f"a{TOKEN}": 1}, {"token": TOKEN})
    assert TOKEN not in str(failed.value)


@dataclass
class _Answer:
    status_code: int


class _HttpError(OSError):
    def __init__(self, status: int) -> None:
        super().__init__(f"{status} Error for url: https://api.test/?key=sesame")
        self.response = _Answer(status)


class AccessDeniedError(Exception):
    response = {"ResponseMetadata": {"HTTPStatusCode": 403}}  # noqa: RUF012 - as boto has it


def _dns_refuses() -> Exception:
    return Exception("Unable to perform update: REFUSED")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (_HttpError(401), NotAllowedError),
        (_HttpError(403), NotAllowedError),
        (_HttpError(404), NotFoundError),
        (_HttpError(422), PermanentError),
        (_HttpError(429), ServiceMissingError),
        (_HttpError(500), ServiceMissingError),
        (AccessDeniedError("no"), NotAllowedError),
        (_dns_refuses(), NotAllowedError),
        (Exception("Zone transfer error: NOTAUTH"), NotAllowedError),
        (ConnectionRefusedError(111, "Connection refused"), ServiceMissingError),
        (Exception("Not found"), NotFoundError),
        (KeyError("result"), PermanentError),
    ],
)
def test_whatever_a_provider_raises_is_sorted(error: Exception, kind: type[PostaneError]) -> None:
    found = sorted_error("far", "cannot read a.test", error, ["sesame"])
    assert type(found) is kind
    assert str(found).startswith("far cannot read a.test: ")
    assert "sesame" not in str(found)


def test_secrets_are_hidden_wherever_they_stand() -> None:
    assert without("a=1 b=1", ["1"]) == "a=*** b=***"
    assert without("a", [""]) == "a"
