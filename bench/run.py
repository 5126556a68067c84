"""A run: which peers take part, how long it is, and what is measured in which order.

The peers take turns within a round, and the order turns by one each round, so that a noisy minute meets them all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from bench import crowd, domains, growth, rounds, samples, syncs
from bench.load import LOADS
from bench.peer import Peer, Skip, apart
from bench.peers.opensmtpd import OpenSmtpd
from bench.peers.plain_aiosmtpd import PlainAiosmtpd
from bench.peers.postane import Postane
from bench.peers.postfix import Postfix
from bench.peers.with_filters import PostaneFilters, PostfixFilters
from bench.peers.with_rspamd import PostaneRspamd, PostfixRspamd

ROOT = Path(__file__).parent.parent
STORE = ROOT / ".cache" / "bench"

PEERS: dict[str, Callable[[Path], Peer]] = {
    "postane": lambda folder: Postane(folder, filters="none"),
    "postane-builtin": lambda folder: Postane(folder, filters="builtin"),
    "postfix-tuned": lambda folder: Postfix(folder, STORE, tuned=True),
    "postfix": lambda folder: Postfix(folder, STORE, tuned=False),
    "opensmtpd": lambda folder: OpenSmtpd(folder, STORE),
    "aiosmtpd": lambda folder: PlainAiosmtpd(folder, uvloop=False),
    "aiosmtpd-uvloop": lambda folder: PlainAiosmtpd(folder, uvloop=True),
    "postane-rspamd": lambda folder: PostaneRspamd(folder, STORE),
    "postfix-rspamd": lambda folder: PostfixRspamd(folder, STORE),
    "postane-filters": lambda folder: PostaneFilters(folder, STORE),
    "postfix-filters": lambda folder: PostfixFilters(folder, STORE),
}
# Servers that take one message at a time too, each with the one that does the same without its checks.
ALONE = {
    "postane": "postane",
    "postane-rspamd": "postane",
    "postane-filters": "postane",
    "postfix-tuned": "postfix-tuned",
    "postfix-rspamd": "postfix-tuned",
    "postfix-filters": "postfix-tuned",
}
CORE = ("postane", "postane-builtin", "postfix-tuned")
# What may befall one measurement without taking the others with it; it is named among what was skipped.
FAILURES = (Skip, OSError, ValueError, subprocess.SubprocessError)
WAYS = {"held": rounds.held, "delivered": rounds.delivered}


@dataclass(frozen=True, slots=True)
class Size:
    """How long a run is. `delivered_by_all`: rounds in which all go end to end; in the others only CORE does.

    `budget`: no round is begun that would likely end later than so many seconds after the start. `left_out`: peers.
    `hosted`: numbers of domains whose records are planned and carried out at once.
    """

    rounds: int
    seconds: float
    budget: float
    delivered_by_all: int
    sync_seconds: float
    idle: int
    idle_tls: int
    slow_seconds: float
    queue: tuple[int, ...]
    domains: tuple[int, ...]
    mails: int
    left_out: tuple[str, ...] = ()
    hosted: tuple[int, ...] = ()


QUICK = Size(
    1,
    0.8,
    100,
    0,
    0.5,
    2000,
    0,
    2,
    (),
    (),
    0,
    ("postfix", "aiosmtpd", "postane-rspamd", "postfix-rspamd", "postane-filters", "postfix-filters"),
)
NORMAL = Size(3, 1.0, 330, 1, 1.0, 10_000, 1000, 10, (0, 1000, 10_000), (10, 1000), 2000, (), (10, 100, 1000))
FULL = Size(
    5,
    5.0,
    3600,
    5,
    3.0,
    10_000,
    2000,
    30,
    (0, 1000, 10_000, 100_000),
    (10, 1000, 10_000),
    10_000,
    (),
    (10, 100, 1000, 10_000),
)


class Bench:
    """One run: the peers that start, what was found, and the reasons of what was left out."""

    def __init__(self, work: Path, size: Size, console: Console) -> None:
        self.work = work
        self.size = size
        self.console = console
        self.peers: list[Peer] = []
        self.skipped: dict[str, str] = {}
        self._begun = time.monotonic()

    def say(self, words: str) -> None:
        self.console.print(f"[{time.monotonic() - self._begun:5.0f} s] {words}", markup=False, highlight=False)

    def skip(self, name: str, reason: Exception) -> None:
        self.skipped[name] = str(reason)
        self.say(f"skipped: {name}: {reason}")

    def start(self, names: list[str]) -> None:
        for name in names:
            if name in self.size.left_out:
                self.skip(name, Skip("left out of a quick run"))
                continue
            peer = PEERS[name](self._place(name))
            peer.remove()
            try:
                peer.start()
                self.peers.append(peer)
                self.say(f"{name} {peer.version} at port {peer.port}")
            except Skip as reason:
                self.skip(name, reason)
                peer.stop()
                peer.remove()

    def stop(self) -> None:
        for peer in self.peers:
            peer.stop()
            peer.remove()  # with it goes what a peer has running beside it
        self.clear()

    def clear(self) -> None:
        """What an earlier run may have left behind as well."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        apart(self.work)

    def _place(self, name: str) -> Path:
        """ext4 chooses the part of the disk by the name (see `apart`): it is a new one in each run, or what the last
        run deleted would be paid for in this one.
        """
        return self.work / f"{name}-{os.getpid()}"

    def side_by_side(self, loads: list[str], ways: list[str]) -> list[samples.Sample]:
        found: list[samples.Sample] = []
        for number in range(self.size.rounds):
            begun = time.monotonic()
            for name in loads:
                for way in ways:
                    taking_part = [peer for peer in self.peers if self._takes_part(peer, name, way, number)]
                    shift = number % max(1, len(taking_part))
                    for peer in taking_part[shift:] + taking_part[:shift]:
                        try:
                            found.append(WAYS[way](peer, LOADS[name], self.size.seconds))
                        except FAILURES as reason:
                            self.skip(f"{peer.name} from round {number + 1}, {name} {way} on", reason)
                            self.peers.remove(peer)
                            peer.kill()
                            peer.remove()
            self.say(f"round {number + 1} of {self.size.rounds}")
            now = time.monotonic()
            if number + 1 < self.size.rounds and now - self._begun + (now - begun) > self.size.budget:
                self.skip(f"rounds after {number + 1}", Skip("this machine is too slow or too busy for the others"))
                break
        return found

    def _takes_part(self, peer: Peer, name: str, way: str, number: int) -> bool:
        """All where it is quick; end to end, who is not in CORE has a part of the rounds, to keep the run short."""
        if peer.name.endswith(samples.FILTERS):
            return name == "a" and way == "held"
        if peer.name.endswith(samples.RSPAMD):
            return name == "a" or (name == "b" and way == "held" and self.size.delivered_by_all > 0)
        if way == "held" or peer.name in CORE:
            return True
        return peer.queues and number < self.size.delivered_by_all

    def alone(self) -> dict[str, dict[str, float]]:
        """Of the servers that run: what a message takes that comes alone, and how much of it is the checks'."""
        found: dict[str, dict[str, float]] = {}
        for peer in self.peers:
            if peer.name in ALONE:
                try:
                    found[peer.name] = rounds.alone(peer, self.size.seconds)
                except FAILURES as reason:
                    self.skip(f"{peer.name} with a message alone", reason)
        for name, plain in ALONE.items():
            if name in found and plain in found:
                found[name]["added"] = found[name]["p50"] - found[plain]["p50"]
        self.say("messages alone measured")
        return found

    def syncs(self) -> dict[str, dict[str, dict[str, float]]]:
        found: dict[str, dict[str, dict[str, float]]] = {}
        for name, queues in [(one.name, one.queues) for one in self.peers if not samples.asks_others(one.name)]:
            for way in ("held", "delivered") if queues and (name in CORE or self.size.delivered_by_all) else ("held",):
                peer = PEERS[name](self._place(f"{name}-syncs"))
                try:
                    calls = syncs.counted(peer, LOADS["a"], self.size.sync_seconds, held=way == "held")
                    found.setdefault(name, {})[way] = calls
                except FAILURES as reason:
                    self.skip(f"syncs of {name}, {way}", reason)
        self.say("syncs counted")
        return found

    def crowd(self) -> dict[str, dict[str, dict[str, float]]]:
        found: dict[str, dict[str, dict[str, float]]] = {}
        for name in ("postane", "aiosmtpd"):
            if name in self.size.left_out:
                continue
            peer = PEERS[name](self._place(f"{name}-crowd"))
            peer.remove()
            tests: dict[str, Callable[[], dict[str, float]]] = {"idle": lambda: crowd.idle(peer, self.size.idle)}  # noqa: B023
            if isinstance(peer, Postane):
                if self.size.idle_tls:
                    tests["idle_tls"] = lambda: crowd.idle_tls(peer, peer.submission, self.size.idle_tls)  # noqa: B023
                tests["slow"] = lambda: crowd.slow(peer, 2000, self.size.slow_seconds)  # noqa: B023
            try:
                peer.start()
                for kind, test in tests.items():
                    try:
                        found.setdefault(name, {})[kind] = test()
                    except FAILURES as reason:
                        self.skip(f"{kind} of {name}", reason)
            except Skip as reason:
                self.skip(f"crowd of {name}", reason)
            finally:
                peer.stop()
                peer.remove()
        self.say("idle and slow peers measured")
        return found

    def growth(self) -> dict[str, list[dict[str, float]]]:
        found = {}
        for name, test, sizes in (
            ("queue", growth.queue, self.size.queue),
            ("directory", growth.directory, self.size.domains),
        ):
            if not sizes:
                self.skip(f"growth of the {name}", Skip("left out of a quick run"))
                continue
            try:
                found[name] = test(self._place(f"growth-{name}"), list(sizes), self.size.mails)
            except FAILURES as reason:
                self.skip(f"growth of the {name}", reason)
            self.say(f"growth of the {name} measured")
        return found

    def domains(self) -> list[dict[str, float]]:
        found: list[dict[str, float]] = []
        if not self.size.hosted:
            self.skip("records of many domains", Skip("left out of a quick run"))
        for size in self.size.hosted:
            try:
                found += domains.measured(self._place("domains"), [size])
            except FAILURES as reason:
                self.skip(f"records of {size:,} domains", reason)
                break
            self.say(f"records of {size:,} domains measured")
        return found
