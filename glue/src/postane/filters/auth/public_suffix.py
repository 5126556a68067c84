"""Organisational domains by the public suffix list, as RFC 7489 had them: the one doorway to publicsuffixlist.

The package brings a list along. A newer one lies in the state folder, where `postane suffixes update` puts it; whoever
asks next goes by it, without a restart. A file there that is no list, or is older than the package's, counts for
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path

from postane.core.errors import PermanentError
from postane.filters.auth.dmarc_walk import Suffixes
from postane.filters.auth.suffix_list import MOST, Facts, check, facts
from postane.observe.log import get_logger

log = get_logger("filters")

FILE = "public_suffix_list.dat"

_Seen = tuple[int, int, int]
"""What tells one content of a file from the next: inode, size, time in ns."""


@dataclass(frozen=True, slots=True)
class InUse:
    """`file` is None for the list of the package. `current` is when the list was last known to be the newest, in
    seconds since 1970.
    """

    file: Path | None
    facts: Facts
    current: float


def by_list(state: Path | str | None = None) -> Suffixes:
    """For A-labels: the domain that was registered, "" for a public suffix itself.

    `state` is the folder in which a newer list may lie. Looks at the file each time, and reads it (a tenth of a
    second) where it has changed.
    """
    return _of_package() if state is None else _follower(Path(state) / FILE).suffixes()


def in_use(state: Path | str) -> InUse:
    """Which list `by_list` goes by."""
    return _follower(Path(state) / FILE).in_use()


def age(state: Path | str, now: float) -> float:
    """Seconds since the list was last known to be the newest; for a figure that is asked for often."""
    try:
        return now - (Path(state) / FILE).stat().st_mtime
    except OSError:
        return now - _made_at(package_facts().version)


class _Follower:
    """The list of a file, for as long as it does not change."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: _Seen | None = None
        self._found: tuple[Suffixes, Facts] | None = None
        self._current = 0.0

    def suffixes(self) -> Suffixes:
        self._look()
        return self._found[0] if self._found else _of_package()

    def in_use(self) -> InUse:
        self._look()
        if self._found:
            return InUse(self._file, self._found[1], self._current)
        return InUse(None, package_facts(), _made_at(package_facts().version))

    def _look(self) -> None:
        try:
            found = self._file.stat()
        except OSError:
            self._seen = self._found = None
            return
        self._current = found.st_mtime
        seen = (found.st_ino, found.st_size, found.st_mtime_ns)
        if seen != self._seen:
            self._seen, self._found = seen, self._read()

    def _read(self) -> tuple[Suffixes, Facts] | None:
        try:
            with self._file.open("rb") as file:
                octets = file.read(MOST + 1)
            known = check(octets)
        except (OSError, PermanentError) as error:
            log.error("suffix_list_unusable", file=str(self._file), reason=str(error))
            return None
        if known.version and known.version < package_facts().version:
            log.info("suffix_list_older", file=str(self._file), version=known.version)
            return None
        return _made(octets), known


@cache
def _follower(file: Path) -> _Follower:
    return _Follower(file)


@cache
def package_facts() -> Facts:
    """What the package's own list is."""
    return facts(_package())


def _made_at(version: str) -> float:
    return datetime.strptime(version, "%Y-%m-%d_%H-%M-%S").replace(tzinfo=UTC).timestamp() if version else 0.0


@cache  # reading the list takes a tenth of a second
def _of_package() -> Suffixes:
    return _made(_package())


def _package() -> bytes:
    return files("publicsuffixlist").joinpath("public_suffix_list.dat").read_bytes()


def _made(octets: bytes) -> Suffixes:
    from publicsuffixlist import PublicSuffixList

    suffixes = PublicSuffixList(octets)
    return lambda domain: suffixes.privatesuffix(domain) or ""
