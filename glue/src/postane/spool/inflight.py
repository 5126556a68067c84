"""Which messages are being delivered at this moment, in a file that a killed process leaves behind.

A delivery that was under way when the queue process died may have been made without anybody knowing. Those messages,
and no others, may come twice; here they are known by name at the next start: they are counted, and a door that can
look whether a message is there already does so.

A mark is 32 octets written without a sync. The kernel keeps it when the process is killed. It does not when the machine
stops: then every message from before the stop is in doubt until it is done.
A store into a mapped page would be cheaper still, but on a disk that goes read-only it kills the process.
Where there is no file no queue has run yet, and nothing is in doubt.
For the octets of the file see docs/reference/spool.md.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Container, Iterable
from contextlib import suppress
from pathlib import Path

from postane.spool.segment import sync_folder

_HEAD = struct.Struct("<8sH6x36s10s2x")  # magic, format, boot id, doubt; then the slots
_MAGIC = b"PSTNFLY\n"
_FORMAT = 1
_SLOT = 32
_ID = 26
_SLOTS = 1024  # to begin with
_TIME = 10  # the first characters of a message id are its time


class InFlight:
    """The marks of one queue process; made new, it takes over those of the process before it."""

    def __init__(self, path: Path, now_id: str, boot: str = "") -> None:
        """`now_id` is a message id of this moment. `boot` tells the runs of the machine apart."""
        self._path = path
        self._boot = (boot or boot_id()).encode().ljust(36)[:36]
        self._left: set[str] = set()  # were in flight when an earlier run ended, and are not done since
        self._doubt = ""  # ids up to this time are in doubt, whatever the marks say
        self._read(now_id)
        self._slots: dict[str, int] = {}  # where in the file the mark of a message is
        self._counts: dict[str, int] = {}
        self._free: list[int] = []
        self._fd = self._make(list(self._left))

    def _read(self, now_id: str) -> None:
        if not self._path.exists():
            return
        data = self._path.read_bytes()
        magic, version, boot, doubt = _HEAD.unpack_from(data.ljust(_HEAD.size, b"\0"))
        if (magic, version, boot) != (_MAGIC, _FORMAT, self._boot) or not self._boot.strip():
            self._doubt = now_id[:_TIME]
            return
        self._doubt = doubt.rstrip(b"\0").decode("ascii", "replace")
        for at in range(_HEAD.size, len(data), _SLOT):
            if data[at]:
                self._left.add(data[at : at + _ID].decode("ascii", "replace"))

    def _make(self, ids: list[str]) -> int:
        """A new file with these marks, in the place of the old one. -1: there is none, the marks are in memory."""
        size = _HEAD.size + max(_SLOTS, 4 * len(ids)) * _SLOT
        self._free = list(range(size - _SLOT, _HEAD.size - 1, -_SLOT))
        self._slots = {message_id: self._free.pop() for message_id in ids}
        octets = bytearray(size)
        octets[: _HEAD.size] = self._head()
        for message_id, at in self._slots.items():
            octets[at : at + _SLOT] = _mark(message_id)
        new = self._path.with_suffix(".new")
        fd = -1
        try:
            fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            os.posix_fallocate(fd, 0, size)  # later the disk may be full
            os.pwrite(fd, octets, 0)
            new.rename(self._path)
            sync_folder(self._path.parent)
        except OSError:
            if fd >= 0:
                os.close(fd)
            self._disown()
            return -1
        return fd

    def _disown(self) -> None:
        """What the file says is not true any more: better nothing in it, which is doubt about everything."""
        with suppress(OSError):
            os.truncate(self._path, 0)

    def _store(self, data: bytes, at: int) -> None:
        if self._fd < 0:
            return
        try:
            os.pwrite(self._fd, data, at)
        except OSError:
            self.close()
            self._disown()

    def _head(self) -> bytes:
        return _HEAD.pack(_MAGIC, _FORMAT, self._boot, self._doubt.encode())

    def doubtful(self, message_id: str) -> bool:
        """True if an earlier run may have delivered this message, to whom it is still owed."""
        return message_id in self._left or message_id[:_TIME] <= self._doubt

    def settle(self, living: Container[str], oldest: str) -> None:
        """After the first look into the spool: forgets what is done. `oldest` is the lowest id that lives, or ""."""
        self.over((one, True) for one in [one for one in self._left if one not in living])
        if self._doubt and (not oldest or oldest[:_TIME] > self._doubt):
            self._doubt = ""
            self._store(self._head(), 0)

    def begin(self, message_id: str) -> None:
        """A delivery of it starts."""
        count = self._counts.get(message_id, 0)
        self._counts[message_id] = count + 1
        if not count and message_id not in self._slots:
            self._mark(message_id)

    def _mark(self, message_id: str) -> None:
        if not self._free:
            self.close()
            self._fd = self._make([*self._slots, message_id])
            return
        at = self._slots[message_id] = self._free.pop()
        self._store(_mark(message_id), at)

    def over(self, ended: Iterable[tuple[str, bool]]) -> None:
        """Deliveries that are over, and whether the message is done; both are on the disk.

        What was left in doubt stays so until it is done.
        """
        freed = []
        for message_id, done in ended:
            count = self._counts.pop(message_id, 0) - 1
            if done:
                self._left.discard(message_id)
            elif count > 0:
                self._counts[message_id] = count
                continue
            elif message_id in self._left:
                continue
            if (at := self._slots.pop(message_id, None)) is not None:
                freed.append(at)
        # Slots are given out in turn, so what ends together mostly lies together: a write for all, not one for each.
        freed.sort()
        begin = 0
        for number, at in enumerate(freed, 1):
            if number == len(freed) or freed[number] != at + _SLOT:
                self._store(bytes((number - begin) * _SLOT), freed[begin])
                begin = number
        self._free += reversed(freed)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _mark(message_id: str) -> bytes:
    return message_id.encode("ascii", "replace")[:_ID].ljust(_SLOT, b"\0")


def boot_id() -> str:
    """What the kernel calls this run of the machine; "" where it does not say."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    return ""
