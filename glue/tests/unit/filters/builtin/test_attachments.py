"""What a policy makes of the contents of a message, where they are looked at, and what happens when that fails."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

from postane.config.model import Dns
from postane.core.envelope import Envelope, Recipient
from postane.core.errors import ConfigError
from postane.core.peer import Peer, Service
from postane.core.verdict import Decision, Verdict
from postane.filters.base import Tools
from postane.filters.builtin import attachments as module
from postane.filters.builtin.attachments import EXTENSIONS, KINDS, Attachments, Options, Policy
from postane.filters.content.inspect import Contents, Item, inspect
from postane.filters.pipeline import Judge, Pipeline
from postane.spool.draft import Draft
from support.attach import PE, attached, multipart, named

PEER = Peer(Service.SMTP, "192.0.2.1", 4711, "client.test")
UNCHECKED = ("X-Postane-Unchecked", "attachments")


def tools() -> Tools:
    return Tools("mx.test", Dns(), lambda: 0.0)


def envelope(number: int = 0) -> Envelope:
    return Envelope(f"01ID{number}", "", (Recipient("b@y.test"),), 1.5)


def draft(folder: Path, text: bytes) -> Draft:
    body = Draft(folder, f"draft{time.monotonic_ns()}", 100_000)
    for at in range(0, len(text), 70_000):
        body.append(text[at : at + 70_000])
    return body


def judged(folder: Path, text: bytes, made: Tools | None = None, **options: Any) -> Verdict:
    made = made or tools()
    pipeline = Pipeline([Attachments(Options(**options), made)], Judge(metrics=made.metrics))
    return asyncio.run(pipeline.data(PEER, envelope(), draft(folder, text)))


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as one:
        for name, octets in files.items():
            one.writestr(name, octets)
    return out.getvalue()


def item(*names: str, kinds: tuple[str, ...] = (), shown: bool = False) -> Item:
    return Item((), names, frozenset(kinds), shown)


@pytest.mark.parametrize(
    ("found", "options", "decision", "says"),
    [
        (item("a.txt"), {}, Decision.ACCEPT, ""),
        (item("a.exe"), {}, Decision.REJECT, "Attachments of type .exe are not accepted"),
        (item("a.EXE"), {}, Decision.REJECT, "Attachments of type .exe are not accepted"),
        (item("a.txt", "a.js"), {}, Decision.REJECT, "Attachments of type .js are not accepted"),
        (item("a.exe"), {"forbidden": "quarantine"}, Decision.QUARANTINE, ""),
        (item("a.exe"), {"forbidden": "accept"}, Decision.ACCEPT, ""),
        (item("a.exe"), {"extensions": (".TXT",)}, Decision.ACCEPT, ""),
        (item("a.txt"), {"extensions": (".TXT",)}, Decision.REJECT, "Attachments of type .txt are not accepted"),
        (item("a.txt.{3050F4D8-98B5-11CF-BB82-00AA00BDCE0B}"), {}, Decision.REJECT, "Attachments of this type are not"),
        (item("Invoice 7.zip"), {"names": ("invoice*.zip",)}, Decision.REJECT, "An attachment has a name that is not"),
        (item("my invoice.zip"), {"names": ("invoice*.zip",)}, Decision.ACCEPT, ""),
        (item("a.dat", kinds=("pe",)), {}, Decision.REJECT, "Attachments of this kind are not accepted: pe"),
        (item("a.dat", kinds=("pe",)), {"kinds": ()}, Decision.ACCEPT, ""),
        (item("a.html", kinds=("html", "html_script")), {}, Decision.ACCEPT, ""),
        (item("a.html", kinds=("html", "html_script")), {"kinds": ("html_script",)}, Decision.REJECT, ""),
        (item(kinds=("shortcut",), shown=True), {}, Decision.ACCEPT, ""),
        (item("x", kinds=("shortcut",)), {}, Decision.REJECT, ""),
        (item("a.doc", kinds=("ole", "macros")), {}, Decision.QUARANTINE, ""),
        (item("a.doc", kinds=("ole", "macros")), {"macros": "reject"}, Decision.REJECT, "Documents with macros"),
        (item("a.doc", kinds=("ole", "macros")), {"macros": "accept"}, Decision.ACCEPT, ""),
        (item("a.txt", kinds=("encrypted",)), {}, Decision.QUARANTINE, ""),
        (item("a.txt", kinds=("encrypted",)), {"encrypted": "reject"}, Decision.REJECT, "Encrypted attachments"),
        (item("a.zip", kinds=("zip", "unreadable")), {}, Decision.QUARANTINE, ""),
        (item("a.zip", kinds=("zip", "unreadable")), {"unreadable": "accept"}, Decision.ACCEPT, ""),
        (item("a.ş\r\nç"), {"extensions": ("ş\r\nç",)}, Decision.REJECT, "Attachments of type .???? are"),
    ],
)
def test_a_policy(found: Item, options: dict[str, Any], decision: Decision, says: str) -> None:
    verdict = Policy(Options(**options)).judge(Contents((item("first.dat"), found)))
    assert verdict.decision is decision
    assert (verdict.reply is not None) is (decision is Decision.REJECT)
    if verdict.reply is not None:
        assert str(verdict.reply).startswith(f"554 5.7.1 {says}")
    assert not verdict.opinion


def test_the_strongest_decides() -> None:
    contents = Contents((item("a.doc", kinds=("macros",)), item("b.exe")), "over 3 parts")
    assert Policy(Options()).judge(contents).decision is Decision.REJECT
    assert Policy(Options(forbidden="accept", on_bound="reject")).judge(contents).decision is Decision.REJECT


@pytest.mark.parametrize(
    ("choice", "decision"),
    [("reject", Decision.REJECT), ("quarantine", Decision.QUARANTINE), ("accept", Decision.ACCEPT)],
)
def test_what_was_not_seen_as_a_whole_is_always_marked(choice: Any, decision: Decision) -> None:
    verdict = Policy(Options(on_bound=choice)).judge(Contents((item("a.txt"),), "over 3 parts"))
    assert (verdict.decision, verdict.headers) == (decision, (UNCHECKED,))
    weaker = Policy(Options(on_bound=choice)).judge(Contents((item("a.doc", kinds=("macros",)),), "over 3 parts"))
    assert weaker.headers == (UNCHECKED,)


def test_the_default_lists_can_be_used() -> None:
    assert {"exe", "js", "vbs", "lnk", "iso", "one", "hta"} <= set(EXTENSIONS)
    assert not {"pdf", "docx", "zip", "html", "txt", "eml"} & set(EXTENSIONS)
    assert all(one == one.casefold() for one in EXTENSIONS)
    assert {"pe", "shortcut", "disk_image"} <= set(KINDS)


@pytest.mark.parametrize("padding", [0, 200_000], ids=["small", "large, from its file"])
def test_a_message_is_looked_into(tmp_path: Path, padding: int) -> None:
    for octets, name in ((PE, "a.txt"), (b"hello", "a.exe"), (zipped({"x/b.scr": b"y"}), "a.zip")):
        verdict = judged(tmp_path, attached(octets, name) + b"\r\n" * (padding // 2))
        assert verdict.decision is Decision.REJECT
        assert verdict.why.startswith("attachments: a.")
    assert judged(tmp_path, attached(b"hello" * (padding // 5 + 1), "a.txt")).decision is Decision.ACCEPT


def where(folder: Path, monkeypatch: pytest.MonkeyPatch, text: bytes) -> set[str]:
    """The threads in which the message is looked into to its end."""
    ends: set[str] = set()

    def spy(*args: Any, **more: Any) -> Contents:
        found = inspect(*args, **more)
        ends.add(threading.current_thread().name.partition("_")[0])
        return found

    monkeypatch.setattr(module, "inspect", spy)
    judged(folder, text)
    return ends


def test_only_what_is_small_and_simple_is_looked_at_in_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert where(tmp_path, monkeypatch, attached(b"hello", "a.txt")) == {"MainThread"}


@pytest.mark.parametrize(
    "text",
    [
        attached(zipped({"a": b"b"}), "a.zip"),
        attached(os.urandom(100_000), "a.jpg"),
    ],
    ids=["an archive", "large"],
)
def test_the_rest_is_looked_at_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    assert where(tmp_path, monkeypatch, text) == {"attachments"}


def test_so_is_what_takes_the_loop_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HERE_SECONDS", 0.0)  # how fast this machine is plays no part
    many = b"\r\n" + b"--a\r\nContent-Type: x/y\r\n\r\n" * 2000
    assert where(tmp_path, monkeypatch, many) == {"attachments"}


def test_policies_of_one_message_share_the_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def spy(*args: Any, **more: Any) -> Contents:
        looks.append(1)
        return inspect(*args, **more)

    monkeypatch.setattr(module, "inspect", spy)
    made, body = tools(), draft(tmp_path, attached(b"x", "a.exe"))

    async def work() -> list[Decision]:
        filters = [Attachments(Options(forbidden=choice), made) for choice in ("reject", "quarantine", "accept")]
        return [one.decision for one in await asyncio.gather(*(f.data(PEER, envelope(), body) for f in filters))]

    assert asyncio.run(work()) == [Decision.REJECT, Decision.QUARANTINE, Decision.ACCEPT]
    assert len(looks) == 1


def test_a_bound_is_counted(tmp_path: Path) -> None:
    made = tools()
    text = attached(gzip.compress(bytes(30_000_000)), "a.gz")
    verdict = judged(tmp_path, text, made)
    assert (verdict.decision, verdict.headers) == (Decision.QUARANTINE, (UNCHECKED,))
    assert b"postane_filter_attachments_bounds_total 1.0" in made.metrics.render()


@pytest.mark.parametrize(("policy", "decision"), [("defer", Decision.DEFER), ("skip", Decision.ACCEPT)])
@pytest.mark.parametrize("accident", ["raises", "is late", "has no thread in time", "has too many before it"])
def test_what_fails_has_the_verdict_of_the_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accident: str, policy: str, decision: Decision
) -> None:
    options: dict[str, Any] = {"timeout": 0.3, "seconds": 0.2, "on_failure": policy}
    text = attached(zipped({"a": b"b"}), "a.zip")
    held = threading.Event()
    if accident == "raises":

        def broken(*_: Any, **__: Any) -> Contents:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(module, "inspect", broken)
    elif accident == "is late":
        monkeypatch.setattr(module, "inspect", lambda *_, **__: time.sleep(0.6))
    elif accident == "has no thread in time":
        for _ in range(2):
            module._threads()._pool.submit(held.wait, 2)
        threading.Timer(0.15, held.set).start()
    else:
        monkeypatch.setattr(module, "_WAITING", 0)
    try:
        verdict = judged(tmp_path, text, **options)
    finally:
        held.set()
    assert (verdict.decision, verdict.headers) == (decision, (UNCHECKED,))


def test_a_peer_that_leaves_takes_nothing_with_it(tmp_path: Path) -> None:
    """The text is given up while the thread still reads it."""
    body = draft(tmp_path, multipart(*[named(os.urandom(400_000), f"{n}.bin") for n in range(10)]))

    async def work() -> None:
        task = asyncio.ensure_future(Attachments(Options(), tools()).data(PEER, envelope(), body))
        await asyncio.sleep(0.005)
        task.cancel()
        body.discard()

    asyncio.run(work())
    assert judged(tmp_path, attached(zipped({"a": b"b"}), "a.zip")).decision is Decision.ACCEPT


def test_more_time_than_a_call_has_is_refused_early() -> None:
    with pytest.raises(ConfigError, match="seconds"):
        Attachments(Options(timeout=5.0, seconds=5.0), tools())
