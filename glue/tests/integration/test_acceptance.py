"""`postane domain accept` on the demo, by the unprivileged user: every door of a real host."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.demo
ROOT = Path(__file__).parents[3]
ACCESS = Path(os.environ.get("POSTANE_ACCESS", ROOT / ".demo" / "access.json"))
DOMAIN = "demo.test"

# What a container of this machine cannot have: a name that the world knows, signatures above it, somebody outside.
NOT_HERE = {"mail.peer", "mail.echo", "tls.dane", "name.reverse"}


def postane(words: str) -> subprocess.CompletedProcess[str]:
    """As the user postane, from nowhere in particular."""
    inside = f"cd / && runuser -u postane -- postane {words}"
    name = json.loads(ACCESS.read_text())["container"]
    command = [ROOT / "scripts" / "containers", "ssh", name, "--", inside]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    done = postane(f"domain accept {DOMAIN} --json")
    found: dict[str, Any] = json.loads(done.stdout or "{}")
    bad = [(one["name"], one["reason"]["text"]) for one in found.get("checks", ()) if one["verdict"] == "fail"]
    assert (done.returncode, bad) == (0, []), done.stderr
    return found


def test_every_door_of_the_host(document: dict[str, Any]) -> None:
    not_passed = {one["name"]: one["reason"]["key"] for one in document["checks"] if one["verdict"] != "pass"}
    assert set(not_passed) == NOT_HERE
    assert document["verdict"] == "pass"


def test_what_the_servers_said(document: dict[str, Any]) -> None:
    said = {one["name"]: "\n".join(one["evidence"]) for one in document["checks"]}
    assert "S: 554 " in said["mail.spam"] or "folder: Junk" in said["mail.spam"]
    assert "(an authority of the provider's own)" in said["tls.imaps"]
    assert f"imap mail.{DOMAIN}:993 tls" in said["told.autoconfig"]
    assert "Authentication-Results: " in said["mail.in"]


def test_nothing_stays_and_the_document_is_good(document: dict[str, Any]) -> None:
    accounts = json.loads(postane(f"account list {DOMAIN} --json").stdout)
    aliases = json.loads(postane(f"alias list {DOMAIN} --json").stdout)
    assert not [one["address"] for one in [*accounts, *aliases] if "acceptance" in one["address"]]
    file = shlex.quote(f"{document['folder']}/certificate.json")
    assert postane(f"domain accept --verify {file}").returncode == 0
    last = json.loads(postane(f"domain accept {DOMAIN} --last --json").stdout)
    assert last == document
