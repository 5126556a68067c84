"""The system calls of a process tree, recorded by strace: what it told the disk, in which order.

    record(command) … → read(path) → Calls, each with the line of its beginning and of its end in the record

A call lies between those two lines: before the first nothing of it has happened, behind the second all of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_CALLS = (
    "openat,write,writev,pwrite64,pwritev,pwritev2,rename,renameat,renameat2,unlink,unlinkat,link,linkat,symlink,"
    "mkdir,mkdirat,rmdir,truncate,ftruncate,fallocate,copy_file_range,sendfile,fsync,fdatasync,sync,syncfs,msync,mmap,"
    "close,dup,dup2,dup3,clone,clone3,fork,vfork,sendto,sendmsg"
)
_LINE = re.compile(rb"(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)", re.DOTALL)
_RESULT = re.compile(rb"^(.*)\) += (-?\d+|0x[0-9a-f]+|\?)(?: .*)?$", re.DOTALL)
_OCTETS = re.compile(rb'"((?:\\x[0-9a-f]{2})*)"')
_UNFINISHED = b" <unfinished ...>"


def command(record: Path, program: Sequence[str]) -> list[str]:
    """What to start in place of `program`, so that its calls and those of its children are recorded."""
    strace = ["strace", "-f", "-qq", "--seccomp-bpf", "-xx", "-s", "100000000", "-e", f"trace={_CALLS}"]
    return [*strace, "-o", str(record), *program]


@dataclass
class Call:
    """`result` is None until the call has returned, and for ever if its process was killed in it."""

    process: int
    name: str
    text: bytes
    begun: int
    ended: int = -1
    result: int | None = None

    def octets(self) -> list[bytes]:
        """The strings among its arguments: paths, data."""
        return [bytes.fromhex(found.decode().replace("\\x", "")) for found in _OCTETS.findall(self.text)]

    def data(self) -> bytes:
        return b"".join(self.octets())

    def numbers(self) -> list[int]:
        """The plain arguments that are numbers, in order, with names and strings left out."""
        plain = re.sub(rb'\[.*\]|"[^"]*"|\{.*\}', b"_", self.text, flags=re.DOTALL)
        return [
            int(word, 0) for word in re.split(rb", ", plain) if re.fullmatch(rb"-?(?:0|[1-9]\d*|0x[0-9a-f]+)", word)
        ]

    @property
    def path(self) -> str:
        return self.octets()[0].decode()


def read(record: Path) -> Iterator[tuple[int, Call, bool]]:
    """(line, call, True) where a call begins, (line, call, False) where it has returned.

    `process` is the process, not the thread. A call that had an error has a negative result.
    """
    open_calls: dict[int, Call] = {}
    process_of: dict[int, int] = {}
    with record.open("rb") as file:
        for number, raw in enumerate(file):
            parts = _LINE.fullmatch(raw.rstrip(b"\n"))
            if parts is None:
                continue  # a signal, an exit
            thread = int(parts[1])
            rest = parts[4]
            if parts[3] is not None:
                call = Call(process_of.setdefault(thread, thread), parts[3].decode(), b"", number)
                if rest.endswith(_UNFINISHED):
                    call.text = rest.removesuffix(_UNFINISHED)
                    open_calls[thread] = call
                    yield number, call, True
                    continue
            else:
                # What strace knows only at the end (results in arguments) follows the arguments that it knew before.
                call = open_calls.pop(thread)
                rest = call.text + rest
            found = _RESULT.match(rest)
            call.text = found[1] if found is not None else rest
            if parts[3] is not None:
                yield number, call, True
            if found is None or found[2] == b"?":
                continue
            call.result, call.ended = int(found[2], 0), number
            if call.name.startswith(("clone", "fork", "vfork")) and call.result > 0:
                process_of[call.result] = call.process if b"CLONE_THREAD" in call.text else call.result
            yield number, call, False
