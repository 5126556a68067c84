"""One peer under one workload for a moment: two ways of measuring it.

held        accepted only: what is accepted stays in the queue (Postfix: HOLD; Postane: its queue process is
            stopped; OpenSMTPD: local delivery is paused)
delivered   delivery runs beside, as in life: `rate` is what was accepted a second meanwhile, `end_to_end` is
            messages over the time from the first connect to the last message in the mailbox
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import Any

from bench import load, tree
from bench.load import Load
from bench.peer import Peer, Skip
from bench.samples import Sample

WARM = 0.3  # seconds of the same load before each measurement: processes forked, caches filled, connections known
MET = 1000  # and at least so many messages: each of two workers has then met nearly all of the load's 250 addresses
PATIENCE = 20.0  # seconds without a further message in a mailbox after which it is not waited for


def held(peer: Peer, work: Load, seconds: float) -> Sample:
    """Accepted only. What was accepted is thrown away afterwards, outside the measured time."""
    port = peer.hold()
    try:
        warm(work, port)
        os.sync()  # nobody pays for what another wrote
        before = tree.cpu_seconds(peer.process.pid)
        sent = load.send(work, port, seconds=seconds * work.stretch)
        cpu = tree.cpu_seconds(peer.process.pid) - before
        memory = tree.memory(peer.process.pid)
    finally:
        peer.discard()
    return _sample(peer, work, "held", sent, cpu, sent["messages"], {"memory": memory})


def delivered(peer: Peer, work: Load, seconds: float) -> Sample:
    """Accepted and brought to the mailboxes; CPU is that of both."""
    drain(peer, warm(work, peer.port))
    peer.empty()
    os.sync()
    before = tree.cpu_seconds(peer.process.pid)
    begun = time.monotonic()
    sent = load.send(work, peer.port, seconds=seconds * work.stretch)
    memory = tree.memory(peer.process.pid)
    arrived, ended = drain(peer, sent["messages"])
    cpu = tree.cpu_seconds(peer.process.pid) - before
    took = ended - begun
    peer.empty()
    if arrived < sent["messages"]:
        # What got its 250 and is in no mailbox is the worst that can befall: it counts as an error and has words.
        missing = sent["messages"] - arrived
        sent["errors"] += missing
        sent["first_error"] = sent["first_error"] or f"{missing} messages with a 250 are in no mailbox"
    more = {"memory": memory, "end_to_end": arrived / took, "arrived": arrived, "drain": took - sent["seconds"]}
    return _sample(peer, work, "delivered", sent, cpu, arrived, more)


def warm(work: Load, port: int) -> int:
    """Sends what is not measured, and returns how much: what is asked of the load's addresses is known then."""
    sent = int(load.send(work, port, seconds=WARM)["messages"])
    if work.per_connection == 1 and sent < MET:
        sent += int(load.send(work, port, messages=MET - sent)["messages"])
    return sent


def alone(peer: Peer, seconds: float) -> dict[str, float]:
    """p50 and p99 in milliseconds of messages that come one after the other, each over a connection of its own."""
    port = peer.hold()
    try:
        warm(load.A, port)
        os.sync()
        sent = load.send(replace(load.A, connections=1), port, seconds=seconds)
    finally:
        peer.discard()
    if sent["errors"]:
        raise Skip(f"{peer.name} refused: {sent['first_error']}")
    return {"p50": float(sent["p50"]), "p99": float(sent["p99"])}


def drain(peer: Peer, wanted: int) -> tuple[int, float]:
    """Waits until `wanted` messages lie in the mailboxes. Returns how many do, and when that was first seen.

    It gives up when none has come for PATIENCE seconds.
    """
    seen, moved = -1, time.monotonic()
    pause = 0.02
    while True:
        arrived = peer.delivered()
        now = time.monotonic()
        if arrived != seen:
            seen, moved = arrived, now
        if arrived >= wanted or now - moved > PATIENCE:
            return arrived, now
        time.sleep(pause)
        pause = min(pause * 1.3, 0.1)  # counting costs processor time that the peer could use


def _sample(
    peer: Peer, work: Load, way: str, sent: dict[str, Any], cpu: float, messages: int, more: dict[str, float]
) -> Sample:
    figures = {key: float(value) for key, value in sent.items() if key != "first_error"}
    figures["cpu"] = 1000 * cpu / messages if messages else 0.0
    return Sample(peer.name, work.name, way, figures | more, sent["first_error"])
