"""The control protocol of Knot, over its socket: many commands on one connection.

`knotc` opens a connection for each command, which costs twenty times what the command does. A command is a block of
units, and so is its answer: `DATA (code length octets)* …  BLOCK`; END closes. Lengths are 16 bits, high octet first.
Source: libknot, control/control.h (types and items) of Knot 3.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from postane.core.errors import ServiceMissingError

_END, _DATA, _EXTRA, _BLOCK = range(4)
_ITEM = 16  # the code of the first item
_CMD, _FLAGS, _ERROR = 0, 1, 2
_ZONE, _OWNER, _TTL, _TYPE, _VALUE = 6, 7, 8, 9, 10
_WINDOW = 64  # commands under way: their answers fit into the socket's buffer, so that neither side waits for ever
_MAX_UNIT = 65_535


@dataclass(frozen=True, slots=True)
class Unit:
    """One item of an answer: a record, or what went wrong (`error` not "")."""

    zone: str = ""
    owner: str = ""
    ttl: str = ""
    type: str = ""
    data: str = ""
    error: str = ""


class Control:
    """A connection. Raises ServiceMissingError where nobody answers, or not as Knot does."""

    def __init__(self, path: str, timeout: float) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._input = bytearray()
        self._at = 0
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise ServiceMissingError(
                f"Knot does not answer: {path}: {error.strerror or error}",
                hint="is knot.service running, and are you root or in the group knot?",
            ) from error

    def run(self, commands: Sequence[Sequence[str]], *, blocking: bool = False) -> list[list[Unit]]:
        """The answer of each command: verb, zone, and for records owner, TTL, type, data."""
        answers: list[list[Unit]] = []
        try:
            for start in range(0, len(commands), _WINDOW):
                window = commands[start : start + _WINDOW]
                self._socket.sendall(b"".join(_block(command, blocking) for command in window))
                answers += [self._answer() for _ in window]
        except (OSError, UnicodeError) as error:
            raise ServiceMissingError(f"Knot does not answer: {error}") from error
        return answers

    def close(self) -> None:
        with contextlib.suppress(OSError):  # it may be gone already
            self._socket.sendall(bytes([_END]))
        self._socket.close()

    def _answer(self) -> list[Unit]:
        units: list[Unit] = []
        items: dict[int, str] | None = None
        while True:
            code = self._take(1)[0]
            if code >= _ITEM:
                if items is None:
                    raise ServiceMissingError("Knot does not answer as it should: an item outside of a unit")
                items[code - _ITEM] = self._take(int.from_bytes(self._take(2))).decode("utf-8", "replace")
                continue
            if items is not None:
                units.append(_unit(items))
            if code == _BLOCK:
                return units
            if code not in (_DATA, _EXTRA):
                raise ServiceMissingError("Knot has ended the session")
            items = {}

    def _take(self, count: int) -> bytes:
        while len(self._input) - self._at < count:
            if self._at:
                del self._input[: self._at]
                self._at = 0
            octets = self._socket.recv(65_536)
            if not octets:
                raise ServiceMissingError("Knot has ended the session")
            self._input += octets
        self._at += count
        return bytes(self._input[self._at - count : self._at])


def _block(command: Sequence[str], blocking: bool) -> bytes:
    verb, zone, *words = command
    items = [(_CMD, verb), (_FLAGS, "B" if blocking else ""), (_ZONE, zone)]
    if verb == "zone-set":
        owner, ttl, kind, data = words
        items += [(_OWNER, owner), (_TTL, ttl), (_TYPE, kind), (_VALUE, data)]
    elif verb == "zone-unset":
        items += list(zip((_OWNER, _TYPE, _VALUE), words, strict=False))
    units = bytearray([_DATA])
    for code, text in items:
        octets = text.encode()
        if len(octets) > _MAX_UNIT:
            raise ServiceMissingError(f"Knot takes no record of {len(octets)} octets")
        units += bytes([_ITEM + code]) + len(octets).to_bytes(2) + octets
    return bytes(units) + bytes([_BLOCK])


def _unit(items: dict[int, str]) -> Unit:
    return Unit(*(items.get(code, "") for code in (_ZONE, _OWNER, _TTL, _TYPE, _VALUE, _ERROR)))
