"""The load generator (load.c): compiled when needed, run, and its figures read."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import packages
from bench.peer import Skip

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Load:
    """One workload. `per_connection` messages of `size` octets over each of `connections` at once.

    `stretch`: it runs so many times longer than others, where a message takes a good part of their time.
    """

    name: str
    size: int
    per_connection: int
    connections: int = 50
    stretch: float = 1.0


A = Load("a", 4096, 1)
B = Load("b", 4096, 100)
C = Load("c", 1024 * 1024, 10, stretch=2.0)
LOADS = {load.name: load for load in (A, B, C)}


def compiled() -> Path:
    """The program, made anew where its source is newer. Raises Skip where no C compiler is here."""
    program, source = HERE / "build" / "load", HERE / "load.c"
    if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
        return program
    compiler = packages.program("cc", "gcc libc6-dev")
    if compiler is None:
        raise Skip("a C compiler is needed for the load generator: apt-get install gcc libc6-dev")
    program.parent.mkdir(exist_ok=True)
    subprocess.run([compiler, "-O2", "-Wall", "-o", str(program), str(source)], check=True)
    return program


def command(mode: str, port: int, **options: object) -> list[str]:
    words = [str(compiled()), mode, "--port", str(port)]
    for key, value in options.items():
        words += [f"--{key.replace('_', '-')}", str(value)]
    return words


def send(
    load: Load,
    port: int,
    *,
    seconds: float = 0,
    messages: int = 0,
    to: str = "u%u@demo.test",
    to_count: int = 10,
    domains: int = 1,
) -> dict[str, Any]:
    """Sends until `messages` were begun or `seconds` are over. Returns load.c's figures: milliseconds, seconds."""
    words = command(
        "send",
        port,
        connections=load.connections,
        per_connection=load.per_connection,
        size=load.size,
        seconds=seconds,
        messages=messages,
        to=to,
        to_count=to_count,
        domains=domains,
    )
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result
