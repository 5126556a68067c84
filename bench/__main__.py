"""`make bench`, and by hand: .venv/bin/python -m bench --peers postane,postfix-tuned --loads a,b --rounds 3"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

from bench import rounds
from bench.load import LOADS
from bench.peer import Peer, Skip
from bench.peers.postane import Postane
from bench.peers.postfix import Postfix

ROOT = Path(__file__).parent.parent
STORE = ROOT / ".cache" / "bench"

PEERS: dict[str, Callable[[Path], Peer]] = {
    "postane": lambda folder: Postane(folder, filters="none"),
    "postane-builtin": lambda folder: Postane(folder, filters="builtin"),
    "postfix-tuned": lambda folder: Postfix(folder, STORE, tuned=True),
    "postfix": lambda folder: Postfix(folder, STORE, tuned=False),
}
WAYS = {"held": rounds.held, "delivered": rounds.delivered}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--peers", default=",".join(PEERS))
    parser.add_argument("--loads", default="a,b,c")
    parser.add_argument("--ways", default="held,delivered")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--work", type=Path, default=Path("/var/tmp/postane-bench"))
    option = parser.parse_args()
    STORE.mkdir(parents=True, exist_ok=True)
    peers: list[Peer] = []
    try:
        for name in option.peers.split(","):
            peer = PEERS[name](option.work / name)
            peer.remove()
            try:
                peer.start()
                peers.append(peer)
            except Skip as reason:
                print(f"skipped: {name}: {reason}")
        samples = rounds.interleaved(
            peers,
            [LOADS[name] for name in option.loads.split(",")],
            {name: WAYS[name] for name in option.ways.split(",")},
            rounds=option.rounds,
            seconds=option.seconds,
            told=lambda one: print(
                f"{one.load} {one.way:9} {one.peer:16}",
                " ".join(f"{key} {value:.1f}" for key, value in one.figures.items()),
                one.first_error,
                flush=True,
            ),
        )
    finally:
        for peer in peers:
            peer.stop()
            peer.remove()
    for work in option.loads.split(","):
        for way in option.ways.split(","):
            base = 0.0
            for peer in sorted(peers, key=lambda one: one.name != "postfix-tuned"):
                mine = [one.figures for one in samples if (one.peer, one.load, one.way) == (peer.name, work, way)]
                middle = {key: statistics.median(one[key] for one in mine) for key in mine[0]}
                rate = middle.get("end_to_end", middle["rate"])
                base = base or rate
                print(
                    f"{work} {way:9} {peer.name:16} accepted/s {middle['rate']:7.0f}  end to end/s "
                    f"{middle.get('end_to_end', 0):7.0f}  x{rate / base:.2f}  cpu-ms {middle['cpu']:.3f}  "
                    f"p50 {middle['p50']:.1f}  p99 {middle['p99']:.1f}  MB {middle['memory'] / 1e6:.0f}  "
                    f"errors {sum(one['errors'] for one in mine):.0f}"
                )
    return 0


if __name__ == "__main__":
    sys.exit(main())
