"""The figures of all processes of a host: each writes its own into a folder, and one who asks adds them up.

    <runtime>/metrics/smtpd-0.1234      what the process 1234 counts, the worker smtpd-0; new every two seconds
    <runtime>/metrics/smtpd-0.ended     what earlier processes of that name had counted when they ended
    <runtime>/metrics/drift.ended       what a process that runs now and then has counted, and how it left its gauges

A worker is often two processes (a reload: one begins, one retires), and often a new one: what ended ones had counted
is kept by the supervisor, so that a counter never goes back while the service runs. A new service begins at zero.
Files, and not a socket of each process: one that hangs or has just died is told of all the same.
Nothing is synced: the folder lies in memory (tmpfs), and nothing here is worth a disk's time.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from msgspec import DecodeError, Struct, msgpack

from postane.observe.metrics import Metrics

FOLDER = "metrics"
EVERY = 2.0  # seconds between two writings of a process
_ENDED = "ended"
_SILENT = 30.0  # seconds after which a process that writes nothing is not counted among the living


class _Ended(Struct):
    """`last` is the process whose figures were added last: its own file may still be there for a moment."""

    last: int
    figures: bytes


def write(folder: Path, worker: str, metrics: Metrics) -> None:
    """Shows what this process counts. Raises OSError."""
    _put(folder / f"{worker}.{os.getpid()}", metrics.pack())


def end(folder: Path, worker: str, pid: int) -> None:
    """A process has ended: its counters are kept, its gauges are of yesterday. Raises OSError."""
    path, ended = folder / f"{worker}.{pid}", folder / f"{worker}.{_ENDED}"
    if not path.exists():
        return
    kept = Metrics()
    with suppress(FileNotFoundError, DecodeError):
        kept.add(msgpack.decode(ended.read_bytes(), type=_Ended).figures)
    with suppress(DecodeError):
        kept.add(path.read_bytes(), gauges=False)
    _put(ended, msgpack.encode(_Ended(pid, kept.pack())))
    path.unlink()


def keep(folder: Path, worker: str, metrics: Metrics) -> None:
    """Of a process that runs now and then: counters are added to those of before, gauges stay. Raises OSError."""
    ended = folder / f"{worker}.{_ENDED}"
    kept = Metrics()
    with suppress(FileNotFoundError, DecodeError):
        kept.add(msgpack.decode(ended.read_bytes(), type=_Ended).figures, gauges=False)
    kept.add(metrics.pack())
    _put(ended, msgpack.encode(_Ended(os.getpid(), kept.pack())))


def clear(folder: Path, worker: str) -> None:
    """The service begins anew, and with it its counters. Raises OSError."""
    for pattern in (f"{worker}.*", f".{worker}.*"):  # the second: what was being written when a process was killed
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def gather(folder: Path) -> Metrics:
    """What all processes of the host count, with the labels `service` and `worker`."""
    for _ in range(10):
        with suppress(FileNotFoundError):  # a process ended meanwhile: its figures are elsewhere now
            return _gather(folder)
    return _gather(folder)


def _gather(folder: Path) -> Metrics:
    found = Metrics()
    kept: set[str] = set()
    living: Counter[str] = Counter()
    paths = [path for path in folder.glob("*.*") if not path.name.startswith(".")]
    for path in sorted(paths, key=lambda path: path.suffix != f".{_ENDED}"):  # these first: each names its last process
        worker, _, number = path.name.partition(".")
        labels = {"service": worker.partition("-")[0], "worker": worker}
        with suppress(DecodeError):
            if number == _ENDED:
                ended = msgpack.decode(path.read_bytes(), type=_Ended)
                kept.add(f"{worker}.{ended.last}")
                found.add(ended.figures, labels)
            elif path.name not in kept:
                lives = time.time() - path.stat().st_mtime < _SILENT
                found.add(path.read_bytes(), labels, gauges=lives)
                living[worker] += lives
    for worker, count in living.items():
        service = worker.partition("-")[0]
        found.gauge("postane_processes", "Processes that show their figures", count, service=service, worker=worker)
    return found


def _put(path: Path, octets: bytes) -> None:
    """Whole or not at all."""
    new = path.with_name(f".{path.name}")
    try:
        new.write_bytes(octets)
    except FileNotFoundError:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        new.write_bytes(octets)
    new.rename(path)
