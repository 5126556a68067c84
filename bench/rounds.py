"""The rounds of a side-by-side run: each peer in turn, again and again, so that a noisy minute meets them all.

Two ways of measuring a workload:

    held        accepted only: what is accepted stays in the queue (Postfix: HOLD; Postane: its queue process is
                stopped; OpenSMTPD: local delivery is paused)
    delivered   delivery runs beside, as in life: `rate` is what was accepted a second meanwhile, `end_to_end` is
                messages over the time from the first connect to the last message in the mailbox
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from bench import load, tree
from bench.load import Load
from bench.peer import Peer
from bench.samples import Sample

WARM = 0.3  # seconds of the same load before each measurement: processes forked, caches filled, connections known
DRAIN = 60.0  # seconds that a peer gets to bring what it accepted to the mailboxes


def held(peer: Peer, work: Load, seconds: float) -> Sample:
    """Accepted only. What was accepted is thrown away afterwards, outside the measured time."""
    port = peer.hold()
    try:
        load.send(work, port, seconds=WARM)
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
    warm = load.send(work, peer.port, seconds=WARM)
    drain(peer, warm["messages"])
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
    more = {"memory": memory, "end_to_end": arrived / took, "arrived": arrived, "drain": took - sent["seconds"]}
    return _sample(peer, work, "delivered", sent, cpu, arrived, more)


def drain(peer: Peer, wanted: int) -> tuple[int, float]:
    """Waits until `wanted` messages lie in the mailboxes. Returns how many do, and when that was first seen."""
    end = time.monotonic() + DRAIN
    pause = 0.02
    while True:
        arrived = peer.delivered()
        now = time.monotonic()
        if arrived >= wanted or now > end:
            return arrived, now
        time.sleep(pause)
        pause = min(pause * 1.3, 0.1)  # counting costs processor time that the peer could use


def _sample(
    peer: Peer, work: Load, way: str, sent: dict[str, Any], cpu: float, messages: int, more: dict[str, float]
) -> Sample:
    figures = {key: float(value) for key, value in sent.items() if key != "first_error"}
    figures["cpu"] = 1000 * cpu / messages if messages else 0.0
    return Sample(peer.name, work.name, way, figures | more, sent["first_error"])


def interleaved(
    peers: list[Peer],
    works: list[Load],
    ways: dict[str, Callable[[Peer, Load, float], Sample]],
    *,
    rounds: int,
    seconds: float,
    told: Callable[[Sample], None],
) -> list[Sample]:
    """Every peer once a round for each workload and way; the order turns by one each round."""
    samples = []
    for number in range(rounds):
        for work in works:
            for way in ways.values():
                shift = number % len(peers)
                for peer in peers[shift:] + peers[:shift]:
                    samples.append(way(peer, work, seconds))
                    told(samples[-1])
    return samples
