"""The marks of deliveries under way: a killed process leaves them, a machine that stopped leaves doubt about all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from postane.core.ids import make_id
from postane.spool.inflight import InFlight


def an_id(number: int, at: float = 1000.0) -> str:
    return make_id(at, number.to_bytes(10, "big"))


EARLIER, NOW, LATER = an_id(0, 999.0), an_id(0), an_id(0, 1001.0)
A, B, C = an_id(1), an_id(2), an_id(3)


def made(path: Path, boot: str = "b1", now: str = LATER) -> InFlight:
    return InFlight(path / "inflight", now, boot)


@pytest.fixture
def first(tmp_path: Path) -> InFlight:
    """The marks of a first run that began when nothing was there."""
    return made(tmp_path)


def test_nothing_is_in_doubt_before_the_first_run(tmp_path: Path, first: InFlight) -> None:
    assert not first.doubtful(EARLIER)


def test_killed_process_leaves_the_names_of_what_was_under_way(tmp_path: Path, first: InFlight) -> None:
    for one in (A, B, C):
        first.begin(one)
    first.over([(B, False)])
    # Nothing is closed: as kill -9.
    second = made(tmp_path)
    assert [one for one in (A, B, C) if second.doubtful(one)] == [A, C]


def test_two_deliveries_of_one_message_end_one_by_one(tmp_path: Path, first: InFlight) -> None:
    first.begin(A)
    first.begin(A)
    first.over([(A, False)])
    assert made(tmp_path).doubtful(A)
    first = made(tmp_path)
    first.over([(A, True)])
    assert not made(tmp_path).doubtful(A)


def test_doubt_lasts_until_the_message_is_done(tmp_path: Path, first: InFlight) -> None:
    first.begin(A)
    first.begin(B)
    second = made(tmp_path)
    second.settle({A}, A)
    assert not made(tmp_path).doubtful(B), "it is done"
    second = made(tmp_path)
    second.settle({A}, A)
    second.begin(A)
    second.over([(A, False)])
    third = made(tmp_path)
    assert third.doubtful(A), "another recipient of it may have been under way in the first run"
    third.over([(A, True)])
    assert not made(tmp_path).doubtful(A)


def test_stop_of_the_machine_puts_all_from_before_in_doubt(tmp_path: Path, first: InFlight) -> None:
    second = made(tmp_path, "b2", now=NOW)
    assert second.doubtful(EARLIER)
    assert not second.doubtful(LATER)
    second.settle({EARLIER}, EARLIER)
    third = made(tmp_path, "b2")
    assert third.doubtful(EARLIER), "a kill does not end it"
    third.settle({LATER}, LATER)
    assert not made(tmp_path, "b2").doubtful(EARLIER)


def test_file_that_is_damaged_or_unknown_is_doubt(tmp_path: Path, first: InFlight) -> None:
    first.begin(A)
    path = tmp_path / "inflight"
    octets = path.read_bytes()
    for damaged in (b"", b"x" * 10, b"y" * 5000, octets[:9] + b"\xff" + octets[10:]):
        path.write_bytes(damaged)
        assert made(tmp_path).doubtful(EARLIER)


def test_many_at_once_and_over_again(tmp_path: Path, first: InFlight) -> None:
    ids = [an_id(number) for number in range(3000)]
    for one in ids:
        first.begin(one)
    first = made(tmp_path)
    assert all(first.doubtful(one) for one in ids)
    size = (tmp_path / "inflight").stat().st_size
    for _ in range(3):
        first.over((one, True) for one in ids)
        for one in ids:
            first.begin(one)
    assert (tmp_path / "inflight").stat().st_size == size, "places are used again"


def test_what_ends_together_is_struck_out_and_nothing_else(tmp_path: Path, first: InFlight) -> None:
    ids = [an_id(number) for number in range(40)]
    for one in ids:
        first.begin(one)
    gone = {*ids[:5], ids[7], *ids[20:33], ids[39]}
    first.over((one, number % 2 == 0) for number, one in enumerate(ids) if one in gone)
    for one in ids[:3]:  # places are given out again
        first.begin(one)
    second = made(tmp_path)
    assert [one for one in ids if second.doubtful(one)] == [*ids[:3], *(one for one in ids if one not in gone)]


def test_full_disk_leaves_marks_in_memory_and_doubt_behind(
    tmp_path: Path, first: InFlight, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    second = made(tmp_path)
    second.begin(A)
    monkeypatch.undo()
    assert made(tmp_path).doubtful(EARLIER)


def test_disk_that_goes_read_only_leaves_doubt_and_stops_nothing(
    tmp_path: Path, first: InFlight, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(30, "Read-only file system")

    first.begin(A)
    monkeypatch.setattr(os, "pwrite", refuse)
    first.begin(B)
    first.over([(A, False)])
    first.over([(B, True)])
    monkeypatch.undo()
    assert made(tmp_path).doubtful(EARLIER)
