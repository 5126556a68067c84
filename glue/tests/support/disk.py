"""Disks that can be hurt: file systems on loop images. A cut of the power, a disk that is full, one that fails.

Needs root, loop devices and the file system's tools, which are installed where apt is at hand.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32): one number for xfs (XFS_IOC_GOINGDOWN) and ext4
_NO_LOG_FLUSH = 2  # what the log has not on the disk yet is gone too

_MAKE = {
    # No discarding and no zeroing: the image is a sparse file of zeros already.
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K"],
}
_PACKAGE = {
    "mkfs.ext4": "e2fsprogs",
    "mkfs.xfs": "xfsprogs",
    "strace": "strace",
    "losetup": "mount",
    "redis-server": "redis-server",
}


def need(*programs: str) -> None:
    """Installs what is missing of `programs`; skips the test where that cannot be."""
    missing = [program for program in programs if shutil.which(program) is None]
    if not missing:
        return
    packages = " ".join(_PACKAGE[program] for program in missing)
    if os.geteuid() or not shutil.which("apt-get"):
        pytest.skip(f"missing here: {packages}")
    apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=300"]
    for command in (["update"], ["install", "--no-install-recommends", *packages.split()]):
        done = subprocess.run([*apt, *command], capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"missing here: {packages}; apt-get says: {done.stderr.strip()[-200:]}")


def need_loop_devices() -> None:
    """Skips the test where no image can be mounted."""
    if os.geteuid():
        pytest.skip("only root mounts disk images")
    need("losetup")
    found = subprocess.run(["losetup", "--find"], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip(f"no loop device here: {found.stderr.strip()}")


class Image:
    """A file system of `kind` in a sparse file of `size` octets. Use it as a context.

    It is mounted in a namespace of its own: no other process of the machine takes a copy of the mount along and keeps
    the disk busy, and nothing stays of it if the test is killed. `place` is where the test sees it; a program that is
    started by `enter` sees it at `inside`.
    """

    def __init__(self, folder: Path, kind: str, size: int, *, make: tuple[str, ...] = (), options: str = "") -> None:
        need_loop_devices()
        need(_MAKE[kind][0])
        self.kind = kind
        self.file = folder / f"{kind}.img"
        self.inside = folder / kind
        self._options = ["-o", f"loop,{options}" if options else "loop"]
        self.inside.mkdir(parents=True)
        with self.file.open("wb") as file:
            file.truncate(size)
        _run(*_MAKE[kind], *make, str(self.file))
        hold = ["sh", "-c", "echo; exec sleep infinity"]
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "setpriv", "--pdeathsig", "KILL", *hold],
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        self._holder.stdout.readline()
        process = f"/proc/{self._holder.pid}"
        self.place = Path(f"{process}/root{self.inside}")
        self.enter = ("nsenter", f"--mount={process}/ns/mnt", "--wd=/", "--")
        self.mount()

    def __enter__(self) -> Image:
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.kill()
        self._holder.communicate()
        self.file.unlink()

    def mount(self) -> None:
        """Brings the log into order first, as the kernel does after any cut."""
        self._run("mount", "-t", self.kind, *self._options, str(self.file), str(self.inside))

    def remount(self, options: str) -> None:
        """Tries for a while: no file may be open for writing when it becomes read-only."""
        end = time.monotonic() + 10
        while True:
            try:
                return self._run("mount", "-o", f"remount,{options}", str(self.inside))
            except AssertionError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def unmount(self) -> None:
        """Waits for the last process to let go: as long as one holds the file system, it would be mounted as it is."""
        end = time.monotonic() + 20
        mounted = True
        while mounted or _run_and_read("losetup", "-j", str(self.file)):
            try:
                if mounted:
                    self._run("umount", str(self.inside))
                    mounted = False
            except AssertionError:
                if time.monotonic() > end:
                    raise
            assert time.monotonic() < end, "the loop device stays busy"
            time.sleep(0.01)

    def cut(self) -> None:
        """The power goes: from this moment nothing reaches the disk, and what was not synced is gone."""
        fd = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, ctypes.c_uint32(_NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def free(self) -> int:
        stat = os.statvfs(self.place)
        return stat.f_bavail * stat.f_frsize

    def fill(self, leave: int = 0) -> Path:
        """Takes all space but `leave` octets with one file, which is returned."""
        ballast = self.place / "ballast"
        fd = os.open(ballast, os.O_WRONLY | os.O_CREAT)
        try:
            step = 1 << 20
            at = os.fstat(fd).st_size
            while step >= 4096:
                try:
                    if self.free() - step < leave:
                        raise OSError(errno.ENOSPC, "enough")
                    os.posix_fallocate(fd, at, step)
                    at += step
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    step //= 4
            os.fsync(fd)
        finally:
            os.close(fd)
        return ballast

    def fail(self) -> None:
        """ext4 only: the kernel meets an error in the file system, as on a dying disk, and does what `errors=` says."""
        device = Path(_run_and_read(*self.enter, "findmnt", "-n", "-o", "SOURCE", str(self.inside)))
        Path("/sys/fs/ext4", device.name, "trigger_fs_error").write_text("test")

    def repair(self) -> None:
        """ext4 only, unmounted: what an operator does after an error."""
        done = subprocess.run(["e2fsck", "-f", "-y", str(self.file)], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1), done.stdout + done.stderr

    def _run(self, *command: str) -> None:
        _run(*self.enter, *command)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"


def _run_and_read(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
