"""Many who say little: idle sessions (memory each) and slow peers (the greeting time of one who comes meanwhile)."""

from __future__ import annotations

import contextlib
import json
import select
import smtplib
import socket
import ssl
import subprocess
from typing import Any

from bench import load, tree
from bench.peer import Peer, Skip


def idle(peer: Peer, count: int) -> dict[str, float]:
    """`count` plain sessions after EHLO. KiB of the tree's memory (PSS) a session, and how many were open."""
    before = tree.memory(peer.process.pid)
    client = subprocess.Popen(
        load.command("idle", peer.port, connections=count),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdout is not None
    try:
        ready, _, _ = select.select([client.stdout], [], [], 120)
        words = client.stdout.readline().split() if ready else []
        if words[:1] != ["holding"]:
            raise Skip(f"the idle sessions could not be opened: {' '.join(words)}")
        opened = int(words[1])
        after = tree.memory(peer.process.pid)
        rest, _ = client.communicate("", timeout=60)  # closes its standard input: it ends
    finally:
        client.kill()
        client.wait()
    result: dict[str, Any] = json.loads(rest.splitlines()[-1])
    each = (after - before) / 1024 / opened if opened else 0.0
    return {"asked": count, "opened": opened, "held": result["held"], "kib_each": each, "memory": after}


def idle_tls(peer: Peer, port: int, count: int) -> dict[str, float]:
    """The same for sessions after STARTTLS, at a submission port."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the certificate was made a moment ago by the server that is measured
    before = tree.memory(peer.process.pid)
    held = []
    try:
        for number in range(1, count + 1):
            source = f"127.2.{number >> 8}.{number & 255}"
            session = smtplib.SMTP("127.0.0.1", port, local_hostname="far.test", timeout=20, source_address=(source, 0))
            held.append(session)
            session.starttls(context=context)
            session.ehlo()
        after = tree.memory(peer.process.pid)
    except (OSError, smtplib.SMTPException) as error:
        raise Skip(f"TLS session {len(held)} of {count}: {error}") from None
    finally:
        for session in held:
            with contextlib.suppress(OSError):
                if isinstance(session.sock, socket.socket):
                    session.sock.close()
    return {"opened": count, "kib_each": (after - before) / 1024 / count, "memory": after}


def slow(peer: Peer, count: int, seconds: float) -> dict[str, float]:
    """`count` peers that drip an octet a second; ms until the greeting of a further one, median, p99 and worst."""
    cpu = tree.cpu_seconds(peer.process.pid)
    done = subprocess.run(
        load.command("slow", peer.port, connections=count, seconds=seconds), capture_output=True, text=True, check=True
    )
    cpu = tree.cpu_seconds(peer.process.pid) - cpu
    result: dict[str, Any] = json.loads(done.stdout)
    greeting = result["slow"]
    return {
        "slow_peers": result["opened"],
        "probes": greeting["messages"],
        "missed": greeting["errors"],
        "p50": greeting["p50"],
        "p99": greeting["p99"],
        "max": greeting["max"],
        "cpu_share": cpu / seconds,
    }
