"""What Rspamd is told, what its answers mean, and what happens when it does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from postane.config.model import Dns
from postane.core.envelope import Envelope, Recipient
from postane.core.peer import Peer, Service
from postane.core.question import Answer, Question
from postane.core.verdict import Decision, Verdict
from postane.filters.base import Tools
from postane.filters.builtin.rspamd import Options, Rspamd, _Answer, question, verdict
from postane.filters.pipeline import Pipeline
from postane.spool.draft import Draft
from support.zone import Zone

PEER = Peer(Service.SMTP, "192.0.2.1", 4711, "client.test", True, "TLSv1.3 TLS_AES_256_GCM_SHA384")
ENVELOPE = Envelope("01ID", "", (Recipient("b@y.test", "B@y.test"), Recipient("c@y.test")), 1.5)


def answer(**fields: Any) -> _Answer:
    return msgspec.convert({"action": "no action", "score": 0.1, "required_score": 15} | fields, _Answer)


def test_what_it_is_told() -> None:
    assert question(PEER, ENVELOPE, "mx.test", 77, "mail.client.test") == [
        ("Content-Length", "77"),
        ("Queue-Id", "01ID"),
        ("MTA-Name", "mx.test"),
        ("IP", "192.0.2.1"),
        ("Hostname", "mail.client.test"),
        ("Helo", "client.test"),
        ("From", ""),
        ("TLS-Version", "TLSv1.3"),
        ("TLS-Cipher", "TLS_AES_256_GCM_SHA384"),
        ("Deliver-To", "b@y.test"),
        ("Rcpt", "B@y.test"),
        ("Rcpt", "c@y.test"),
    ]


@pytest.mark.parametrize(
    ("action", "decision", "code"),
    [
        ("no action", Decision.ACCEPT, 0),
        ("greylist", Decision.ACCEPT, 0),
        ("add header", Decision.QUARANTINE, 0),
        ("rewrite subject", Decision.QUARANTINE, 0),
        ("soft reject", Decision.DEFER, 451),
        ("reject", Decision.REJECT, 554),
    ],
)
def test_what_an_action_means(action: str, decision: Decision, code: int) -> None:
    said = verdict(answer(action=action), Options())
    assert said.decision is decision
    assert (said.reply.code if said.reply else 0) == code
    assert said.opinion  # one whom the recipient trusts is spared it
    assert "X-Spam" not in dict(said.headers)  # where suspect mail goes is the recipient's matter


def test_a_reject_may_only_mark() -> None:
    said = verdict(answer(action="reject"), Options(reject=False))
    assert (said.decision, said.reply) == (Decision.QUARANTINE, None)


def test_the_reason_names_the_strongest_symbols() -> None:
    symbols = {f"S{n}": {"score": n} for n in range(30)} | {"HAM": {"score": -40}}
    said = verdict(answer(symbols=symbols, score=7), Options())
    assert said.why.startswith("Rspamd: no action, score 7.00 of 15.00: HAM(-40.00) S29(29.00) S28(28.00)")
    assert "S5(" not in said.why
    assert said.score == 7
    assert dict(said.headers)["X-Spamd-Result"].startswith("no action; score 7.00 / 15.00\r\n\tHAM(-40.00)\r\n\tS29")
    assert verdict(answer(), Options(header=False)).headers == ()


def test_its_words_reach_the_peer_clean() -> None:
    said = verdict(answer(action="reject", messages={"smtp_message": "No\r\n250 fine ş"}), Options())
    assert said.reply is not None
    assert said.reply.text == "No250 fine "


class World(Zone):
    """Nobody answers in time about 192.0.2.9."""

    async def ask(self, asked: Question) -> Answer:
        if "9.2.0.192" in asked.name:
            await asyncio.sleep(60)
        return self.answer(asked)


class Server:
    """Answers HTTP as it is told, over TCP or a socket file, and keeps what it read."""

    def __init__(self, body: bytes, status: int = 200, wait: float = 0.0) -> None:
        self.body, self.status, self.wait = body, status, wait
        self.asked: list[bytes] = []
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                self.asked.append(head + await reader.readexactly(length))
                await asyncio.sleep(self.wait)
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (self.status, len(self.body)) + self.body)
        except (asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


def judged(
    server: Server | None,
    tmp_path: Path,
    work: Callable[[Pipeline, Draft], Awaitable[Any]] | None = None,
    others: Sequence[dict[str, Any]] = ({},),
    zone: str = "",
    peer: Peer = PEER,
    **options: Any,
) -> Any:
    body = Draft(tmp_path, "01ID", 1000)
    body.append(b"Subject: hello\r\n\r\n" + b"x" * 3000 + b"\r\n")

    async def once(pipeline: Pipeline, draft: Draft) -> Verdict:
        return await pipeline.data(peer, ENVELOPE, draft)

    async def run() -> Any:
        url = f"{tmp_path}/none"
        listening = None
        if server is not None:
            listening = await asyncio.start_unix_server(server.serve, f"{tmp_path}/s")
            url = f"{tmp_path}/s"
        tools = Tools("mx.test", Dns(), lambda: 0.0, lambda: World(zone).ask)
        pipeline = Pipeline([Rspamd(Options(url=url, **(options | more)), tools) for more in others])
        try:
            return await (work or once)(pipeline, body)
        finally:
            await pipeline.close()
            if listening is not None:
                listening.close()

    return asyncio.run(run())


def test_the_message_goes_over_a_kept_connection(tmp_path: Path) -> None:
    server = Server(msgspec.json.encode({"action": "no action", "score": 1.5, "is_skipped": False}))

    async def thrice(pipeline: Pipeline, draft: Draft) -> list[Verdict]:
        return [await pipeline.data(PEER, replace(ENVELOPE, id=f"id{number}"), draft) for number in range(3)]

    verdicts = judged(server, tmp_path, thrice)
    assert [one.score for one in verdicts] == [1.5] * 3
    assert server.connections == 1
    assert server.asked[0].startswith(b"POST /checkv2 HTTP/1.1\r\n")
    assert b"Rcpt: B@y.test\r\nRcpt: c@y.test\r\n" in server.asked[0]
    assert server.asked[0].endswith(b"\r\n\r\nSubject: hello\r\n\r\n" + b"x" * 3000 + b"\r\n")


def test_policies_that_differ_in_what_follows_share_the_answer(tmp_path: Path) -> None:
    server = Server(msgspec.json.encode({"action": "reject", "score": 20}))
    said = judged(server, tmp_path, others=[{"reject": False}, {"reject": True}, {"header": False}])
    assert said.decision is Decision.REJECT
    assert said.score == 60
    assert len(server.asked) == 1


def test_what_other_filters_do_is_left_out(tmp_path: Path) -> None:
    server = Server(msgspec.json.encode({"action": "no action", "score": 1.5}))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    judged(server, tmp_path / "a", leave_out=("spf", "dkim"))
    assert b'\r\nSettings: {"groups_disabled":["spf","dkim"]}\r\n' in server.asked[0]
    judged(server, tmp_path / "b")
    assert b"Settings" not in server.asked[1]


NAMES = """
1.2.0.192.in-addr.arpa PTR mail.client.test
mail.client.test A 192.0.2.1
2.2.0.192.in-addr.arpa PTR mail.client.test
3.2.0.192.in-addr.arpa FAIL
"""


@pytest.mark.parametrize(
    ("peer", "told"),
    [
        (PEER, b"\r\nHostname: mail.client.test\r\n"),
        (replace(PEER, ip="192.0.2.2"), b""),  # a name that does not lead back is a claim
        (replace(PEER, ip="192.0.2.3"), b"\r\nHostname: unknown\r\n"),  # nobody can say now
        (replace(PEER, ip="192.0.2.4"), b""),
        (replace(PEER, ip="192.0.2.9"), b"\r\nHostname: unknown\r\n"),
        (replace(PEER, own=True), b"\r\nHostname: unknown\r\n"),
    ],
)
def test_the_name_of_the_address_is_told_as_far_as_it_is_true(tmp_path: Path, peer: Peer, told: bytes) -> None:
    server = Server(msgspec.json.encode({"action": "no action", "score": 1.5}))
    assert judged(server, tmp_path, zone=NAMES, peer=peer, timeout=1.0).decision is Decision.ACCEPT
    assert (told in server.asked[0]) if told else (b"Hostname" not in server.asked[0])


@pytest.mark.parametrize(
    "server",
    [None, Server(b"not JSON"), Server(b'{"score": 1}'), Server(b"{}", status=503), Server(b"{}", wait=5)],
    ids=["down", "rubbish", "half an answer", "503", "silent"],
)
@pytest.mark.parametrize(("policy", "decision"), [("defer", Decision.DEFER), ("skip", Decision.ACCEPT)])
def test_what_fails_has_the_verdict_of_the_policy(
    server: Server | None, tmp_path: Path, policy: str, decision: Decision
) -> None:
    said = judged(server, tmp_path, timeout=0.5, on_failure=policy)
    assert said.decision is decision
    assert said.headers == (("X-Postane-Unchecked", "rspamd"),)
