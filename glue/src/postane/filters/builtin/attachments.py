"""Judges what a message carries: names and kinds of its parts and of what lies in archives, macros, encryption.

A small message without archives is looked at where it is; a larger one, or one with archives, in a thread beside the
event loop, at most two at once in a worker, within the bounds of the options. The look is the same for all policies
of a message and made once; `judge` says what a policy makes of it.

What can fail: no time is left, or no space for a file. Then the filter raises, and the failure policy decides. A
message that passes a bound has the policy of `on_bound`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fnmatch import translate
from functools import cache, partial
from typing import Annotated, Literal

from msgspec import Meta

from postane.core.envelope import Envelope
from postane.core.errors import ConfigError, ServiceMissingError
from postane.core.peer import Peer
from postane.core.ports import Body
from postane.core.reply import Reply
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters import base
from postane.filters.content.archive import ENCRYPTED, MACROS, UNREADABLE
from postane.filters.content.budget import Bounds, LaterError
from postane.filters.content.inspect import Contents, Item, inspect
from postane.filters.content.names import extension
from postane.filters.content.octets import whole
from postane.observe.log import get_logger

log = get_logger("filters")

_HERE = 64 * 1024  # octets; a larger message is looked at in a thread
_HERE_SECONDS = 0.02
_SHARE = 0.9  # of the time that a call has
_THREADS = 2
_WAITING = 50  # messages that may wait for a thread

Choice = Literal["accept", "quarantine", "reject"]
Kind = Literal[
    "chm",
    "disk_image",
    "elf",
    "external_body",
    "hta",
    "html_script",
    "java",
    "macho",
    "msi",
    "ole_package",
    "onenote",
    "partial",
    "pdf_launch",
    "pdf_script",
    "pe",
    "rare_archive",
    "remote_template",
    "rtf_object",
    "script",
    "shortcut",
    "turned_name",
]

# What Windows, Office or a browser run or mount on a double click, by the lists of the large mail services.
_FORBIDDEN = """
ade adp apk appinstaller application appref-ms appx appxbundle arj bas bat cab chm cmd com cpl diagcab dll dmg
ear ex ex_ exe gadget hlp hta img inf ins iqy iso isp jar jnlp js jse lib library-ms lnk mde mdt msc msh msh1
msh1xml msh2 msh2xml mshxml msi msix msixbundle msp mst nsh ocx one onepkg pif prf prg ps1 ps1xml ps2 ps2xml
psc1 psc2 psd1 psdm1 psm1 rdp reg scf scr sct search-ms searchconnector-ms settingcontent-ms shb shs slk sys
theme udl url vb vbe vbp vbs vhd vhdx vxd wim ws wsc wsf wsh xbap xll xnk
"""
EXTENSIONS = tuple(_FORBIDDEN.split())
KINDS: tuple[Kind, ...] = (
    "chm",
    "disk_image",
    "elf",
    "hta",
    "java",
    "macho",
    "msi",
    "ole_package",
    "onenote",
    "partial",
    "pe",
    "rare_archive",
    "remote_template",
    "shortcut",
    "turned_name",
)


class Options(base.Options, frozen=True):
    """Attachments: forbidden types by name and by content, archives looked into, macros, encryption."""

    timeout: Annotated[float, Meta(gt=0, le=60, description="Seconds for one call.")] = 15.0
    extensions: Annotated[
        tuple[str, ...], Meta(description="What names may not end in, without the dot, in archives too.")
    ] = EXTENSIONS
    names: Annotated[
        tuple[str, ...], Meta(description="Patterns that names may not match (`invoice*.zip`), in archives too.")
    ] = ()
    kinds: Annotated[tuple[Kind, ...], Meta(description="What content may not be, whatever its name says.")] = KINDS
    forbidden: Annotated[Choice, Meta(description="What becomes of a message that carries any of these.")] = "reject"
    macros: Annotated[Choice, Meta(description="Of one with a document that holds macros.")] = "quarantine"
    encrypted: Annotated[
        Choice, Meta(description="Of one with an encrypted archive or document, which nobody can look into.")
    ] = "quarantine"
    unreadable: Annotated[
        Choice, Meta(description="Of one with an archive that is damaged or packed in an unknown way.")
    ] = "quarantine"
    on_bound: Annotated[Choice, Meta(description="Of one that is over one of the bounds below.")] = "quarantine"
    parts: Annotated[int, Meta(ge=1, le=100_000, description="Bound: parts of a message.")] = 1000
    depth: Annotated[int, Meta(ge=1, le=200, description="Bound: parts within parts.")] = 50
    header: Annotated[int, Meta(ge=1024, description="Bound: octets of one header.")] = 256 * 1024
    members: Annotated[int, Meta(ge=1, le=100_000, description="Bound: members of all archives.")] = 5000
    archive_depth: Annotated[int, Meta(ge=0, le=20, description="Bound: archives within archives.")] = 4
    archive_octets: Annotated[int, Meta(ge=1, description="Bound: octets that all archives unpack to.")] = 200_000_000
    ratio: Annotated[int, Meta(ge=1, description="Bound: how many times its size an archive unpacks to.")] = 200
    seconds: Annotated[float, Meta(gt=0, le=60, description="Bound: time for one message.")] = 8.0


class Attachments(base.Filter[Options]):
    name = "attachments"
    members = True
    options_type = Options
    host = frozenset(
        {"timeout", "parts", "depth", "header", "members", "archive_depth", "archive_octets", "ratio", "seconds"}
    )

    def __init__(self, options: Options, tools: base.Tools) -> None:
        super().__init__(options, tools)
        self._policy = Policy(options)
        self._bounds = Bounds(
            options.parts,
            options.depth,
            options.header,
            options.members,
            options.archive_depth,
            options.archive_octets,
            options.ratio,
            options.seconds,
        )
        self._until = options.timeout * _SHARE
        if options.seconds > self._until:
            raise ConfigError(f"filters.options.attachments.seconds: over {self._until:g}, {_SHARE:.0%} of timeout")
        self._key = f"attachments {self._bounds}"

    async def data(self, peer: Peer, envelope: Envelope, body: Body) -> Verdict:
        contents = await self.tools.once(envelope.id, self._key, lambda: look(body, self._bounds, self._until))
        verdict = self._policy.judge(contents)
        if verdict.decision is not Decision.ACCEPT:
            log.info(
                "attachment",
                trace_id=envelope.id,
                client_ip=peer.ip,
                login=envelope.login,
                reason=verdict.why,
                decision=verdict.decision.name.lower(),
            )
        if contents.bound:
            self.tools.metrics.count("postane_filter_attachments_bounds_total", "Messages that were over a bound")
        return verdict


class Policy:
    """What the options make of the contents of a message. Decides only."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._extensions = frozenset(one.lstrip(".").casefold() for one in options.extensions)
        self._kinds: frozenset[str] = frozenset(options.kinds)
        self._patterns = re.compile("|".join(translate(one.casefold()) for one in options.names) or r"(?!)")

    def judge(self, contents: Contents) -> Verdict:
        """The strongest verdict on any of the items, the first of several."""
        strongest = ACCEPT
        for item in contents.items:
            for choice, why, says in self._objections(item):
                verdict = _verdict(choice, f"attachments: {item}: {why}"[:1000], says)
                if verdict.decision > strongest.decision:
                    strongest = verdict
            if strongest.decision is Decision.REJECT:
                return strongest
        if contents.bound:
            verdict = _verdict(
                self._options.on_bound,
                f"attachments: not seen as a whole: {contents.bound}",
                "The message is built in a way that cannot be checked",
            )
            # It is marked also where it is let pass.
            verdict = replace(verdict, headers=(("X-Postane-Unchecked", "attachments"),))
            return verdict if verdict.decision > strongest.decision else replace(strongest, headers=verdict.headers)
        return strongest

    def _objections(self, item: Item) -> Iterable[tuple[Choice, str, str]]:
        options = self._options
        for name in item.names:
            if (last := extension(name)) in self._extensions:
                yield options.forbidden, f"a name that ends in .{last}", f"Attachments of type .{last} are not accepted"
            elif last.startswith("{") and self._extensions:  # a class of objects by its number: Windows runs it as one
                yield options.forbidden, "a name that ends in a class id", "Attachments of this type are not accepted"
            elif self._patterns.fullmatch(name.casefold()):
                yield options.forbidden, f"the name {name!r}", "An attachment has a name that is not accepted"
        for kind in sorted(item.kinds & self._kinds):
            if not (item.shown and kind in _OF_FILES):
                yield options.forbidden, f"it is {kind}", f"Attachments of this kind are not accepted: {kind}"
        if MACROS in item.kinds:
            yield options.macros, "it holds macros", "Documents with macros are not accepted"
        if ENCRYPTED in item.kinds:
            yield options.encrypted, "it is encrypted", "Encrypted attachments are not accepted"
        if UNREADABLE in item.kinds:
            yield options.unreadable, "it cannot be looked into", "An attachment is damaged or of an unknown kind"


