"""The queue as its operator sees and steers it, by way of the queue process's socket."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Literal

import msgspec

from postane.core.errors import NotFoundError, ServiceMissingError, TemporaryError, UsageError
from postane.queue.control import SOCKET, Answer, Filter, MessageView, Request, Stats, Verb

TIMEOUT = 60.0  # a hundred thousand messages are held or released well within it

_AGE = re.compile(r"(\d{1,9}(?:\.\d+)?)\s*([smhdw]?)", re.IGNORECASE)
_UNIT = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

Change = Literal["hold", "release", "retry", "drop"]


def parse_age(text: str) -> float:
    """`90`, `15m`, `2h`, `3d` → seconds. Raises UsageError."""
    found = _AGE.fullmatch(text.strip())
    if not found:
        raise UsageError(f"{text!r} is no age; write 90s, 15m, 2h or 3d")
    return float(found[1]) * _UNIT[found[2].lower()]


def every(runtime: Path, wanted: Filter, limit: int = 1000) -> Answer:
    """The messages that `wanted` names, oldest first; `count` of them, `limit` shown."""
    return _ask(runtime, Request("list", wanted, limit=limit))


def show(runtime: Path, message_id: str) -> MessageView:
    """One message with its headers. Raises NotFoundError."""
    answer = _ask(runtime, Request("show", Filter(ids=(message_id,))))
    if not answer.messages:
        raise NotFoundError(f"{message_id}: no such message in the queue", hint="postane queue list")
    return answer.messages[0]


def steer(runtime: Path, do: Change, wanted: Filter, *, dry_run: bool = False, limit: int = 1000) -> Answer:
    """Changes all that `wanted` names, or with `dry_run` only says which. Raises NotFoundError if an id is unknown."""
    answer = _ask(runtime, Request(do, wanted, dry_run, limit))
    if wanted.ids and not answer.count:
        raise NotFoundError(f"{', '.join(wanted.ids)}: no such message in the queue", hint="postane queue list")
    return answer


def stats(runtime: Path, wanted: Filter) -> Stats:
    """Counts, and the destinations that do not answer."""
    answer = _ask(runtime, Request("stats", wanted))
    assert answer.stats is not None
    return answer.stats


def _ask(runtime: Path, request: Request) -> Answer:
    answer = msgspec.json.decode(ask(runtime, msgspec.json.encode(request)), type=Answer)
    if answer.error:
        raise TemporaryError(answer.error)
    return answer


def ask(runtime: Path, request: bytes) -> bytes:
    """One request to the queue process, a line of JSON, and its answer.

    Raises ServiceMissingError if no queue process answers.
    """
    path = runtime / SOCKET
    line = b""
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(TIMEOUT)
        try:
            channel.connect(str(path))
            channel.sendall(request + b"\n")
            with channel.makefile("rb") as file:
                line = file.readline()
        except (FileNotFoundError, ConnectionError) as error:
            raise ServiceMissingError(
                f"the queue process does not run ({path}: {error.strerror or error})",
                hint="systemctl start postane-queue; for `postane dev`: postane --config DIR/postane.yml queue …",
            ) from error
        except TimeoutError as error:
            raise TemporaryError(f"the queue process did not answer within {TIMEOUT:.0f} s") from error
    if not line:
        raise TemporaryError("the queue process closed the connection; try again")
    return line


__all__ = [
    "Answer",
    "Change",
    "Filter",
    "MessageView",
    "Stats",
    "Verb",
    "ask",
    "every",
    "parse_age",
    "show",
    "stats",
    "steer",
]
