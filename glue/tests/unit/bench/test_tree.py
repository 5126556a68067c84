"""Processor time and memory of a process tree."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from bench import tree

# A parent that works in two children: one has ended and was waited for, one still lives.
PROGRAM = """
import os, sys, time
def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end: pass
if os.fork() == 0:
    work(0.3); os._exit(0)
os.wait()
if os.fork() == 0:
    work(0.3); print("done", flush=True); time.sleep(60); os._exit(0)
time.sleep(60)
"""


@pytest.fixture(scope="module")
def root() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        for pid in reversed(tree.processes(process.pid)):
            subprocess.run(["kill", "-9", str(pid)], check=True)


def test_the_time_of_ended_and_living_children_counts_once(root: int) -> None:
    assert len(tree.processes(root)) == 2
    assert 0.55 <= tree.cpu_seconds(root) < 1.0


def test_memory_is_that_of_all_and_shared_pages_count_once(root: int) -> None:
    whole = tree.memory(root)
    # Two forked interpreters share most of their pages: both together are far from twice one of some 10 MB.
    assert 2_000_000 < whole < 30_000_000


def test_a_process_is_found_by_a_whole_word(root: int) -> None:
    assert root in tree.running_with(PROGRAM)
    assert tree.running_with(PROGRAM[:50]) == []
