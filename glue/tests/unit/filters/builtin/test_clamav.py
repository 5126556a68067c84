"""What clamd is sent, what its answers mean, and what happens when it does not answer."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop

from postane.config.model import Dns
from postane.core.envelope import Envelope, Recipient
from postane.core.errors import ConfigError
from postane.core.peer import Peer, Service
from postane.core.verdict import Decision, Verdict
from postane.filters.base import Tools
from postane.filters.builtin.clamav import Answer, ClamAV, ClamdError, Options, judge, read
from postane.filters.pipeline import Judge, Pipeline
from postane.spool.draft import Draft
from support import clamd

PEER = Peer(Service.SMTP, "192.0.2.1", 4711, "client.test")
UNCHECKED = ("X-Postane-Unchecked", "clamav")
SMALL = b"Subject: hello\r\n\r\n" + b"x" * 3000 + b"\r\n"
LARGE = b"Subject: hello\r\n\r\n" + b"0123456789abcdef" * 60_000 + b"\r\n"


def tools() -> Tools:
    return Tools("mx.test", Dns(), lambda: 0.0)


def envelope(number: int = 0) -> Envelope:
    return Envelope(f"01ID{number}", "", (Recipient("b@y.test"),), 1.5)


def draft(folder: Path, text: bytes, limit: int = 100_000) -> Draft:
    body = Draft(folder, f"draft{len(list(folder.iterdir()))}", limit)
    for at in range(0, len(text), 70_000):
        body.append(text[at : at + 70_000])
    return body


def run(work: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # the loop of the real processes
        return runner.run(work)


def judged(folder: Path, script: clamd.Script | None, text: bytes = SMALL, **options: Any) -> tuple[Verdict, Tools]:
    made = tools()

    async def once() -> Verdict:
        path = folder / "s"
        filters = [ClamAV(Options(address=str(path), **options), made)]
        if script is None:
            return await Pipeline(filters, Judge(metrics=made.metrics)).data(PEER, envelope(), draft(folder, text))
        async with clamd.Peer(path, script):
            return await Pipeline(filters, Judge(metrics=made.metrics)).data(PEER, envelope(), draft(folder, text))

    return run(once()), made


@pytest.mark.parametrize("text", [b"", SMALL, LARGE], ids=["empty", "small", "large, from its file"])
def test_the_whole_message_goes_out_in_chunks(tmp_path: Path, text: bytes) -> None:
    got = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await clamd.stream(reader))
        writer.write(b"stream: OK\0")

    verdict, _ = judged(tmp_path, script, text)
    assert (verdict.decision, verdict.headers) == (Decision.ACCEPT, ())
    assert got == [text]


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"stream: OK", Answer()),
        (b"1: stream: OK", Answer()),
        (b"stream: Win.Test.EICAR_HDB-1 FOUND", Answer("Win.Test.EICAR_HDB-1")),
        (b"stream: Eicar-Test.UNOFFICIAL(44d88612fea8a8f36de82e1278abb02f:68) FOUND", Answer("Eicar-Test.UNOFFICIAL")),
        ("stream: a\r\n250 okş FOUND".encode(), Answer("a??250?ok??")),
        (b"stream: " + b"x" * 3000 + b" FOUND", Answer("x" * 120)),
        (b"stream: OK FOUND", Answer("OK")),
    ],
)
def test_what_clamd_may_say(said: bytes, answer: Answer) -> None:
    assert read(said) == answer


def test_limits_of_clamd_are_no_viruses_and_not_clean() -> None:
    assert read(b"INSTREAM size limit exceeded. ERROR").limit
    assert read(b"stream: Heuristics.Limits.Exceeded.MaxScanSize FOUND").limit
    assert judge(read(b"stream: Heuristics.Limits.Exceeded.MaxScanSize FOUND"), Options()).headers == (UNCHECKED,)


@pytest.mark.parametrize(
    "said", [b"", b"OK", b"stream: ", b"stream: OK\nstream: OK", b"UNKNOWN COMMAND", b"\xff\xfe", b"x stream: OK"]
)
def test_anything_else_is_no_answer(said: bytes) -> None:
    with pytest.raises(ClamdError) as caught:
        read(said)
    assert caught.value.cause == "rubbish"


def test_a_virus_is_refused_by_name(tmp_path: Path) -> None:
    verdict, made = judged(tmp_path, clamd.says(b"stream: Eicar-Test FOUND\0"))
    assert str(verdict.reply) == "554 5.7.1 The message holds a virus: Eicar-Test"
    assert verdict.why == "ClamAV: Eicar-Test"
    assert not verdict.opinion  # no trust in a sender outweighs it
    assert b'postane_filter_clamav_total{outcome="virus"} 1.0' in made.metrics.render()


@pytest.mark.parametrize(
    ("options", "virus", "decision"),
    [
        (Options(), "Eicar-Test", Decision.REJECT),
        (Options(on_virus="quarantine"), "Eicar-Test", Decision.QUARANTINE),
        (Options(), "Heuristics.Encrypted.Zip", Decision.QUARANTINE),
        (Options(suspect=()), "Heuristics.Encrypted.Zip", Decision.REJECT),
        (Options(suspect=("*UNOFFICIAL",)), "Some.UNOFFICIAL", Decision.QUARANTINE),
    ],
)
def test_what_follows_from_a_virus(options: Options, virus: str, decision: Decision) -> None:
    assert judge(Answer(virus), options).decision is decision


@pytest.mark.parametrize(
    ("policy", "decision", "code", "headers"),
    [
        ("accept", Decision.ACCEPT, 0, ()),
        ("mark", Decision.ACCEPT, 0, (UNCHECKED,)),
        ("reject", Decision.REJECT, 552, ()),
        ("defer", Decision.DEFER, 451, ()),
    ],
)
@pytest.mark.parametrize("by", ["us", "clamd, at the end", "clamd, in mid-stream"])
def test_what_follows_from_a_large_message(
    tmp_path: Path, by: str, policy: Any, decision: Decision, code: int, headers: Any
) -> None:
    exceeded = b"INSTREAM size limit exceeded. ERROR\0"
    script, most = {
        "us": (None, 500_000),
        "clamd, at the end": (clamd.says(exceeded), 25_000_000),
        "clamd, in mid-stream": (clamd.cuts(exceeded), 25_000_000),
    }[by]
    verdict, made = judged(tmp_path, script, LARGE, max_size=most, too_large=policy)
    assert (verdict.decision, verdict.reply.code if verdict.reply else 0) == (decision, code)
    assert verdict.headers == headers
    assert b'postane_filter_clamav_total{outcome="too_large"} 1.0' in made.metrics.render()


FAULTS: dict[str, tuple[clamd.Script | None, str]] = {
    "down": (None, "down"),
    "silent": (clamd.says(b"stream: OK\0", wait=5), "late"),
    "silent from the start": (lambda reader, writer: asyncio.sleep(5), "late"),
    "lost in mid-stream": (clamd.cuts(), "lost"),
    "lost at the end": (clamd.says(b""), "lost"),
    "half an answer": (clamd.says(b"stream: O"), "lost"),
    "rubbish": (clamd.says(b"HTTP/1.1 400 Bad Request\r\n"), "rubbish"),
    "endless": (clamd.says(b"x" * 100_000), "rubbish"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    ("policy", "decision"), [("defer", Decision.DEFER), ("skip", Decision.ACCEPT), ("reject", Decision.REJECT)]
)
def test_what_fails_has_the_verdict_of_the_policy(tmp_path: Path, fault: str, policy: str, decision: Decision) -> None:
    script, cause = FAULTS[fault]
    verdict, made = judged(tmp_path, script, LARGE, timeout=0.3, on_failure=policy)
    assert verdict.decision is decision
    assert verdict.headers == (UNCHECKED,)
    counted = made.metrics.render().decode()
    assert f'postane_filter_clamav_failures_total{{cause="{cause}"}} 1.0' in counted
    assert 'postane_filter_failures_total{filter="clamav",phase="data"} 1.0' in counted


def test_an_answer_before_the_end_is_enough(tmp_path: Path) -> None:
    """clamd reads nothing more and does not close either."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(14)
        await asyncio.sleep(0.1)  # by now nothing more goes out
        writer.write(b"stream: Eicar-Test FOUND\0")
        await asyncio.sleep(3)

    begun = time.monotonic()
    verdict, _ = judged(tmp_path, script, LARGE * 3)
    assert verdict.decision is Decision.REJECT
    assert time.monotonic() - begun < 2


