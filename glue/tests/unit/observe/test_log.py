from __future__ import annotations

import contextlib
import io
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from postane.observe import log


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield io.StringIO()
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_one_object_a_line_with_the_trace_id(out: io.StringIO) -> None:
    log.configure(stream=out, service="queue")
    with log.traced("01ABC"):
        log.get_logger("delivery").info("delivered", to="ayşe@demo.test")
    log.get_logger("queue").debug("below the level")
    (event,) = lines(out)
    assert event["trace_id"] == "01ABC"
    assert event["stage"] == "delivery"
    assert event["service"] == "queue"
    assert event["to"] == "ayşe@demo.test"
    assert event["level"] == "info"


@pytest.mark.parametrize("name", ["password", "api_token", "Authorization", "client_secret"])
def test_secrets_are_masked_by_their_name(out: io.StringIO, name: str) -> None:
    log.configure(stream=out)
    log.get_logger("x").info("login", **{name: "hunter2"})
    assert "hunter2" not in out.getvalue()


def test_loggers_of_the_standard_library_go_the_same_way(out: io.StringIO) -> None:
    log.configure(stream=out)
    try:
        raise ValueError("bad\nthing")
    except ValueError:
        logging.getLogger("asyncio").exception("it %s", "broke")
    (event,) = lines(out)
    assert event["event"] == "it broke"
    assert event["stage"] == "asyncio"
    assert "ValueError" in str(event["exception"])


def test_a_value_without_json_form_is_shown(out: io.StringIO) -> None:
    log.configure(stream=out)
    log.get_logger("x").info("odd", value=object())
    assert "object object" in str(lines(out)[0]["value"])


def test_text_for_a_terminal(out: io.StringIO) -> None:
    log.configure("debug", "text", stream=out)
    log.get_logger("x").debug("hello", n=1)
    assert "hello" in out.getvalue()
    assert not out.getvalue().startswith("{")


@pytest.mark.parametrize("style", ["json", "text"])
def test_events_together_are_like_events_one_by_one(out: io.StringIO, style: str) -> None:
    log.configure("info", style, stream=out, service="queue")
    events = [{"trace_id": f"01{n}", "to": "ayşe@demo.test", "token": "hunter2", "event": "delivered"} for n in (1, 2)]
    for event in events:
        log.get_logger("queue").info(**event)
    one_by_one = out.getvalue()
    out.truncate(0)
    out.seek(0)
    log.info_many("queue", events)
    clock = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
    assert clock.sub("T", out.getvalue()) == clock.sub("T", one_by_one)
    assert clock.search(out.getvalue())


def test_events_together_below_the_level_are_not_written(out: io.StringIO) -> None:
    log.configure("warning", stream=out)
    log.info_many("queue", [{"event": "delivered"}])
    assert out.getvalue() == ""


def test_a_full_disk_under_the_log_stops_nothing(out: io.StringIO) -> None:
    full = Path("/dev/full").open("w", buffering=1)  # noqa: SIM115 - closing it fails
    log.configure(stream=full)
    log.get_logger("smtpd").info("accepted", size=1)
    log.info_many("smtpd", [{"event": "accepted"}])
    with contextlib.suppress(OSError):
        full.close()
