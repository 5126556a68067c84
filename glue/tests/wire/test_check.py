"""`postane check` as a command, against a real name server on loopback."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import dns.rcode
import pytest

from postane.admin import check
from support.dns import NameServer


def served(test: Callable[[NameServer, str], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        server = NameServer()
        at = await server.start()
        try:
            await test(server, at)
        finally:
            server.stop()

    asyncio.run(main())


async def postane(*arguments: str) -> tuple[int, Any]:
    """The exit code, and the JSON that was printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "postane.cli.main", "check", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(out)


async def spf(at: str, ip: str, mail_from: str = "ayse@x.test", helo: str = "h.test") -> tuple[int, Any]:
    return await postane("spf", "--ip", ip, "--helo", helo, "--mail-from", mail_from, "--nameserver", at)


def test_spf() -> None:
    async def test(server: NameServer, at: str) -> None:
        server.add(
            "x.test", "TXT", '"v=spf1 a:gone.x.test mx include:other.test " "exp=why.x.test ?exists:%{l}.x.test -all"'
        )
        server.add("x.test", "MX", "10 mail.x.test.")
        server.add("mail.x.test", "CNAME", "host.test.")
        server.add("host.test", "A", "192.0.2.1")
        server.add(
            "other.test",
            "TXT",
            f'"v=spf1 {" ".join(f"ip4:198.51.100.{n}" for n in range(10))} " "ip6:2001:db8::/64 -all"',
        )
        server.add("why.x.test", "TXT", '"%{i} may not send for %{d}"')
        server.add("h.test", "TXT", '"v=spf1 ip4:203.0.113.9 -all"')
        server.faults["down.test"] = dns.rcode.SERVFAIL

        keys = ("result", "mechanism", "explanation", "lookups", "void_lookups")
        for (ip, mail_from), code, values in [
            (("192.0.2.1", "ayse@x.test"), 0, ("pass", "mx", "", 2, 1)),
            (("2001:db8::5", "ayse@x.test"), 0, ("pass", "include:other.test", "", 3, 2)),
            (("203.0.113.9", "ayse@x.test"), 1, ("fail", "-all", "203.0.113.9 may not send for x.test", 4, 2)),
            (("203.0.113.9", ""), 0, ("pass", "ip4:203.0.113.9", "", 0, 0)),
            (("203.0.113.9", "ayse@none.test"), 0, ("none", "", "", 0, 0)),
            (("203.0.113.9", "ayse@down.test"), 1, ("temperror", "", "", 0, 0)),
        ]:
            assert await spf(at, ip, mail_from) == (code, dict(zip(keys, values, strict=True)))

    served(test)


def test_silence_is_a_temporary_error_and_all_of_it_together_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process gets at most three seconds beside the questions, of the twenty that it has promised."""
    assert check.CHECK_SECONDS <= 17
    monkeypatch.setattr(check, "QUESTION_SECONDS", check.QUESTION_SECONDS / 10)
    monkeypatch.setattr(check, "CHECK_SECONDS", check.CHECK_SECONDS / 10)

    async def test(server: NameServer, at: str) -> None:
        async def spf(mail_from: str) -> tuple[str, float]:
            begun = time.monotonic()
            view, _ = await check.spf("192.0.2.1", "h.test", mail_from, check.resolver(at, Path("/none")).ask)
            return view.result, time.monotonic() - begun

        server.faults["silent.test"] = None
        result, seconds = await spf("ayse@silent.test")
        assert (result, seconds < 1.6) == ("temperror", True)
        # Silence about a reverse name is no error, so one evaluation may meet it again and again: it waits once.
        server.faults["1.2.0.192.in-addr.arpa"] = None
        server.add("x.test", "TXT", '"v=spf1 ptr ptr:y.test ptr:z.test ptr:v.test a:w.test -all"')
        server.add("w.test", "A", "192.0.2.1")
        result, seconds = await spf("ayse@x.test")
        assert (result, 0.5 < seconds < 1.6) == ("pass", True)
        # Nor is silence about the names that a reverse zone claims, and there may be many.
        server.add("2.2.0.192.in-addr.arpa", "PTR", *(f"{n}.y.test." for n in range(4)))
        server.faults |= {f"{n}.y.test": None for n in range(4)}
        server.add("y.test", "TXT", '"v=spf1 ptr a:w.test -all"')
        begun = time.monotonic()
        view, _ = await check.spf("192.0.2.2", "h.test", "ayse@y.test", check.resolver(at, Path("/none")).ask)
        assert (view.result, time.monotonic() - begun < 2.5) == ("temperror", True)

    served(test)


def test_lists_in_the_dns() -> None:
    async def test(server: NameServer, at: str) -> None:
        server.add("2.0.0.127.bl.test", "A", "127.0.0.2")
        server.add("66.2.0.192.bl.test", "A", "127.0.0.4")
        server.add("66.2.0.192.bl.test", "TXT", '"Open relay"')
        server.zones["dead.test"] = ["127.0.0.2"]
        zones = ("--zone", "bl.test", "--zone", "dead.test", "--nameserver", at, "--json")
        code, view = await postane("dnsbl", "192.0.2.66", *zones)
        well, dead = view["lists"]
        assert (code, view["score"], view["refused"]) == (1, 5, True)
        assert (well["answers"], well["text"], well["problem"]) == (["127.0.0.4"], "Open relay", "")
        assert (dead["listed"], dead["weight"], dead["problem"]) == (True, 0, "lists everything")
        code, view = await postane("dnsbl", "192.0.2.1", *zones)
        assert (code, view["score"]) == (0, 0)

    served(test)
