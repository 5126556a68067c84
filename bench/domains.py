"""A whole host's domains at once, on a real Knot that signs: plan, apply, plan again, a round of looks for drift.

Each figure is that of the command `postane` as an operator types it, its start and its output included. The domains are
delegated to that Knot, so that a look goes the whole way: from a resolver to the parent, and to the domain's server.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from bench.knot import ADDRESS, HOST, Knot
from bench.name_server import NXDOMAIN, NameServer
from bench.peer import Skip
from bench.tree import memory

VERBS = ("plan", "apply", "again", "drift", "far")
_SECONDS = 3600  # at most, for one verb

# Any key does: only its public half is published.
_RSA = (
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA3P0yq5bqGq7Q3vW2yq2c5m0X5Jm9n0a8iJb6Wk1v5b0nQ9p4s1l2xw8K9m3fB7tYy6Hc"
    "1c3b0m9f7q5r2s8t4u6v1w3x5y7z9A1B3C5D7E9F1G3H5I7J9K1L3M5N7O9P1Q3R5S7T9U1V3W5X7Y9Z1a3b5c7d9e1f3g5h7i9j1k3l5m7n9o1p3q"
    "5r7s9t1u3v5w7x9y1z3A5B7C9D1E3F5G7H9I1J3K5L7M9N1O3P5Q7R9S1T3U5V7W9X1Y3Z5a7b9c1d3e5f7g9h1i3j5k7l9m1n3o5p7q9r1s3t5u7v"
    "9w1x3y5z7A9B1C3D5E7F9G1H3I5J7K9L1M3N5O7P9Q1R3S5T7U9V1W3X5QIDAQAB"
)
_ED25519 = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="


def measured(folder: Path, sizes: list[int]) -> list[dict[str, float]]:
    """For each number of domains: seconds of each of VERBS, `cpu` in ms a domain of the commands of all, changes
    of the second plan, questions a domain of `far`, octets of memory of Knot. `drift` is a round of looks at domains
    whose zones are read from Knot, `far` one at domains whose records are kept elsewhere: each is asked for.

    Raises Skip.
    """
    return [_one(folder, size) for size in sizes]


def _one(folder: Path, size: int) -> dict[str, float]:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    names = [f"d{number}.test" for number in range(size)]
    knot = Knot(folder / "knot", names)
    records = {("test", "NS"): [HOST], (HOST, "A"): [ADDRESS]}
    try:
        knot.start()
        with contextlib.closing(NameServer(NXDOMAIN, records=records)) as resolver:
            here, far = (
                _Command(folder, target, knot.socket, f"127.0.0.1:{resolver.port}") for target in ("knot", "manual")
            )
            here.run("directory", "upgrade")
            fill(folder / "directory.sqlite3", names)
            found = _verbs(here, far, folder, size)
        return found | {"domains": size, "memory": memory(knot.pid)}
    finally:
        knot.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _verbs(here: _Command, far: _Command, folder: Path, size: int) -> dict[str, float]:
    plans = str(folder / "all.plan")
    found: dict[str, float] = {}
    for verb, words in (
        ("plan", ["domain", "plan", "--all", "--out", plans]),
        ("apply", ["domain", "apply", plans, "--json"]),
        ("again", ["domain", "plan", "--all", "--json"]),
        ("drift", ["domain", "drift", "--look", "--json"]),
        ("far", ["domain", "drift", "--look", "--json"]),
    ):
        said, seconds, cpu = (far if verb == "far" else here).run(*words)
        found[verb] = seconds
        found["cpu"] = found.get("cpu", 0.0) + 1000 * cpu / size
        if verb == "apply":
            states = [one["state"] for one in json.loads(said)]
            if states != ["done"] * size:
                raise Skip(f"apply: {states.count('done')} of {size} domains were changed")
        elif verb == "again":
            found["changes"] = sum(one["changes"] for one in json.loads(said))
        elif verb == "far":
            done = json.loads(said)["round"]
            found["questions"] = done["asked"] / done["looked"]
    return found


class _Command:
    """The command `postane` over a configuration of its own. `target`: where records are put by default."""

    def __init__(self, folder: Path, target: str, control: str, resolver: str) -> None:
        self._config = folder / f"{target}.yml"
        dns = {
            "publish": "knot",
            "knot_socket": control,
            "addresses": [ADDRESS],
            "nameservers": [resolver],
        }
        # JSON is YAML.
        self._config.write_text(
            json.dumps({"host": HOST, "state": str(folder), "dns": dns, "domains": {"target": target}})
        )
        self._log = folder / "postane.log"

    def run(self, *words: str) -> tuple[str, float, float]:
        """What it printed, seconds, seconds of processor time. Raises Skip."""
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        with self._log.open("ab") as log:
            done = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "postane.cli.main",
                    "--config",
                    str(self._config),
                    *words,
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                timeout=_SECONDS,
                env=os.environ | {"NO_COLOR": "1"},
            )
        seconds, after = (
            time.monotonic() - begun,
            resource.getrusage(resource.RUSAGE_CHILDREN),
        )
        # 1: something is left to the operator, which is no failure of the verb.
        if done.returncode not in (0, 1):
            raise Skip(f"{' '.join(words[:2])}: exit {done.returncode}: {self._log.read_text(errors='replace')[-300:]}")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return done.stdout.decode(), seconds, cpu


def fill(path: Path, names: list[str]) -> None:
    """Domains with an account and two keys each, in one transaction: keys that are made one by one take minutes."""
    now = time.time()
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("INSERT INTO tenants (name, created_at) VALUES ('bench', ?)", (now,))
        tenant = database.execute("SELECT id FROM tenants WHERE name = 'bench'").fetchone()[0]
        for name in names:
            domain = database.execute(
                "INSERT INTO domains (tenant_id, name, active, created_at, state_since) VALUES (?, ?, 1, ?, ?)",
                (tenant, name, now, now),
            ).lastrowid
            database.execute(
                "INSERT INTO accounts (domain_id, address, local_part, display_name, quota_bytes, active, created_at)"
                " VALUES (?, ?, 'u0', '', 0, 1, ?)",
                (domain, f"u0@{name}", now),
            )
            for algorithm, public in (("rsa", _RSA), ("ed25519", _ED25519)):
                database.execute(
                    "INSERT INTO dkim_keys (domain_id, selector, algorithm, public_key, active, created_at)"
                    " VALUES (?, ?, ?, ?, 1, ?)",
                    (domain, f"postane-{algorithm}-1", algorithm, public, now),
                )
