"""What a process tree costs, from /proc: processor time and memory (proc(5))."""

from __future__ import annotations

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def _fields(pid: int | str) -> list[str]:
    """The fields of /proc/PID/stat from the third on; the second, the name, may hold spaces and brackets."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def processes(root: int) -> list[int]:
    """`root` and all its descendants that live now."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                children.setdefault(int(_fields(entry.name)[1]), []).append(int(entry.name))
            except (OSError, IndexError):
                continue  # it ended meanwhile
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo += children.get(pid, [])
    return found


def cpu_seconds(root: int) -> float:
    """User and system time of the tree so far, the ended and waited-for children of each process included.

    A child that ended counts in its parent once it was waited for, so nothing is lost where a server forks a process
    a session, and nothing counts twice.
    """
    ticks = 0
    for pid in processes(root):
        try:
            ticks += sum(int(word) for word in _fields(pid)[11:15])  # utime stime cutime cstime
        except OSError:
            continue
    return ticks / TICKS


def memory(root: int) -> int:
    """Proportional set size of the tree in octets: what is shared between processes counts once in all."""
    kib = 0
    for pid in processes(root):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        kib += sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return kib * 1024


def running_with(word: str) -> list[int]:
    """The processes that have `word` as a whole word of their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if word.encode() in words:
                found.append(int(entry.name))
    return found