def test_so_many_at_once_then_they_wait_then_they_fail(tmp_path: Path) -> None:
    async def work() -> tuple[list[Verdict], clamd.Peer]:
        async with clamd.Peer(tmp_path / "s", clamd.says(b"stream: OK\0", wait=0.01)) as peer:
            made = tools()
            # Two policies of one clamd: the bound is theirs together.
            pipelines = [
                Pipeline([ClamAV(Options(address=str(peer.path), connections=2, on_virus=policy), made)])
                for policy in ("reject", "quarantine")
            ]
            calls = [pipelines[number % 2].data(PEER, envelope(number), draft(tmp_path, SMALL)) for number in range(25)]
            return list(await asyncio.gather(*calls)), peer

    verdicts, peer = run(work())
    assert peer.most_at_once == 2
    # Two are asked, twenty wait, three are too many: they are deferred, and say so.
    assert [one.decision for one in verdicts].count(Decision.ACCEPT) == 22
    assert [one.headers for one in verdicts].count((UNCHECKED,)) == 3


def test_policies_of_one_message_share_the_answer(tmp_path: Path) -> None:
    async def work() -> tuple[list[Verdict], int]:
        async with clamd.Peer(tmp_path / "s", clamd.says(b"stream: Eicar FOUND\0")) as peer:
            made, body = tools(), draft(tmp_path, SMALL)
            filters = [
                ClamAV(Options(address=str(peer.path), on_virus="reject"), made),
                ClamAV(Options(address=str(peer.path), on_virus="quarantine"), made),
            ]
            return [await one.data(PEER, envelope(), body) for one in filters], peer.connections

    verdicts, connections = run(work())
    assert [one.decision for one in verdicts] == [Decision.REJECT, Decision.QUARANTINE]
    assert connections == 1


