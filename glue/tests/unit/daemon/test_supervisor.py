"""The supervisor with real processes: it replaces, reloads, drains, and gives up where it must."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

HEAD = """
import os, sys, time, signal
from pathlib import Path
from postane.core.errors import ConfigError, ServiceMissingError
from postane.daemon.supervisor import ALIVE, READY, Job, Supervisor
from postane.observe.notify import Notifier
out = Path(sys.argv[1])

def note(word):
    with out.open("a") as file:
        file.write(f"{word} {os.getpid()}\\n")

def work(pipes):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(0))
    note("start")
    os.write(pipes.status, READY)
    while True:
        os.write(pipes.status, ALIVE)
        time.sleep(0.05)

def supervise(jobs):
    return Supervisor(jobs, drain_timeout=2, notifier=Notifier(), on_ready=lambda: note("ready")).run()
"""


_started: list[Running] = []


@pytest.fixture(autouse=True)
def nobody_is_left_behind() -> Iterator[None]:
    """A test that fails leaves no processes: workers end with their supervisor, or are killed with it."""
    yield
    for running in _started:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()
        for pid in {int(line.split()[1]) for line in running.notes.read_text().splitlines()}:
            with suppress(OSError):
                if str(running.notes).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)
    _started.clear()


class Running:
    def __init__(self, folder: Path, script: str) -> None:
        self.notes = folder / "notes"
        self.notes.touch()
        code = HEAD + textwrap.dedent(script)
        self.process = subprocess.Popen([sys.executable, "-c", code, str(self.notes)], stderr=subprocess.DEVNULL)
        _started.append(self)

    def pids(self, word: str) -> list[int]:
        return [int(line.split()[1]) for line in self.notes.read_text().splitlines() if line.startswith(word)]

    def wait_for(self, word: str, count: int) -> list[int]:
        end = time.monotonic() + 20
        while len(found := self.pids(word)) < count:
            assert time.monotonic() < end, self.notes.read_text()
            time.sleep(0.02)
        return found

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


TWO = """
sys.exit(supervise(lambda: [Job("a", work), Job("b", work)]))
"""


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_dead_worker_is_replaced_and_the_other_left_alone(tmp_path: Path) -> None:
    running = Running(tmp_path, TWO)
    first, second = running.wait_for("start", 2)
    running.wait_for("ready", 1)
    os.kill(first, signal.SIGKILL)
    assert running.wait_for("start", 3)[2] not in (first, second)
    assert not _gone(second)
    assert running.end() == 0
    assert all(_gone(pid) for pid in running.pids("start"))


def test_reload_starts_new_workers_before_the_old_ones_go(tmp_path: Path) -> None:
    running = Running(tmp_path, TWO)
    old = running.wait_for("start", 2)
    running.wait_for("ready", 1)
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("start", 4)
    end = time.monotonic() + 20
    while not all(_gone(pid) for pid in old):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert not any(_gone(pid) for pid in running.pids("start")[2:])
    assert running.end() == 0


def test_a_reload_with_a_bad_configuration_changes_nothing(tmp_path: Path) -> None:
    running = Running(
        tmp_path,
        """
        times = []
        def jobs():
            times.append(1)
            if len(times) > 1:
                note("refused")
                raise ConfigError("f.yml:1: no")
            return [Job("a", work)]
        sys.exit(supervise(jobs))
        """,
    )
    (pid,) = running.wait_for("start", 1)
    running.wait_for("ready", 1)
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("refused", 1)
    time.sleep(0.2)
    assert not _gone(pid)
    assert running.pids("start") == [pid]
    assert running.end() == 0


def test_a_reload_that_breaks_in_any_way_changes_nothing(tmp_path: Path) -> None:
    running = Running(
        tmp_path,
        """
        times = []
        def jobs():
            times.append(1)
            if len(times) > 1:
                note("refused")
                raise RuntimeError("a bug")
            return [Job("a", work)]
        sys.exit(supervise(jobs))
        """,
    )
    running.wait_for("ready", 1)
    for count in (1, 2):
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("refused", count)
    assert running.process.poll() is None
    assert running.end() == 0
    assert len(running.pids("start")) == 1


def test_a_reload_forgets_whom_it_was_about_to_replace(tmp_path: Path) -> None:
    """Else a worker with the old configuration would come up among the new ones."""
    running = Running(
        tmp_path,
        """
        from pathlib import Path
        bad = Path(str(out) + ".bad")
        def dies(pipes):
            note("dies")
            sys.exit(1)
        def make():
            bad_now, word = bad.exists(), "new" if bad.with_suffix(".new").exists() else "old"
            def one(pipes):
                note(word)
                work(pipes)
            return [Job("a", dies if bad_now else one)]
        sys.exit(supervise(make))
        """,
    )
    running.wait_for("ready", 1)
    bad = tmp_path / "notes.bad"
    bad.touch()
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("dies", 6)  # now it waits for longer and longer
    bad.unlink()
    bad.with_suffix(".new").touch()
    running.process.send_signal(signal.SIGHUP)
    (new,) = running.wait_for("new", 1)
    deaths = len(running.pids("dies"))
    time.sleep(2.0)
    assert len(running.pids("dies")) == deaths
    assert not _gone(new)
    assert _gone(running.pids("old")[0])
    assert running.end() == 0


def test_a_terminal_that_closes_does_not_end_the_workers(tmp_path: Path) -> None:
    running = Running(tmp_path, TWO)
    pids = running.wait_for("start", 2)
    running.wait_for("ready", 1)
    for pid in pids:
        os.kill(pid, signal.SIGHUP)
    time.sleep(0.3)
    assert not any(_gone(pid) for pid in pids)
    assert running.end() == 0


def test_old_workers_may_finish_but_not_pile_up(tmp_path: Path) -> None:
    running = Running(
        tmp_path,
        """
        def slow(pipes):  # has a session that does not end
            signal.signal(signal.SIGUSR1, lambda *_: note("retires"))
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            note("start")
            os.write(pipes.status, READY)
            while True:
                time.sleep(0.05)
        sys.exit(supervise(lambda: [Job("a", slow)]))
        """,
    )
    running.wait_for("ready", 1)
    for count in range(1, 6):
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("retires", count)
    pids = running.pids("start")
    end = time.monotonic() + 20
    while not _gone(pids[0]):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert not any(_gone(pid) for pid in pids[1:])
    assert running.end() == 0
    assert all(_gone(pid) for pid in pids)


def test_a_job_that_is_alone_never_runs_twice(tmp_path: Path) -> None:
    running = Running(tmp_path, 'sys.exit(supervise(lambda: [Job("q", work, alone=True)]))')
    (old,) = running.wait_for("start", 1)
    running.wait_for("ready", 1)
    running.process.send_signal(signal.SIGHUP)
    running.wait_for("start", 2)
    assert _gone(old)
    assert running.end() == 0


def test_children_that_cannot_start_end_it(tmp_path: Path) -> None:
    running = Running(
        tmp_path,
        """
        def fail(pipes):
            note("start")
            raise ServiceMissingError("no port")
        sys.exit(supervise(lambda: [Job("a", fail)]))
        """,
    )
    assert running.process.wait(20) == 70


def test_workers_end_with_their_supervisor(tmp_path: Path) -> None:
    running = Running(
        tmp_path,
        """
        from postane.daemon.child import run
        async def body(stop):
            note("start")
            stop.ready()
            await stop.wait()
        sys.exit(supervise(lambda: [Job("a", lambda pipes: run(pipes, body))]))
        """,
    )
    (pid,) = running.wait_for("start", 1)
    running.process.kill()
    running.process.wait()
    end = time.monotonic() + 20
    while not _gone(pid):
        assert time.monotonic() < end
        time.sleep(0.02)
