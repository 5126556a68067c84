"""DNS UPDATE with TSIG against a real server: what is written, and what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from postane.core.errors import ConfigError, NotAllowedError, ServiceMissingError
from postane.dns.records import Record, canonical
from postane.dns.targets.base import WorldChangedError
from postane.dns.targets.rfc2136 import Rfc2136, key_from
from support.knot import KNOTD, SECRET, RunningKnot, running

pytestmark = pytest.mark.skipif(KNOTD is None, reason="Knot is not installed")

D = "shop.test"
OLD = Record(D, "MX", "10 mx.old.test.", 300)
NEW = Record(D, "MX", "10 mail.host.test.", 3600)
TEXT = Record(f"_dmarc.{D}", "TXT", '"v=DMARC1; p=none"', 3600)
ALIAS = Record(f"autoconfig.{D}", "CNAME", "mail.host.test.", 3600)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKnot]:
    with running(tmp_path_factory.mktemp("knot"), {D: "@ 300 MX 10 mx.old.test.\n"}) as knot:
        yield knot


def target(server: RunningKnot, tmp_path: Path, key: str = "writer", secret: str = SECRET) -> Rfc2136:
    file = tmp_path / "secret"
    file.write_text(f"{secret}\n")
    return Rfc2136("far", "127.0.0.1", server.port, key_from(key, "hmac-sha256", str(file)), timeout=5)


def there(target: Rfc2136) -> set[tuple[str, str, str]]:
    return {canonical(one) for one in asyncio.run(target.read(D)) or () if one.type not in ("SOA", "NS")}


def test_records_are_written_read_and_taken_away(server: RunningKnot, tmp_path: Path) -> None:
    far = target(server, tmp_path)
    before = there(far)
    assert canonical(OLD) in before
    asyncio.run(far.apply(D, [OLD], [NEW, TEXT, ALIAS], [OLD]))
    assert there(far) == before - {canonical(OLD)} | {canonical(one) for one in (NEW, TEXT, ALIAS)}
    asyncio.run(far.apply(D, [NEW, TEXT, ALIAS], [OLD], [NEW, TEXT, ALIAS]))
    assert there(far) == before


@pytest.mark.parametrize(
    ("remove", "add", "before"),
    [
        ((), (NEW,), ()),  # there should be none, and there is one
        ((), (TEXT,), (TEXT,)),  # there should be one, and there is none
        ((OLD,), (NEW,), (NEW,)),  # another one
        ((OLD,), (NEW,), (OLD, NEW)),  # one more
        ((), (Record(f"ns.{D}", "CNAME", "x.test."),), ()),  # the name has another type
    ],
)
def test_a_changed_world_is_refused_by_the_server_and_nothing_is_done(
    server: RunningKnot,
    tmp_path: Path,
    remove: tuple[Record, ...],
    add: tuple[Record, ...],
    before: tuple[Record, ...],
) -> None:
    far = target(server, tmp_path)
    standing = there(far)
    with pytest.raises(WorldChangedError, match="has changed"):
        asyncio.run(far.apply(D, remove, add, before))
    assert there(far) == standing


def test_a_key_without_rights_and_an_unknown_one(server: RunningKnot, tmp_path: Path) -> None:
    with pytest.raises(NotAllowedError, match="does not accept the key"):
        asyncio.run(target(server, tmp_path, "reader").apply(D, (), [TEXT], None))
    unknown = target(server, tmp_path, "nobody")
    with pytest.raises(NotAllowedError):
        asyncio.run(unknown.apply(D, (), [TEXT], None))
    wrong = target(server, tmp_path, "writer", "d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmc=")
    with pytest.raises(NotAllowedError, match="does not accept the key"):
        asyncio.run(wrong.apply(D, (), [TEXT], None))


def test_a_zone_that_is_not_there_and_one_that_may_not_be_read(server: RunningKnot, tmp_path: Path) -> None:
    far = target(server, tmp_path)
    assert asyncio.run(far.read("other.test")) is None
    with pytest.raises((NotAllowedError, ServiceMissingError)):
        asyncio.run(far.apply("other.test", (), [Record("other.test", "MX", "10 a.")], None))
    assert asyncio.run(Rfc2136("far", "127.0.0.1", server.port, timeout=5).read(D)) is None


def test_a_server_that_is_away(server: RunningKnot, tmp_path: Path) -> None:
    away = Rfc2136("far", "127.0.0.1", 1, timeout=1)
    with pytest.raises(ServiceMissingError, match="does not answer"):
        asyncio.run(away.read(D))
    with pytest.raises(ServiceMissingError, match="does not answer"):
        asyncio.run(away.apply(D, (), [TEXT], None))


def test_a_key_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    assert key_from("", "hmac-sha256", "") is None
    with pytest.raises(ConfigError, match="TSIG"):
        key_from("k", "hmac-sha256", str(tmp_path / "none"))
    (tmp_path / "bad").write_text("%%%")
    with pytest.raises(ConfigError, match="TSIG"):
        key_from("k", "hmac-sha256", str(tmp_path / "bad"))
