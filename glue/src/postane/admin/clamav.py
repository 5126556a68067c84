"""The state of clamd as the operator asks for it: does it answer, with which engine and how old signatures?"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from postane.config.load import load
from postane.core.errors import ServiceMissingError
from postane.filters.builtin.clamav import Clamd, Options

OLD = 7 * 24 * 3600  # seconds; freshclam has new signatures daily
SECONDS = 10.0

# "ClamAV 1.4.3/27834/Sun Nov 30 09:26:11 2025"; without a database of ClamAV's own there is only the first part.
_VERSION = re.compile(r"ClamAV (?P<engine>[^/\s]+)(?:/(?P<number>\d+)/(?P<made>.+))?")
_MADE = "%a %b %d %H:%M:%S %Y"


@dataclass(frozen=True, slots=True)
class ClamavView:
    """The answer of `check clamav`. `result` is pass, old (signatures of over a week) or fail.

    `signatures` and `made` tell of ClamAV's own database, 0 and "" where there is none; `age` is its age in hours.
    """

    result: str
    address: str
    engine: str = ""
    signatures: int = 0
    made: str = ""
    age: float = 0.0
    reason: str = ""


def address(config: Path) -> str:
    """Where the configuration says that clamd is; where it says nothing, the filter's default. Raises ConfigError."""
    options: Any = load(config).filters.options.get("clamav", {}) if config.exists() else {}
    return msgspec.convert(options, Options).address


async def check(address: str, now: float) -> ClamavView:
    """Asks for the version, and whether it scans. Raises ValueError for an address that is none."""
    clamd = Clamd(address)
    try:
        async with asyncio.timeout(SECONDS):
            said = await clamd.command("VERSION")
            pong = await clamd.command("PING")
    except ServiceMissingError as error:
        return ClamavView("fail", address, reason=str(error))
    except TimeoutError:
        return ClamavView("fail", address, reason=f"no answer in {SECONDS:g} s")
    return view(address, said, pong, now)


def view(address: str, said: str, pong: str, now: float) -> ClamavView:
    """What the answers to VERSION and PING mean at the time `now`."""
    match = _VERSION.fullmatch(said)
    if match is None or pong != "PONG":
        return ClamavView("fail", address, reason=f"this is no clamd: it answers {said[:100]!r} and {pong[:100]!r}")
    engine = match["engine"]
    if match["number"] is None:
        return ClamavView("pass", address, engine, reason="no database of ClamAV's own, so no age")
    try:
        made = datetime.strptime(match["made"], _MADE).replace(tzinfo=UTC)
    except ValueError:
        return ClamavView("pass", address, engine, int(match["number"]), match["made"], reason="a date of another form")
    age = now - made.timestamp()
    result, reason = ("old", "the signatures are over a week old") if age > OLD else ("pass", "")
    return ClamavView(result, address, engine, int(match["number"]), made.isoformat(), round(age / 3600, 1), reason)