# Said of a file that is opened; the text that a mail program displays is not run.
_OF_FILES = frozenset(("script", "shortcut", "hta", "html_script"))


def _verdict(choice: Choice, why: str, says: str) -> Verdict:
    if choice == "accept":
        return ACCEPT
    if choice == "quarantine":
        return Verdict(Decision.QUARANTINE, why)
    visible = "".join(one if " " <= one <= "~" else "?" for one in says)[:200]
    return Verdict(Decision.REJECT, why, Reply(554, "5.7.1", visible))


async def look(body: Body, bounds: Bounds, seconds: float) -> Contents:
    """What the message carries, known within `seconds`. Raises ServiceMissingError where no thread is free in time."""
    chunks = body.chunks()
    if body.size <= _HERE:
        octets = whole(chunks)
        try:
            return inspect(octets, bounds, until=time.monotonic() + _HERE_SECONDS, light=True)
        except LaterError:
            chunks = [octets] if isinstance(octets, bytes) else [memoryview(octets)]
    threads = _threads()
    if threads.waiting >= _WAITING:
        raise ServiceMissingError(f"{threads.waiting} messages wait to be looked into")
    return await threads.run(partial(_look, chunks, bounds, time.monotonic() + seconds))


def _look(chunks: Sequence[bytes | bytearray | memoryview], bounds: Bounds, until: float) -> Contents:
    """Its whole time must be left: what is only late has the failure policy, and passes no bound by that."""
    if until - time.monotonic() < bounds.seconds:
        raise ServiceMissingError("no thread was free in time")
    return inspect(whole(chunks), bounds)


class _Threads:
    """Of a process. A thread cannot be stopped from outside: it stops by itself within the bounds."""

    def __init__(self) -> None:
        self.waiting = 0
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="attachments")

    async def run(self, work: Callable[[], Contents]) -> Contents:
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self.waiting -= 1


@cache
def _threads() -> _Threads:
    return _Threads()
