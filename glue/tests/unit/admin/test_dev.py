"""The folder of `postane dev`: made in a process apart, whose errors are told as if it were this one."""

from __future__ import annotations

import os

import pytest

from postane.admin.dev import _apart
from postane.core.errors import PermanentError, UsageError


def test_what_is_done_apart_leaves_nothing_here() -> None:
    here: list[int] = []
    _apart(lambda: here.append(os.getpid()))
    assert here == []


def test_an_error_apart_is_an_error_here() -> None:
    def fail() -> None:
        raise UsageError("no such thing", hint="do this")

    with pytest.raises(UsageError, match="no such thing") as caught:
        _apart(fail)
    assert (caught.value.hint, caught.value.exit_code) == ("do this", 64)


def test_a_death_apart_is_an_error_here() -> None:
    with pytest.raises(PermanentError, match="could not be made"):
        _apart(lambda: os.kill(os.getpid(), 9))
