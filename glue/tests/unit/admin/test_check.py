from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from postane.admin import check
from postane.core.errors import ConfigError, UsageError
from support.zone import Zone


def test_spf() -> None:
    zone = Zone("x.example TXT v=spf1 a:gone.example -all exp=e.example\ne.example TXT not %{i}")
    view, problem = asyncio.run(check.spf("192.0.2.1", "h.example", "a@x.example", zone.ask))
    assert view == check.SpfView("fail", "-all", "not 192.0.2.1", 1, 1)
    assert problem == ""


@pytest.mark.parametrize("sender", ["", "<>"])
def test_the_null_sender_is_postmaster_at_the_helo_name(sender: str) -> None:
    zone = Zone("h.example TXT v=spf1 exists:%{l}.%{o} -all\npostmaster.h.example A 127.0.0.1")
    view, _ = asyncio.run(check.spf("192.0.2.1", "h.example", sender, zone.ask))
    assert view.result == "pass"


def test_what_went_wrong_is_told() -> None:
    _, problem = asyncio.run(check.spf("::1", "h.example", "a@x.example", Zone("x.example TXT v=spf1 moo").ask))
    assert "x.example" in problem
    assert "moo" in problem


@pytest.mark.parametrize("ip", ["", "192.0.2.256", "localhost", "192.0.2.0/24", "[::1]"])
def test_no_address(ip: str) -> None:
    with pytest.raises(UsageError, match="--ip"):
        asyncio.run(check.spf(ip, "h.example", "a@x.example", Zone("").ask))


@pytest.mark.parametrize(("given", "address"), [("127.0.0.1:5353", "127.0.0.1"), ("localhost:53", "127.0.0.1")])
def test_a_name_server_is_the_only_one(given: str, address: str) -> None:
    (server,) = check.resolver(given, Path("/nonexistent"))._resolver.nameservers
    assert getattr(server, "address", None) == address


@pytest.mark.parametrize("given", ["ns.example:53", "127.0.0.1:", "127.0.0.1:dns", ":53", "localhost:x"])
def test_a_name_server_that_is_none(given: str) -> None:
    with pytest.raises(UsageError, match="--nameserver"):
        check.resolver(given, Path("/nonexistent"))


def test_the_configuration_says_whom_to_ask(tmp_path: Path) -> None:
    config = tmp_path / "postane.yml"
    config.write_text("host: mx.example.org\ndns:\n  nameservers: ['127.0.0.9:99']\n  timeout: 3\n")
    resolver = check.resolver("", config)
    assert [str(server) for server in resolver._resolver.nameservers] == ["Do53:127.0.0.9@99"]
    assert resolver._resolver.lifetime == 3
    config.write_text("nonsense: 1\n")
    with pytest.raises(ConfigError):
        check.resolver("", config)
