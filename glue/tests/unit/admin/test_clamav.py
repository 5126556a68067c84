"""What clamd's answers say of its state."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from postane.admin import clamav
from support import clamd

NOW = 1_764_500_000.0  # Sun Nov 30 10:53:20 2025
FRESH = "ClamAV 1.4.3/27834/Sun Nov 30 09:26:11 2025"


@pytest.mark.parametrize(
    ("said", "pong", "result", "engine", "signatures"),
    [
        (FRESH, "PONG", "pass", "1.4.3", 27834),
        ("ClamAV 1.4.3/27834/Sat Nov  1 09:26:11 2025", "PONG", "old", "1.4.3", 27834),
        ("ClamAV 1.4.3", "PONG", "pass", "1.4.3", 0),
        ("ClamAV 1.4.3/27834/yesterday", "PONG", "pass", "1.4.3", 27834),
        ("220 mx.test ESMTP", "PONG", "fail", "", 0),
        (FRESH, "UNKNOWN COMMAND", "fail", "", 0),
        ("", "", "fail", "", 0),
    ],
)
def test_a_view(said: str, pong: str, result: str, engine: str, signatures: int) -> None:
    view = clamav.view("/s", said, pong, NOW)
    assert (view.result, view.engine, view.signatures) == (result, engine, signatures)
    assert bool(view.reason) is (result != "pass" or "/" not in said or "yesterday" in said)


def test_the_age() -> None:
    view = clamav.view("/s", FRESH, "PONG", NOW)
    assert (view.made, view.age) == ("2025-11-30T09:26:11+00:00", 1.5)


def test_the_address_is_that_of_the_configuration(tmp_path: Path) -> None:
    assert clamav.address(tmp_path / "none.yml") == "/run/clamav/clamd.ctl"
    config = tmp_path / "postane.yml"
    config.write_text(
        "host: mx.test\nfilters:\n  use: [clamav]\n  options:\n    clamav:\n      address: 127.0.0.1:3310\n"
    )
    assert clamav.address(config) == "127.0.0.1:3310"


def test_nobody_there(tmp_path: Path) -> None:
    view = asyncio.run(clamav.check(f"{tmp_path}/none", NOW))
    assert view.result == "fail"
    assert "cannot be reached" in view.reason


@pytest.mark.skipif(clamd.installed() is None, reason=clamd.MISSING)
def test_a_real_one(tmp_path: Path) -> None:
    service = clamd.Clamd(tmp_path)
    try:
        view = asyncio.run(clamav.check(str(service.path), NOW))
    finally:
        service.stop()
    assert (view.result, view.signatures) == ("pass", 0)
    assert view.engine
