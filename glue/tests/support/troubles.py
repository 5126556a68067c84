"""A package with filters that do all that a filter should not, installed into a folder for PYTHONPATH.

Which of its troubles comes is said on the wire, by the sender: `<phase>-<deed>@far.test`, so that one server serves all
cases. At connect nothing is said yet: there the last part of the peer's address picks the deed (127.0.0.100 and on).
"""

from __future__ import annotations

from pathlib import Path

DEEDS = (
    "raises",
    "none",
    "text",
    "header",
    "name",
    "reply",
    "code",
    "decision",
    "score",
    "copies",
    "exits",
    "interrupts",
    "closes",
    "own_base",
    "cancels",
    "stops",
    "recurses",
    "memory",
    "hangs",
    "deaf",
)
BLOCKS = "blocks"

_CODE = '''
import asyncio, sys, time
from contextlib import suppress
from postane.core.reply import Reply
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters import base

DEEDS = {deeds!r}


class Options(base.Options, frozen=True):
    """Trouble."""


class OwnError(BaseException):
    pass


def recurse(depth):
    return recurse(depth + 1)


async def do(deed):
    if deed == "raises": raise ValueError("no\\r\\nX-Log: yes")
    if deed == "none": return None
    if deed == "text": return "accept"
    if deed == "header": return Verdict(headers=(("X-Good", "yes\\r\\nX-Evil: yes"),))
    if deed == "name": return Verdict(headers=(("X-Evil: yes\\r\\nX-More", "yes"),))
    if deed == "reply": return Verdict(Decision.REJECT, "no", Reply(550, "5.7.1", "no\\r\\n250 2.0.0 OK"))
    if deed == "code": return Verdict(Decision.DEFER, "no", Reply(250, "2.0.0", "OK"))
    if deed == "decision": return Verdict(3)
    if deed == "score": return Verdict(score=float("nan"))
    if deed == "copies": return Verdict(copies=("x@far.test\\r\\nRCPT TO:<y@far.test>",))
    if deed == "exits": sys.exit(0)
    if deed == "interrupts": raise KeyboardInterrupt
    if deed == "closes": raise GeneratorExit
    if deed == "own_base": raise OwnError
    if deed == "cancels": raise asyncio.CancelledError
    if deed == "stops": raise StopIteration
    if deed == "recurses": recurse(0)
    if deed == "memory": bytearray(1 << 50)
    if deed == "hangs": await asyncio.sleep(3600)
    if deed == "blocks": time.sleep(3600)
    while deed == "deaf":
        with suppress(BaseException):
            await asyncio.sleep(3600)
    return ACCEPT


class Trouble(base.Filter[Options]):
    name = "trouble"
    options_type = Options

    async def connect(self, peer):
        number = int(peer.ip.rpartition(".")[2]) - 100
        return await do(DEEDS[number] if 0 <= number < len(DEEDS) else "")

    async def mail(self, peer, sender):
        return await self._in("mail", sender)

    async def rcpt(self, peer, sender, recipient):
        return await self._in("rcpt", sender)

    async def data(self, peer, envelope, body):
        return await self._in("data", envelope.sender)

    async def _in(self, phase, sender):
        when, _, deed = sender.partition("@")[0].partition("-")
        return await do(deed if when == phase else "")

    async def close(self):
        await do("deaf")


class TroubleSkipped(Trouble):
    """The same in the data phase alone, by another name: its failures are skipped, or refused."""

    name = "trouble_skipped"

    async def connect(self, peer):
        return ACCEPT

    async def close(self):
        await do("exits")

    async def _in(self, phase, sender):
        when, _, deed = sender.partition("@")[0].partition("-")
        return await do(deed if when == self.name.partition("_")[2] and phase == "data" else "")


class TroubleRejected(TroubleSkipped):
    name = "trouble_rejected"
'''

_POINTS = """[postane.filters]
trouble = troubles:Trouble
trouble_skipped = troubles:TroubleSkipped
trouble_rejected = troubles:TroubleRejected
"""

FILTERS = """
filters:
  use: [trouble, trouble_skipped, trouble_rejected]
  options:
    trouble: {timeout: 1}
    trouble_skipped: {timeout: 1, on_failure: skip}
    trouble_rejected: {timeout: 1, on_failure: reject}
"""


def install(folder: Path) -> Path:
    """Returns the folder for PYTHONPATH; `filters.yml` beside it names the filters."""
    packages = folder / "packages"
    told = packages / "troubles-1.0.dist-info"
    told.mkdir(parents=True)
    (packages / "troubles.py").write_text(_CODE.format(deeds=DEEDS))
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: troubles\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text(_POINTS)
    (folder / "filters.yml").write_text(FILTERS)
    return packages


def connect_address(deed: str) -> str:
    return f"127.0.0.{100 + DEEDS.index(deed)}"
