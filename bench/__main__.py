"""`make bench`, and by hand: .venv/bin/python -m bench --peers postane,postfix-tuned --loads a,b --rounds 3

--quick (make bench QUICK=1) takes under two minutes, the default under ten, --full (make bench FULL=1) about an hour.
With --peers, --loads or --ways only those rounds are run, and nothing is written.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import crowd, goals, growth, load, machine, report, rounds, samples, syncs, table
from bench.load import LOADS
from bench.peer import Peer, Skip
from bench.peers.opensmtpd import OpenSmtpd
from bench.peers.plain_aiosmtpd import PlainAiosmtpd
from bench.peers.postane import Postane
from bench.peers.postfix import SHIPPED, TUNED, Postfix
from bench.peers.with_rspamd import PostaneRspamd, PostfixRspamd

ROOT = Path(__file__).parent.parent
WORK = Path("/var/tmp/postane-bench")  # noqa: S108 - on the disk, not in memory as /tmp may be; emptied at each start
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
}
CORE = ("postane", "postane-builtin", "postfix-tuned")
# What may befall one measurement without taking the others with it; it is named among what was skipped.
FAILURES = (Skip, OSError, ValueError, subprocess.SubprocessError)
WAYS = {"held": rounds.held, "delivered": rounds.delivered}


@dataclass(frozen=True, slots=True)
class Size:
    """How long a run is. `delivered_by_all`: rounds in which all go end to end; in the others only CORE does.

    `budget`: no round is begun that would likely end later than so many seconds after the start. `left_out`: peers.
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


QUICK = Size(1, 0.8, 100, 0, 0.5, 2000, 0, 2, (), (), 0, ("postfix", "aiosmtpd", "postane-rspamd", "postfix-rspamd"))
NORMAL = Size(3, 1.0, 330, 1, 1.0, 10_000, 1000, 10, (0, 1000, 10_000), (10, 1000), 2000)
FULL = Size(5, 5.0, 3600, 5, 3.0, 10_000, 2000, 30, (0, 1000, 10_000, 100_000), (10, 1000, 10_000), 10_000)


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
            peer = PEERS[name](self.work / name)
            peer.remove()
            try:
                peer.start()
                self.peers.append(peer)
                self.say(f"{name} {peer.version} at port {peer.port}")
            except Skip as reason:
                self.skip(name, reason)
                peer.stop()

    def stop(self) -> None:
        for peer in self.peers:
            peer.stop()
        self.clear()

    def clear(self) -> None:
        """What an earlier run may have left behind as well."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)

    def side_by_side(self, loads: list[str], ways: list[str]) -> list[samples.Sample]:
        found: list[samples.Sample] = []
        for number in range(self.size.rounds):
            begun = time.monotonic()
            for name in loads:
                for way in ways:
                    taking_part = [peer for peer in self.peers if self._takes_part(peer, name, way, number)]
                    shift = number % max(1, len(taking_part))
                    for peer in taking_part[shift:] + taking_part[:shift]:
                        found.append(WAYS[way](peer, LOADS[name], self.size.seconds))
            self.say(f"round {number + 1} of {self.size.rounds}")
            now = time.monotonic()
            if number + 1 < self.size.rounds and now - self._begun + (now - begun) > self.size.budget:
                self.skip(f"rounds after {number + 1}", Skip("this machine is too slow or too busy for the others"))
                break
        return found

    def _takes_part(self, peer: Peer, name: str, way: str, number: int) -> bool:
        """All where it is quick; end to end, who is not in CORE has a part of the rounds, to keep the run short."""
        if peer.name.endswith(samples.RSPAMD):
            return name == "a" or (name == "b" and way == "held" and self.size.delivered_by_all > 0)
        if way == "held" or peer.name in CORE:
            return True
        return peer.queues and number < self.size.delivered_by_all

    def syncs(self) -> dict[str, dict[str, dict[str, float]]]:
        found: dict[str, dict[str, dict[str, float]]] = {}
        for name, queues in [(one.name, one.queues) for one in self.peers if not one.name.endswith(samples.RSPAMD)]:
            for way in ("held", "delivered") if queues and (name in CORE or self.size.delivered_by_all) else ("held",):
                peer = PEERS[name](self.work / f"{name}-syncs")
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
            peer = PEERS[name](self.work / f"{name}-crowd")
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
                found[name] = test(self.work / f"growth-{name}", list(sizes), self.size.mails)
            except FAILURES as reason:
                self.skip(f"growth of the {name}", reason)
            self.say(f"growth of the {name} measured")
        return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one short round, few extras")
    parser.add_argument("--full", action="store_true", help="long rounds, 100,000 queued mails, 10,000 domains")
    parser.add_argument("--peers", help=f"only these, comma-separated: {', '.join(PEERS)}")
    parser.add_argument("--loads", help="only these: a,b,c")
    parser.add_argument("--ways", help="only these: held,delivered")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of one workload in one round")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of all servers' files")
    option = parser.parse_args()
    size = QUICK if option.quick else FULL if option.full else NORMAL
    part = bool(option.peers or option.loads or option.ways)
    if option.rounds or option.seconds:
        size = dataclasses.replace(size, rounds=option.rounds or size.rounds, seconds=option.seconds or size.seconds)
    console = Console(width=None if sys.stdout.isatty() else 140)
    _raise_file_limit()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are stopped on the way out
    STORE.mkdir(parents=True, exist_ok=True)
    option.work.mkdir(parents=True, exist_ok=True)
    bench = Bench(option.work / "servers", size, console)
    bench.clear()
    try:
        load.compiled()
    except Skip as reason:
        print(f"bench: {reason}", file=sys.stderr)
        return 69
    results: dict[str, Any] = {"format": 1, "at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")}
    results["size"] = asdict(size)
    results["machine"] = machine.facts(option.work)
    try:
        if option.peers:
            bench.size = dataclasses.replace(size, left_out=())
        bench.start(option.peers.split(",") if option.peers else list(PEERS))
        found = bench.side_by_side(
            option.loads.split(",") if option.loads else list(LOADS),
            option.ways.split(",") if option.ways else list(WAYS),
        )
        results["versions"] = {peer.name: peer.version for peer in bench.peers}
    finally:
        bench.stop()
    results["syncs"] = {} if part else bench.syncs()
    results["crowd"] = {} if part else bench.crowd()
    results["growth"] = {} if part else bench.growth()
    shutil.rmtree(bench.work, ignore_errors=True)
    rows = samples.summed_up(found)
    judged = goals.judged(rows, results["crowd"].get("postane", {}))
    results["skipped"] = bench.skipped
    table.print_all(console, results, rows, judged)
    if not part:
        results["rows"] = [asdict(row) for row in rows]
        results["samples"] = [asdict(sample) for sample in found]
        results["goals"] = [asdict(goal) | {"met": goal.met} for goal in judged]
        results["postfix"] = {"shipped": SHIPPED, "tuned": TUNED}
        console.print(f"written: {report.write(ROOT, results, rows, judged)}", markup=False)
    return 0


def _raise_file_limit() -> None:
    """Ten thousand idle connections need as many open files, in the servers too, which inherit this."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
