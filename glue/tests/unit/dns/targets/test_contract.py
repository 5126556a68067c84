"""What every target that writes holds to, each at a real server: the host's Knot, DNS UPDATE, octoDNS's providers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from postane.core.errors import NotAllowedError, NotFoundError, PostaneError, ServiceMissingError
from postane.dns.knot import Knot
from postane.dns.records import Record, canonical, text_data
from postane.dns.targets.base import Change, Target, WorldChangedError, apply_many, read_many
from postane.dns.targets.knot import KnotTarget
from postane.dns.targets.octodns import OctoDns, load_provider
from postane.dns.targets.rfc2136 import Rfc2136, key_from
from support.knot import KNOTD, SECRET, RunningKnot, running

pytestmark = [
    pytest.mark.skipif(KNOTD is None, reason="Knot is not installed"),
    pytest.mark.filterwarnings("ignore:.*DEPRECATED:DeprecationWarning"),  # octoDNS's, about its own providers
]

KINDS = ("knot", "rfc2136", "octodns-bind", "octodns-yaml")
IDN = "xn--mze-hoa.test"  # müze.test
HELD = """@ 300 MX 10 mx.old.test.
@ 300 TXT "site-verification=1; x"
@ 300 TXT "v=spf1 ~all"
www 300 A 198.51.100.7
"""
LONG = "v=DKIM1; k=rsa; p=" + "A" * 400
ZONES = [f"{kind}-{number}.test" for kind in KINDS for number in range(6)]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKnot]:
    zones = dict.fromkeys([one for one in ZONES if not one.startswith("knot")], HELD)
    with running(tmp_path_factory.mktemp("knot"), {**zones, IDN: HELD}) as knot:
        yield knot


Make = Callable[[], Target]


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, server: RunningKnot, tmp_path: Path) -> tuple[str, Make]:
    kind = request.param
    (tmp_path / "secret").write_text(SECRET)

    def bind() -> Target:
        options = {"host": "127.0.0.1", "port": server.port, "timeout": 5}
        options |= {"key_name": "writer", "key_algorithm": "hmac-sha256"}
        return OctoDns(
            kind, load_provider(kind, "octodns_bind.Rfc2136Provider", options, {"key_secret": SECRET}), seconds=10
        )

    def yaml() -> Target:
        options = {"directory": str(tmp_path), "escaped_semicolons": False}
        return OctoDns(kind, load_provider(kind, "octodns.provider.yaml.YamlProvider", options, {}), seconds=10)

    made: dict[str, Make] = {
        "knot": lambda: KnotTarget(kind, Knot(server.socket), apex),
        "rfc2136": lambda: Rfc2136(
            kind, "127.0.0.1", server.port, key_from("writer", "hmac-sha256", str(tmp_path / "secret")), timeout=5
        ),
        "octodns-bind": bind,
        "octodns-yaml": yaml,
    }
    for zone in (*ZONES, IDN) if kind == "octodns-yaml" else ():
        text = "? ''\n: - {ttl: 300, type: MX, value: {exchange: mx.old.test., preference: 10}}\n"
        text += "  - {ttl: 300, type: TXT, values: ['site-verification=1; x', v=spf1 ~all]}\n"
        (tmp_path / f"{'müze.test' if zone == IDN else zone}.yaml").write_text(
            f"{text}www: {{ttl: 300, type: A, value: 198.51.100.7}}\n"
        )
    if kind == "knot":
        target = made[kind]()
        for zone in [one for one in ZONES if one.startswith("knot")]:
            held = [one for one in held_records(zone) if one not in read(target, zone)]
            asyncio.run(target.apply(zone, (), held))
    return kind, made[kind]


def apex(zone: str) -> list[Record]:
    return [
        Record(zone, "SOA", f"ns.host.test. hostmaster.{zone}. 1 10800 3600 1209600 3600"),
        Record(zone, "NS", "ns.host.test."),
    ]


def held_records(zone: str) -> list[Record]:
    return [
        Record(zone, "MX", "10 mx.old.test.", 300),
        Record(zone, "TXT", '"site-verification=1; x"', 300),
        Record(zone, "TXT", '"v=spf1 ~all"', 300),
        Record(f"www.{zone}", "A", "198.51.100.7", 300),
    ]


def read(target: Target, zone: str) -> list[Record]:
    return [
        one for one in asyncio.run(target.read(zone)) or () if one.type not in ("SOA", "NS") and "ns." not in one.name
    ]


def seen(records: Sequence[Record]) -> set[tuple[tuple[str, str, str], int]]:
    return {(canonical(one), one.ttl) for one in records}


def zone_of(kind: str, number: int) -> str:
    return f"{kind}-{number}.test"


def test_records_of_all_kinds_come_and_go_and_the_others_stay_as_they_were(place: tuple[str, Make]) -> None:
    kind, make = place
    zone, target = zone_of(kind, 0), make()
    before = read(target, zone)
    assert seen(before) == seen(held_records(zone))
    ours = [
        Record(f"p-rsa-1._domainkey.{zone}", "TXT", text_data(LONG), 3600),
        Record(f"_dmarc.{zone}", "TXT", text_data(f"v=DMARC1; p=none; rua=mailto:postmaster@{zone}"), 3600),
        Record(f"autoconfig.{zone}", "CNAME", "mail.host.test.", 3600),
        Record(f"_imaps._tcp.{zone}", "SRV", "0 1 993 mail.host.test.", 3600),
        Record(f"_pop3s._tcp.{zone}", "SRV", "0 0 0 .", 3600),
        Record(zone, "CAA", '0 issue "letsencrypt.org"', 3600),
        Record(f"_25._tcp.mail.{zone}", "TLSA", "3 1 1 " + "ab" * 32, 3600),
        Record(f"_25._tcp.mail.{zone}", "TLSA", "3 1 1 " + "cd" * 32, 3600),
        Record(f"mail.{zone}", "A", "192.0.2.1", 3600),
        Record(f"mail.{zone}", "AAAA", "2001:db8::1", 3600),
    ]
    asyncio.run(target.apply(zone, (), ours, ()))
    assert seen(read(target, zone)) == seen([*before, *ours])
    assert set(before) <= set(read(target, zone))  # to the last octet
    assert seen(read(make(), zone)) == seen([*before, *ours])
    asyncio.run(target.apply(zone, ours, (), ours))
    assert read(target, zone) == before


def test_one_of_several_texts_is_changed_and_the_other_stays(place: tuple[str, Make]) -> None:
    kind, make = place
    zone, target = zone_of(kind, 1), make()
    _, other, spf, _ = held_records(zone)
    new = Record(zone, "TXT", '"v=spf1 a:mail.host.test ~all"', 300)
    asyncio.run(target.apply(zone, [spf], [new], [other, spf]))
    assert other in read(target, zone)
    assert seen(read(target, zone)) == seen([one if one != spf else new for one in held_records(zone)])
    asyncio.run(target.apply(zone, [new], [spf], [other, new]))
    assert seen(read(target, zone)) == seen(held_records(zone))


def test_a_record_takes_the_place_of_another_with_a_ttl_of_its_own(place: tuple[str, Make]) -> None:
    kind, make = place
    zone, target = zone_of(kind, 2), make()
    old, new = held_records(zone)[0], Record(zone, "MX", "10 mail.host.test.", 3600)
    asyncio.run(target.apply(zone, [old], [new], [old]))
    assert [one for one in read(target, zone) if one.type == "MX"] == [new]
    slower = Record(zone, "MX", "10 mail.host.test.", 600)
    asyncio.run(target.apply(zone, [new], [slower], [new]))
    assert [one for one in read(target, zone) if one.type == "MX"] == [slower]
    asyncio.run(target.apply(zone, [slower], [old], [slower]))


def test_a_changed_world_is_refused_and_nothing_is_done(place: tuple[str, Make]) -> None:
    kind, make = place
    zone, target = zone_of(kind, 3), make()
    old, new = held_records(zone)[0], Record(zone, "MX", "10 mail.host.test.")
    text = Record(f"_dmarc.{zone}", "TXT", '"v=DMARC1; p=none"')
    before = read(target, zone)
    for remove, add, said in (
        ((), (new,), ()),  # there should be none, and there is one
        ((), (text,), (text,)),  # there should be one, and there is none
        ((old,), (new,), (new,)),  # another one
        ((old,), (new,), (old, new)),  # one more
    ):
        with pytest.raises(WorldChangedError, match="has changed"):
            asyncio.run(target.apply(zone, remove, add, said))
        assert read(target, zone) == before


@pytest.mark.parametrize("place", KINDS[1:], indirect=True)  # our own zones hold nothing but what Postane put there
def test_an_alias_stands_alone(place: tuple[str, Make]) -> None:
    kind, make = place
    zone, target = zone_of(kind, 4), make()
    alias = Record(f"www.{zone}", "CNAME", "mail.host.test.")
    before = read(target, zone)
    with pytest.raises(WorldChangedError):
        asyncio.run(target.apply(zone, (), [alias], ()))
    assert read(target, zone) == before


@pytest.mark.parametrize("place", ["octodns-bind"], indirect=True)
@pytest.mark.parametrize("key", ["reader", "nobody"])
def test_a_key_without_rights_changes_nothing(place: tuple[str, Make], server: RunningKnot, key: str) -> None:
    kind, make = place
    zone, options = zone_of(kind, 5), {"host": "127.0.0.1", "port": server.port, "timeout": 5}
    options |= {"key_name": key, "key_algorithm": "hmac-sha256"}
    refused = OctoDns(kind, load_provider(kind, "octodns_bind.Rfc2136Provider", options, {"key_secret": SECRET}))
    before = read(make(), zone)
    with pytest.raises(NotAllowedError):
        asyncio.run(refused.apply(zone, (), [Record(f"_dmarc.{zone}", "TXT", '"v=DMARC1; p=none"')]))
    assert read(make(), zone) == before


def test_many_zones_at_once_and_one_that_is_not_there(place: tuple[str, Make]) -> None:
    kind, make = place
    target = make()
    zones = [zone_of(kind, number) for number in range(6)]
    text = "v=TLSRPTv1; rua=mailto:x@host.test"
    changes = [Change(zone, (), (Record(f"_smtp._tls.{zone}", "TXT", text_data(text)),), ()) for zone in zones]
    none = "nobody.invalid"
    extra = [] if kind == "knot" else [Change(none, (), (Record(none, "MX", "10 mail.host.test."),), ())]
    done = asyncio.run(apply_many(target, [*changes, *extra]))
    if extra:
        assert isinstance(done.pop(none), (NotFoundError, NotAllowedError, ServiceMissingError))
    assert done == dict.fromkeys(zones, None)
    for zone, held in asyncio.run(read_many(target, zones)).items():
        assert not isinstance(held, PostaneError)
        assert held is not None
        assert f"_smtp._tls.{zone}" in {one.name for one in held}


def test_a_domain_of_many_letters(place: tuple[str, Make]) -> None:
    target = place[1]()
    mx = Record(f"post.{IDN}", "MX", f"10 mail.{IDN}.", 3600)
    asyncio.run(target.apply(IDN, (), [mx], ()))
    assert mx in read(target, IDN)
    asyncio.run(target.apply(IDN, [mx], (), [mx]))
    assert mx not in read(target, IDN)
