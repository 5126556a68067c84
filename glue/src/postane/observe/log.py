"""Structured logs on standard error: one JSON object a line, or text for a terminal.

`configure` is called once by each process; everyone else calls `get_logger(stage)` and writes events:
a short sentence and named facts. `trace_id` (the spool id) ties the events of one message together.
Facts whose name says that they are secret are masked whatever they hold.
Records of the standard library's logging (asyncio, aiosmtpd, uvicorn) go the same way.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from typing import Any, TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

_SECRET = ("password", "passwd", "secret", "token", "authorization", "credential", "private_key", "cookie")
_QUIET = {"mail.log": logging.WARNING, "asyncio": logging.WARNING}

Logger = FilteringBoundLogger


def configure(level: str = "info", style: str = "json", *, service: str = "", stream: TextIO | None = None) -> None:
    """Sends all events from `level` on to `stream` (standard error). `service` names the process in each line."""
    out = cast(TextIO, _Steady(stream or sys.stderr))
    threshold = LEVELS[level]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        mask,
        structlog.processors.format_exc_info,
    ]
    if service:
        shared.insert(0, _constant("service", service))
    last: Processor = (
        structlog.dev.ConsoleRenderer(colors=out.isatty(), timestamp_key="time")
        if style == "text"
        else structlog.processors.JSONRenderer(serializer=_json)
    )
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=_Writers(out, service, plain=style == "json" and threshold <= logging.INFO),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_Bridge()]
    root.setLevel(threshold)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, threshold))


def get_logger(stage: str) -> Logger:
    """The logger of a stage ("queue", "delivery", …), which each line names."""
    return cast(Logger, structlog.get_logger(stage=stage))


def info_many(stage: str, events: Sequence[dict[str, Any]]) -> None:
    """Many events at once, as if each went through the logger of `stage` at this moment; its sentence is `event`,
    the last of its facts.

    A busy process spends more on the lines of its log than on much of what they tell of: here one time stamp and one
    write serve all.
    """
    writers = structlog.get_config()["logger_factory"]
    if isinstance(writers, _Writers) and writers.plain:
        writers.write(stage, events)
        return
    logger = get_logger(stage)
    for event in events:
        logger.info(**event)


class _Steady:
    """A stream that does not fail: a line that finds no room is lost, and the mail that it tells of goes on."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self.isatty = out.isatty

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._out.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._out.flush()


class _Writers:
    """Makes structlog's loggers, and writes what goes together past them. `plain`: lines are JSON, and wanted."""

    def __init__(self, out: TextIO, service: str, *, plain: bool) -> None:
        self.plain = plain
        self._out = out
        self._service = {"service": service} if service else {}
        self._encode = msgspec.json.Encoder(enc_hook=repr).encode_lines

    def __call__(self, *_: Any) -> structlog.WriteLogger:
        return structlog.WriteLogger(self._out)

    def write(self, stage: str, events: Sequence[dict[str, Any]]) -> None:
        time = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        last = {**self._service, "level": "info", "time": time}
        lines = [mask(None, "info", {"stage": stage, **event, **last}) for event in events]
        self._out.write(self._encode(lines).decode())
        self._out.flush()


@contextmanager
def traced(trace_id: str) -> Iterator[None]:
    """Every event inside, in this task and those it starts, carries the trace id."""
    with structlog.contextvars.bound_contextvars(trace_id=trace_id):
        yield


def mask(_logger: object, _method: str, event: MutableMapping[str, Any]) -> EventDict:
    """Hides the value of any fact whose name tells of a secret."""
    for key in event:
        if _is_secret(key):
            event[key] = "***"
    return event


@cache  # names of facts are words of our own code: few, and the same in every line
def _is_secret(name: str) -> bool:
    return any(word in name.lower() for word in _SECRET)


def _constant(key: str, value: str) -> Processor:
    def add(_logger: object, _method: str, event: MutableMapping[str, Any]) -> EventDict:
        event[key] = value
        return event

    return add


def _json(value: Any, default: Callable[[Any], Any] | None = None, **_: Any) -> str:
    return msgspec.json.encode(value, enc_hook=repr).decode()


class _Bridge(logging.Handler):
    """Hands a record of the standard library on as an event of ours."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            logger = get_logger(record.name)
            logger.log(record.levelno, record.getMessage(), exc_info=record.exc_info)
        except Exception:  # a log line that cannot be written must not stop what it tells of
            self.handleError(record)
