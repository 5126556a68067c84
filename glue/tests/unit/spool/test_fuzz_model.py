"""The spool against a model of it: workers and a queue that come, go and are killed in any order, at any octet.

POSTANE_FUZZ_SPOOLS sets how many lives are tried; beyond the default they are new ones each time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from structlog.testing import capture_logs

from postane.config.model import Spool
from postane.core.outcome import Progress
from postane.spool import record
from postane.spool.check import check
from postane.spool.journal import Journal
from postane.spool.view import SpooledMessage, SpoolView
from postane.spool.writer import SpoolWriter
from support.spool import envelope

LIVES = int(os.environ.get("POSTANE_FUZZ_SPOOLS", "20"))
SETTINGS = Spool(segment_size=8 * 1024, large_message=2 * 1024, reserve=0)
_MEMORY = Path("/dev/shm")

_T = TypeVar("_T")


class Spools(RuleBasedStateMachine):
    """What was answered 250 is in `kept` until it is done; what a crash may have undone is in `unsure` too."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(mkdtemp(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None))
        self.loop = asyncio.new_event_loop()
        self.workers: list[SpoolWriter] = []
        self.view: SpoolView | None = None
        self.kept: dict[str, bytes] = {}
        self.held: set[str] = set()  # noted and synced
        self.unsynced: set[str] = set()  # done, not synced: a crash may bring them back
        self.unsure: dict[str, bytes] = {}  # may come again, or not
        self.claimed: dict[str, SpooledMessage] = {}

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        return self.loop.run_until_complete(work)

    @initialize()
    def start(self) -> None:
        self.start_worker()
        self.start_queue()

    # -- workers --------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.workers) < 3)
    @rule()
    def start_worker(self) -> None:
        async def made() -> SpoolWriter:
            return SpoolWriter(self.root, SETTINGS)

        self.workers.append(self._do(made()))

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), sizes=st.lists(st.sampled_from([0, 1, 100, 1500, 2100, 5000, 9000]), min_size=1, max_size=6))
    def put(self, data: st.DataObject, sizes: list[int]) -> None:
        worker = data.draw(st.sampled_from(self.workers))

        async def put(text: bytes) -> str:
            draft = worker.draft(worker.new_id())
            draft.append(text)
            await worker.put(envelope(draft._name), b"Received: x\r\n", draft)
            draft.close()
            return draft._name

        async def all_of_them(texts: list[bytes]) -> list[str]:
            return await asyncio.gather(*map(put, texts))

        texts = [b"%d " % len(self.kept) + os.urandom(size) for size in sizes]
        for message_id, text in zip(self._do(all_of_them(texts)), texts, strict=True):
            self.kept[message_id] = b"Received: x\r\n" + text

    @precondition(lambda self: self.workers)
    @rule(data=st.data())
    def stop_worker(self, data: st.DataObject) -> None:
        worker = self.workers.pop(data.draw(st.integers(0, len(self.workers) - 1)))
        self._do(worker.close())

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), cut=st.floats(0, 1), zeros=st.booleans())
    def kill_worker(self, data: st.DataObject, cut: float, zeros: bool) -> None:
        """In the middle of a commit: a part of one more record is written, and perhaps a part of its large text."""
        worker = self.workers.pop(data.draw(st.integers(0, len(self.workers) - 1)))
        segment = worker._segment
        message_id = worker.new_id()
        (worker.folder / "large" / message_id).write_bytes(b"half")
        if segment is not None:
            text = b"never answered"
            octets = record.pack_record(segment.serial, envelope(message_id), (len(text), record.crc([text]))) + text
            octets = octets[: int(cut * len(octets))]
            if segment.at + len(octets) <= segment.size:
                os.pwrite(segment._fd, octets, segment.at)
                if cut == 1:
                    self.unsure[message_id] = text
            if zeros:  # the mark of the end is a commit behind
                os.pwrite(segment._fd, record.word(record.PAGE), record.DURABLE_AT)
        self._kill(worker)

    def _kill(self, worker: SpoolWriter) -> None:
        worker._work.put(None)
        worker._thread.join()
        if worker._segment is not None:
            worker._segment._page.close()
            os.close(worker._segment._fd)
        os.close(worker._wake)
        os.close(worker._lock)

    # -- the queue ------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.view is None)
    @rule()
    def start_queue(self) -> None:
        async def made() -> SpoolView:
            return SpoolView(self.root, SETTINGS)

        self.view = self._do(made())

    @precondition(lambda self: self.view is not None)
    @rule(most=st.sampled_from([1, 3, 1000]))
    def poll(self, most: int) -> None:
        assert self.view is not None

        async def poll() -> list[Any]:
            assert self.view is not None
            return self.view.poll(most)

        for message in self._do(poll()):
            assert message.id not in self.claimed, "given out twice"
            if message.id in self.unsure:
                self.kept[message.id] = self.unsure.pop(message.id)
            assert message.read() == self.kept[message.id]
            assert message.progress.held is (True if message.id in self.held else None)
            self.claimed[message.id] = message

    @precondition(lambda self: self.claimed)
    @rule(data=st.data(), how=st.sampled_from(["done", "hold", "rest", "begin"]))
    def work(self, data: st.DataObject, how: str) -> None:
        assert self.view is not None
        message_id = data.draw(st.sampled_from(sorted(self.claimed)))
        if how == "done":
            self.view.finish(message_id)
            del self.claimed[message_id]
            self.unsynced.add(message_id)
        elif how == "hold":
            self.view.record(message_id, Progress(held=True))
            self.sync()
            self.held.add(message_id)
        elif how == "rest":
            self.claimed[message_id].rest()
            assert self.claimed[message_id].read() == self.kept[message_id]
        else:
            self.view.begin(message_id)

    @precondition(lambda self: self.view is not None)
    @rule()
    def sync(self) -> None:
        assert self.view is not None
        self._do(self.view.sync())
        for message_id in self.unsynced:
            del self.kept[message_id]
        self.unsynced.clear()

    @precondition(lambda self: self.view is not None)
    @rule()
    def stop_queue(self) -> None:
        self.sync()
        assert self.view is not None
        self._do(self.view.close())
        self._forget()

    @precondition(lambda self: self.view is not None)
    @rule(data=st.data(), cut=st.floats(0, 1), written=st.booleans())
    def kill_queue(self, data: st.DataObject, cut: float, written: bool) -> None:
        """Before a sync or in the middle of it: a part of the lines is written."""
        assert self.view is not None
        view = self.view
        for segment in view._segments.values():
            lines = segment.journal.take()
            if written and lines:
                half = Journal(segment.journal.path)
                half.write(lines[: int(cut * len(lines))])
                half.close()
        for message_id in self.unsynced:
            self.unsure[message_id] = self.kept.pop(message_id)
        self.unsynced.clear()
        self.loop.remove_reader(view._fifo)
        self._kill(view._writer)
        for segment in view._segments.values():
            segment.close()
        view._flight.close()
        os.close(view._fifo)
        os.close(view._lock)
        self._forget()

    def _forget(self) -> None:
        self.view = None
        self.claimed = {}

    # -- what always holds ----------------------------------------------------------------------------------------

    @rule()
    def verify(self) -> None:
        """No crash is a fault of the disk."""
        with capture_logs():
            assert check(self.root).faults == []

    def teardown(self) -> None:
        """Everything is killed, and a new queue gives out all that is kept; when it is done the spool is empty."""
        try:
            for worker in self.workers:
                self._kill(worker)
            self.workers.clear()
            if self.view is not None:
                self.stop_queue()
            self.start_queue()
            self.poll(1000)
            assert set(self.claimed) == set(self.kept)
            assert self.view is not None
            for message_id in self.claimed:
                self.view.finish(message_id)
            self.sync()
            self.stop_queue()
            self._do(self._take_all_folders())
            left = [path for path in self.root.glob("w*/*") if path.suffix in (".seg", ".jnl")]
            assert left == [], left
            assert list(self.root.glob("w*/large/*")) == []
        finally:
            self.loop.close()
            rmtree(self.root)

    async def _take_all_folders(self) -> None:
        """What never became mail goes when a worker takes its folder."""
        workers = [SpoolWriter(self.root, SETTINGS) for _ in self.root.glob("w*")]
        for worker in workers:
            await worker.close()


def test_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fdatasync", lambda fd: None)
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    known = LIVES <= 20
    run_state_machine_as_test(
        Spools,
        settings=settings(
            max_examples=LIVES,
            stateful_step_count=25,
            deadline=None,
            derandomize=known,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
