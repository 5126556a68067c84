"""The public suffix list of this host: which one is in use, and bringing it up to date.

The new list is put in place whole or not at all (`<state>/public_suffix_list.dat`); whatever goes wrong, the one before
stays. Its first lines tell where it came from, its time when it was last known to be the newest.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from postane.config.model import Config
from postane.core.errors import PermanentError
from postane.filters.auth import suffix_list
from postane.filters.auth.public_suffix import FILE, in_use
from postane.filters.auth.suffix_fetch import Condition, fetch
from postane.filters.auth.suffix_list import Facts
from postane.storage.durable import write_file

URL = "https://publicsuffix.org/list/public_suffix_list.dat"
_MINE = b"// Postane "
_LINES = ("from", "etag", "last-modified")


@dataclass(frozen=True, slots=True)
class List:
    """`version` is the list's own word for its time, in UTC; `file` is "" for the list that the package brings along.

    `current`: when it was last known to be the newest (RFC 3339, UTC); "" if nobody knows. `days` is how long ago.
    """

    version: str
    rules: int
    file: str
    source: str
    current: str
    days: int


def show(config: Config, now: Callable[[], float] = time.time) -> List:
    """Which list is in use."""
    found = in_use(config.state)
    source = _origin(found.file)[0] if found.file else "the package publicsuffixlist"
    current = datetime.fromtimestamp(found.current, UTC).isoformat(timespec="seconds") if found.current else ""
    days = int((now() - found.current) / 86400) if found.current else -1
    file = str(found.file or "")
    return List(found.facts.version, found.facts.rules, file, source, current.replace("+00:00", "Z"), days)


def update(config: Config, source: str = "") -> tuple[bool, List]:
    """From a URL or a file, by default where the list is kept; and whether the list has changed.

    Raises PermanentError for what is no such list or an older one, ServiceMissingError where the server has none,
    OSError.
    """
    file, source = Path(config.state) / FILE, source or URL
    here = in_use(config.state)
    before, condition = _origin(file) if here.file else ("", Condition())
    if "://" in source:
        fetched = fetch(source, condition if before == source else Condition())
        octets, condition = fetched.octets, fetched.condition
    else:
        octets, condition = _of_file(Path(source)), Condition()
    if octets is None:
        os.utime(file)  # it is the newest, as of now
        return False, show(config)
    changed = _put(file, octets, here.facts, [source, condition.etag, condition.last_modified])
    return changed, show(config)


def _put(file: Path, octets: bytes, before: Facts, origin: list[str]) -> bool:
    """False where the same list lay there already."""
    try:
        suffix_list.check(octets, before)
    except PermanentError as error:
        raise PermanentError(f"{origin[0]} is not used: {error}", hint="the list before stays") from error
    told = zip(_LINES, origin, strict=True)
    changed = _without_head(_read(file)) != octets
    head = "".join(f"{_MINE.decode()}{name}: {value}\n" for name, value in told if value)
    write_file(file, head.encode() + octets, like=file.parent)
    return changed


def _origin(file: Path) -> tuple[str, Condition]:
    """Where a list came from, and what the server said of it."""
    said = dict.fromkeys(_LINES, "")
    for line in _read(file)[:4096].splitlines():
        if not line.startswith(_MINE):
            break
        name, _, value = line[len(_MINE) :].decode("utf-8", "replace").partition(": ")
        said[name] = value
    return said["from"], Condition(said["etag"], said["last-modified"])


def _without_head(octets: bytes) -> bytes:
    while octets.startswith(_MINE):
        octets = octets.partition(b"\n")[2]
    return octets


def _of_file(path: Path) -> bytes:
    """Without the lines that another host put before it. One octet too many tells of a file that is too long."""
    with path.open("rb") as file:
        return _without_head(file.read(suffix_list.MOST + 1))


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return b""