def test_over_tcp(tmp_path: Path) -> None:
    async def work() -> Verdict:
        script = clamd.says(b"stream: OK\0")

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await script(reader, writer)
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            one = ClamAV(Options(address=f"127.0.0.1:{port}"), tools())
            return await one.data(PEER, envelope(), draft(tmp_path, LARGE))

    assert run(work()).decision is Decision.ACCEPT


def test_a_door_that_is_full_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as first:
        listening.bind(str(path))
        listening.listen(0)
        first.connect(str(path))  # the one that the queue has place for

        def serve() -> None:
            for _ in range(2):
                line, _peer = listening.accept()
                if line.recv(1):
                    line.sendall(b"stream: OK\0")
                    line.recv(100_000)
                line.close()

        thread = threading.Timer(0.2, serve)
        thread.start()
        first.close()
        one = ClamAV(Options(address=str(path)), tools())
        assert run(one.data(PEER, envelope(), draft(tmp_path, SMALL))).decision is Decision.ACCEPT
        thread.join()


@pytest.mark.parametrize("address", ["clamd", "host:", ":3310", "host:0", "host:70000"])
def test_an_address_that_is_none_is_refused_early(address: str) -> None:
    with pytest.raises(ConfigError, match="neither the path"):
        ClamAV(Options(address=address), tools())
