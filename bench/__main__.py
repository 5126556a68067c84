"""`make bench`, and by hand: .venv/bin/python -m bench --peers postane,postfix-tuned --loads a,b --rounds 3

--quick (make bench QUICK=1) takes under two minutes, the default under ten, --full (make bench FULL=1) about an hour.
With --peers, --loads or --ways only those rounds are run, and nothing is written.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import resource
import shutil
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import goals, load, machine, report, samples, table
from bench.load import LOADS
from bench.peer import Skip
from bench.peers.postfix import SHIPPED, TUNED
from bench.run import FULL, NORMAL, PEERS, QUICK, ROOT, STORE, WAYS, Bench

WORK = Path("/var/tmp/postane-bench")  # noqa: S108 - on the disk, not in memory as /tmp may be; emptied at each start


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
        results["alone"] = bench.alone()
        results["versions"] = {peer.name: peer.version for peer in bench.peers}
    finally:
        bench.stop()
    results["syncs"] = {} if part else bench.syncs()
    results["crowd"] = {} if part else bench.crowd()
    results["growth"] = {} if part else bench.growth()
    results["domains"] = [] if part else bench.domains()
    results["machine"]["load_after"] = round(os.getloadavg()[0], 2)
    shutil.rmtree(bench.work, ignore_errors=True)
    rows = samples.summed_up(found)
    judged = goals.judged(rows, results["crowd"].get("postane", {}), results["alone"], results["domains"])
    results["skipped"] = bench.skipped
    table.print_all(console, results, rows, judged)
    if not part:
        results["rows"] = [asdict(row) for row in rows]
        results["samples"] = [asdict(sample) for sample in found]
        results["goals"] = [asdict(goal) | {"met": goal.met} for goal in judged]
        results["postfix"] = {"shipped": SHIPPED, "tuned": TUNED}
        console.print(f"written: {report.write(ROOT, results, rows, judged, quick=option.quick)}", markup=False)
    return 0


def _raise_file_limit() -> None:
    """Ten thousand idle connections need as many open files, in the servers too, which inherit this."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
