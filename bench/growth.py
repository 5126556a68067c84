"""Does the cost of one mail stay flat while the queue and the directory grow?

Queue: N mails wait for a destination that answers with a temporary failure (its name server says SERVFAIL); then others
are delivered beside them. Directory: N domains with a mailbox each, and every mail goes to another of them.
"""

from __future__ import annotations

import contextlib
import sqlite3
import statistics
import time
from pathlib import Path

from bench import load, rounds, tree
from bench.load import Load
from bench.name_server import SERVFAIL, NameServer
from bench.peer import Skip
from bench.peers.postane import Postane

LOAD = Load("growth", 4096, 100)
FAR = Load("far", 1024, 1000)


def queue(folder: Path, sizes: list[int], messages: int) -> list[dict[str, float]]:
    """For each size: ms of CPU a mail accepted and delivered beside that queue, end to end rate, memory, start time."""
    found = []
    with contextlib.closing(NameServer(SERVFAIL)) as failing:
        peer = Postane(folder, name_server=f"127.0.0.1:{failing.port}")
        peer.remove()
        try:
            peer.start()
            peer.run("alias", "add", "far@demo.test", "someone@far.test")
            waiting = 0
            for size in sizes:
                if size > waiting:
                    load.send(FAR, peer.port, messages=size - waiting, to="far@demo.test")
                    waiting = size
                    _calm(peer, 120 + size / 200)
                peer.stop()
                begun = time.monotonic()
                peer.start()
                ready = time.monotonic() - begun
                _calm(peer, 120 + size / 200)
                found.append(_middle(peer, messages) | {"waiting": size, "start_seconds": ready})
        finally:
            peer.stop()
            peer.remove()
    return found


def directory(folder: Path, sizes: list[int], messages: int) -> list[dict[str, float]]:
    """For each number of domains: the first mails (nothing in memory, no mailbox made yet) and the same again."""
    found = []
    for size in sizes:
        peer = Postane(folder)
        peer.remove()
        try:
            peer.start()  # makes the directory's file
            peer.stop()
            fill_directory(folder / "dev" / "directory.sqlite3", size)
            peer.domain_names = [f"d{number}.test" for number in range(size)]
            peer.start()
            first = _measured(peer, messages, size)
            again = _measured(peer, messages, size)
            found.append({"domains": size, "cpu_first": first["cpu"], **again})
        finally:
            peer.stop()
            peer.remove()
    return found


def _measured(peer: Postane, messages: int, domains: int) -> dict[str, float]:
    to = "u%u@demo.test" if domains == 1 else "u0@d%d.test"
    boxes = 10 if domains == 1 else 1
    before, begun = tree.cpu_seconds(peer.process.pid), time.monotonic()
    sent = load.send(LOAD, peer.port, messages=messages, to=to, to_count=boxes, domains=domains)
    arrived, ended = rounds.drain(peer, sent["messages"])
    cpu = tree.cpu_seconds(peer.process.pid) - before
    memory = tree.memory(peer.process.pid)
    if arrived < messages:
        raise Skip(f"{arrived} of {messages} arrived: {sent['first_error']}")
    peer.empty()
    return {
        "cpu": 1000 * cpu / messages,
        "rate": sent["rate"],
        "end_to_end": messages / (ended - begun),
        "memory": memory,
    }


def _middle(peer: Postane, messages: int) -> dict[str, float]:
    """Of three measurements, key by key."""
    found = [_measured(peer, messages, 1) for _ in range(3)]
    return {key: statistics.median(one[key] for one in found) for key in found[0]}


def _calm(peer: Postane, seconds: float) -> None:
    """Until the tree uses less than a tenth of one processor: what it had to do with the queue is done."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before = tree.cpu_seconds(peer.process.pid)
        time.sleep(1.0)
        if tree.cpu_seconds(peer.process.pid) - before < 0.1:
            return
    raise Skip(f"the queue was not calm after {seconds:.0f} s")


def fill_directory(path: Path, domains: int) -> None:
    """`domains` domains d0.test … with the account u0 each, in one transaction: by command it would take minutes."""
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        now = time.time()
        tenant = database.execute("SELECT id FROM tenants ORDER BY id LIMIT 1").fetchone()[0]
        secret = database.execute("SELECT hash FROM credentials LIMIT 1").fetchone()[0]
        for number in range(domains):
            name = f"d{number}.test"
            domain = database.execute(
                "INSERT INTO domains (tenant_id, name, active, created_at) VALUES (?, ?, 1, ?)", (tenant, name, now)
            ).lastrowid
            mailbox = database.execute(
                "INSERT INTO mailboxes (address, folder, made_at) VALUES (?, ?, ?)", (f"u0@{name}", f"{name}/u0", now)
            ).lastrowid
            account = database.execute(
                "INSERT INTO accounts"
                " (domain_id, mailbox_id, address, local_part, display_name, quota_bytes, active, created_at)"
                " VALUES (?, ?, ?, 'u0', '', 0, 1, ?)",
                (domain, mailbox, f"u0@{name}", now),
            ).lastrowid
            database.execute(
                "INSERT INTO credentials (account_id, kind, label, hash, created_at) VALUES (?, 'main', '', ?, ?)",
                (account, secret, now),
            )
