"""What the figures were measured on: processor, kernel, disk and what a sync costs there."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

BLOCK = 4096


def facts(folder: Path) -> dict[str, object]:
    """Facts about this machine and the file system of `folder`. Takes about a second and a half."""
    return {
        "cores": os.cpu_count(),
        "cpu": _cpu(),
        "memory_mib": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20,
        "kernel": platform.release(),
        "system": _system(),
        "python": platform.python_version(),
        "file_system": _file_system(folder),
        "load_before": round(os.getloadavg()[0], 2),
        "sync_alone_per_second": round(_lone_syncs(folder)),
        "file_rename_directory_per_second": round(_whole_files(folder)),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()


def _file_system(folder: Path) -> str:
    """The type of the mount that holds `folder`: the longest mount point above it."""
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _, point, mounted, *_ = line.split()
        if folder.resolve().is_relative_to(point) and len(point) >= len(best):
            best, kind = point, mounted
    return kind


def _lone_syncs(folder: Path, seconds: float = 0.7) -> float:
    """4 KiB into space already written, then fdatasync, again and again: a second."""
    path = folder / "sync-cost"
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.write(fd, b"\1" * (64 * BLOCK))
        os.fsync(fd)
        count, begun = 0, time.monotonic()
        while time.monotonic() - begun < seconds:
            os.pwrite(fd, bytes([count % 256]) * BLOCK, count % 64 * BLOCK)
            os.fdatasync(fd)
            count += 1
        return count / (time.monotonic() - begun)
    finally:
        os.close(fd)
        path.unlink()


def _whole_files(folder: Path, seconds: float = 0.7) -> float:
    """A new 4 KiB file written and synced, renamed, its directory synced: a second. What a Maildir asks for."""
    count, begun = 0, time.monotonic()
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        while time.monotonic() - begun < seconds:
            path = folder / "sync-cost.tmp"
            with path.open("wb") as file:
                file.write(b"\1" * BLOCK)
                file.flush()
                os.fsync(file.fileno())
            path.rename(folder / "sync-cost")
            os.fsync(at)
            count += 1
        return count / (time.monotonic() - begun)
    finally:
        os.close(at)
        (folder / "sync-cost").unlink(missing_ok=True)
