"""`postane check dkim|arc|dmarc` with a name server on the wire, as an operator runs it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from postane.admin import check as admin
from postane.cli.check import app
from support.dev import POSTANE
from support.dns import NameServer
from support.signing import MESSAGE, by_dkimpy, record, rsa_key, sealed, sign


def quoted(text: str) -> str:
    """A TXT record's data: a key is longer than one string may be."""
    return " ".join(f'"{text[at : at + 200]}"' for at in range(0, len(text), 200))


@pytest.fixture(scope="module")
def name_server() -> Iterator[tuple[NameServer, str]]:
    """Served by a loop of its own, since the command is waited for."""
    server = NameServer()
    server.add("rsa._domainkey.example.org", "TXT", quoted(record(rsa_key())))
    server.add("arc._domainkey.list.example", "TXT", quoted(record(rsa_key())))
    server.add("example.org", "TXT", quoted("v=spf1 ip4:192.0.2.1 -all"))
    server.add("_dmarc.example.org", "TXT", quoted("v=DMARC1; p=reject; sp=quarantine; np=none"))
    server.add("here.example.org", "A", "192.0.2.1")
    server.add("_dmarc.own.example.net", "TXT", quoted("v=DMARC1; p=none"))
    for name in ("_dmarc.silent.example", "rsa._domainkey.silent.example", "silent.example"):
        server.add(name, "TXT", '"x"')
        server.faults[name] = None
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    address = asyncio.run_coroutine_threadsafe(server.start(), loop).result(5)
    yield server, address
    loop.call_soon_threadsafe(server.stop)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5)
    loop.close()


def check(address: str, message: bytes, *arguments: str) -> tuple[int, Any]:
    done = CliRunner().invoke(app, [*arguments, "--nameserver", address], input=message)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, json.loads(done.stdout)


CLIENT = ("--ip", "192.0.2.1", "--helo", "mail.example.org", "--mail-from", "a@example.org")


def test_dkim(name_server: tuple[NameServer, str]) -> None:
    _, address = name_server
    message = by_dkimpy(MESSAGE)
    good = {"domain": "example.org", "selector": "rsa", "result": "pass", "reason": ""}
    assert check(address, message, "dkim") == (0, {"signatures": [good]})
    assert check(address, message.replace(b"\r\n", b"\n"), "dkim") == (0, {"signatures": [good]})
    bad = {**good, "result": "fail", "reason": "body hash did not verify"}
    assert check(address, message + b"more\r\n", "dkim") == (1, {"signatures": [bad]})
    assert check(address, MESSAGE, "dkim") == (0, {"signatures": []})
    # One that passes is enough.
    code, found = check(address, sign(message, s="gone"), "dkim")
    assert (code, [one["result"] for one in found["signatures"]]) == (0, ["permerror", "pass"])


def test_arc(name_server: tuple[NameServer, str]) -> None:
    _, address = name_server
    message = sealed(MESSAGE, "list.example", now=time.time())
    assert check(address, message, "arc") == (0, {"cv": "pass", "instances": 1, "reason": ""})
    assert check(address, MESSAGE, "arc") == (0, {"cv": "none", "instances": 0, "reason": ""})
    code, found = check(address, message + b"more\r\n", "arc")
    assert (code, found["cv"], found["reason"]) == (1, "fail", "ARC-Message-Signature: body hash did not verify")


def test_dmarc(name_server: tuple[NameServer, str]) -> None:
    _, address = name_server
    passed = {
        "result": "pass",
        "domain": "example.org",
        "organizational_domain": "example.org",
        "policy": "reject",
        "disposition": "none",
        "spf_aligned": True,
        "dkim_aligned": False,
    }
    assert check(address, MESSAGE, "dmarc", *CLIENT) == (0, passed)
    code, found = check(address, MESSAGE, "dmarc", "--ip", "198.51.100.1", *CLIENT[2:])
    assert (code, found) == (1, {**passed, "result": "fail", "disposition": "reject", "spf_aligned": False})
    below = MESSAGE.replace(b"ayse@example.org", b"ayse@here.example.org")
    code, found = check(address, below, "dmarc", *CLIENT, "--public-suffix-list")
    assert (found["result"], found["policy"], found["organizational_domain"]) == ("pass", "quarantine", "example.org")
    own = MESSAGE.replace(b"ayse@example.org", b"ayse@own.example.net")
    for arguments, organization in (((), "own.example.net"), (("--public-suffix-list",), "example.net")):
        code, found = check(address, own, "dmarc", *CLIENT, *arguments)
        assert (found["result"], found["organizational_domain"]) == ("fail", organization)
    missing = MESSAGE.replace(b"ayse@example.org", b"ayse@gone.example.org")
    code, found = check(address, missing, "dmarc", "--ip", "198.51.100.1", *CLIENT[2:])
    assert (code, found["result"], found["policy"]) == (1, "fail", "none")
    two = b"From: boss@example.org\r\n" + MESSAGE
    code, found = check(address, two, "dmarc", *CLIENT)
    assert (code, found["result"]) == (1, "permerror")


def test_a_silent_name_server_is_temperror_in_time(
    name_server: tuple[NameServer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A person waits 8 s for one answer and 16 s for all; the test cannot.
    assert admin.QUESTION_SECONDS < admin.CHECK_SECONDS < 18
    monkeypatch.setattr(admin, "QUESTION_SECONDS", 10.0)
    monkeypatch.setattr(admin, "CHECK_SECONDS", 0.5)
    _, address = name_server
    message = sign(MESSAGE.replace(b"example.org", b"silent.example"), d="silent.example")
    began = time.monotonic()
    code, found = check(address, message, "dmarc", *CLIENT[:4], "--mail-from", "a@silent.example")
    assert (code, found["result"], found["disposition"]) == (1, "temperror", "none")
    code, found = check(address, message, "dkim")
    assert (code, found["signatures"][0]["result"]) == (1, "temperror")
    assert time.monotonic() - began < 8


def test_the_command_reads_a_message_and_says_what_is_wrong(name_server: tuple[NameServer, str]) -> None:
    _, address = name_server
    command = [str(POSTANE), "check", "dmarc", *CLIENT, "--nameserver", address]
    done = subprocess.run(command, input=b"From: a, b\n\nbody\n", capture_output=True, timeout=25)
    assert (done.returncode, json.loads(done.stdout)["result"]) == (1, "permerror")
    assert done.stderr == b"postane: From has several addresses\n"
    command[4] = "nowhere"
    assert subprocess.run(command, input=MESSAGE, capture_output=True, timeout=25).returncode == 64
