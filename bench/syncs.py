"""How often a server tells the disk to sync, a thousand messages: who says 250 without it is seen here.

A server is started anew under strace, which stops it at the calls counted and at no other (--seccomp-bpf), so that its
pace, and with it how many messages share a sync, stays near to life. Syncs at start and stop are counted too.
"""

from __future__ import annotations

import time
from pathlib import Path

from bench import load, packages, rounds, tree
from bench.load import Load
from bench.peer import Peer, Skip

# Everything that brings octets to the disk, or could: io_uring and AIO may carry a sync that no other call shows.
CALLS = ("fsync", "fdatasync", "sync_file_range", "sync", "syncfs", "msync", "io_uring_enter", "io_submit")
REAL = ("fsync", "fdatasync", "sync", "syncfs", "msync")  # sync_file_range begins to write and promises nothing


def counted(peer: Peer, work: Load, seconds: float, *, held: bool) -> dict[str, float]:
    """Calls a thousand messages, by name and their sum as "all" (without sync_file_range). Raises Skip.

    `peer` is not started yet and is stopped afterwards.
    """
    if packages.program("strace", "strace") is None:
        raise Skip("strace is not installed")
    peer.remove()
    peer.folder.mkdir(parents=True)
    out = peer.folder / "strace.txt"
    # -DDD: the tracer is a grandchild in a session of its own, so that the server is the process that is started,
    # measured and stopped.
    calls_wanted = f"trace={','.join(CALLS)}"
    peer.prefix = ["strace", "-DDD", "-f", "--seccomp-bpf", "-c", "-o", str(out), "-e", calls_wanted]
    try:
        peer.start()
        sent = load.send(work, peer.hold() if held else peer.port, seconds=seconds)
        if not held:
            rounds.drain(peer, sent["messages"])
    finally:
        if held:
            peer.kill()  # a stop would let it work off what was held
        else:
            peer.stop()
    calls = parse(_summary(out))
    messages = sent["messages"]
    if not messages:
        raise Skip("no message got through under strace")
    found = {name: 1000 * count / messages for name, count in calls.items() if name in CALLS}
    peer.remove()
    return found | {"all": sum(found.get(name, 0.0) for name in REAL), "messages": messages}


def _summary(out: Path, seconds: float = 20) -> str:
    """What strace wrote when the last process had ended; nothing where none of the calls was made."""
    end = time.monotonic() + seconds
    while tree.running_with(str(out)):
        if time.monotonic() > end:
            raise Skip("strace did not end")
        time.sleep(0.1)
    return out.read_text(errors="replace")


def parse(text: str) -> dict[str, int]:
    """Calls by name from the table of `strace -c`: the fourth column counts, the last is the name."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 5 and words[3].isdigit() and words[-1] != "total":
            found[words[-1]] = int(words[3])
    return found
