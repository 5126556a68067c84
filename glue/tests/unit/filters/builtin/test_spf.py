"""The filter: who is checked, what policy makes of a result, and what is remembered between the phases."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from postane.config.model import Dns
from postane.core.envelope import Envelope, Recipient
from postane.core.peer import Peer, Service
from postane.core.question import Answer, Question
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters.base import Tools
from postane.filters.builtin.spf import Options, Spf
from postane.filters.pipeline import Pipeline
from postane.spool.draft import Draft
from support.zone import Zone

PEER = Peer(Service.SMTP, "192.0.2.3", 4711, "h.example")
ZONE = """
pass.example TXT v=spf1 ip4:192.0.2.0/24 -all
fail.example TXT v=spf1 -all exp=why.example
why.example TXT ask %{i}
soft.example TXT v=spf1 ~all
broken.example TXT v=spf1 moo
down.example FAIL
h.example TXT v=spf1 -all
"""
STRICT = Options(fail="reject", temperror="defer", permerror="reject")


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def made(options: Options = STRICT, zone: Zone | None = None, now: Clock | None = None) -> Spf:
    ask = (zone or Zone(ZONE)).ask
    return Spf(options, Tools("mx.test", Dns(), now or Clock(), lambda: ask))


def mail(sender: str, options: Options = STRICT, peer: Peer = PEER) -> Verdict:
    return asyncio.run(made(options).mail(peer, sender))


@pytest.mark.parametrize(
    ("sender", "decision", "reply"),
    [
        ("a@pass.example", Decision.ACCEPT, ""),
        ("a@soft.example", Decision.ACCEPT, ""),
        ("a@none.example", Decision.ACCEPT, ""),
        (
            "a@fail.example",
            Decision.REJECT,
            "550 5.7.23 SPF: fail.example does not let this client send for it\nfail.example explains: ask 192.0.2.3",
        ),
        ("", Decision.REJECT, "550 5.7.23 SPF: h.example does not let this client send for it"),
        ("a@broken.example", Decision.REJECT, "550 5.7.24 SPF: the record of broken.example is in error"),
        ("a@down.example", Decision.DEFER, "451 4.7.24 SPF: down.example cannot be asked now; try again later"),
    ],
)
def test_policy(sender: str, decision: Decision, reply: str) -> None:
    strict = mail(sender)
    assert (strict.decision, str(strict.reply or "")) == (decision, reply)
    assert "SPF: " in strict.why
    lax = mail(sender, Options())
    assert (lax.decision, lax.reply) == (Decision.ACCEPT, None)
    assert (strict.opinion, strict.at_once) == (True, False)
    assert mail(sender, msgspec.structs.replace(STRICT, at_once=True)).at_once


@pytest.mark.parametrize(
    ("peer", "checked"),
    [
        (PEER, True),
        (Peer(Service.SUBMISSION, "192.0.2.3", 1, "h.example", login="ayse@x.example"), False),
        (Peer(Service.SMTP, "127.0.0.1", 1, "h.example"), False),
        (Peer(Service.SMTP, "::1", 1, "h.example"), False),
        (Peer(Service.SMTP, "198.51.100.7", 1, "h.example"), False),
    ],
)
def test_who_is_checked(peer: Peer, checked: bool, tmp_path: Path) -> None:
    own = ("127.0.0.0/8", "::1/128", "198.51.100.0/24")
    assert (mail("a@fail.example", Options(fail="reject", trusted_peers=own), peer) != ACCEPT) is checked
    assert bool(data(made(Options(trusted_peers=own)), "a@fail.example", tmp_path, peer).headers) is checked


def test_a_network_that_is_none() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"10\.0\.0\.1/8 has host bits set"):
        msgspec.convert({"trusted_peers": ["10.0.0.1/8"]}, Options)


def data(judge: Spf, sender: str, folder: Path, peer: Peer = PEER) -> Verdict:
    envelope = Envelope("01ID", sender, (Recipient("b@y.test"),), 1.5)
    body = Draft(folder, "message", 1 << 20)
    return asyncio.run(Pipeline([judge]).data(peer, envelope, body))


def test_the_header_of_the_data_phase_asks_nothing_again(tmp_path: Path) -> None:
    zone, now = Zone(ZONE), Clock()
    judge = made(Options(), zone, now)
    asyncio.run(judge.mail(PEER, "a@fail.example"))
    asked = len(zone.questions)
    assert asked
    ((name, value),) = data(judge, "a@fail.example", tmp_path).headers
    assert name == "Received-SPF"
    assert value.startswith("fail (mx.test: domain of fail.example forbids 192.0.2.3)\r\n\tidentity=mailfrom;")
    assert len(zone.questions) == asked
    # Another sender, another HELO, another client, and the same much later, are other questions.
    data(judge, "b@fail.example", tmp_path)
    data(judge, "a@fail.example", tmp_path, Peer(Service.SMTP, "192.0.2.3", 1, "g.example"))
    data(judge, "a@fail.example", tmp_path, Peer(Service.SMTP, "192.0.2.4", 1, "h.example"))
    assert len(zone.questions) == 4 * asked
    now.now += 301
    data(judge, "a@fail.example", tmp_path)
    assert len(zone.questions) == 5 * asked


def test_no_header_where_none_is_wanted(tmp_path: Path) -> None:
    assert data(made(Options(header=False)), "a@fail.example", tmp_path) == ACCEPT


def test_a_silent_dns_is_a_temperror_of_the_filter_itself() -> None:
    async def ask(question: Question) -> Answer:
        await asyncio.sleep(60)
        raise AssertionError

    judge = Spf(Options(temperror="defer", seconds=0.1), Tools("mx.test", Dns(), Clock(), lambda: ask))
    verdict = asyncio.run(Pipeline([judge]).mail(PEER, "a@pass.example"))
    assert str(verdict.reply).startswith("451 4.7.24 SPF: pass.example cannot be asked now")


@pytest.mark.parametrize(("policy", "code"), [("defer", 451), ("reject", 554), ("skip", 0)])
def test_its_own_failure_is_for_the_policy(policy: Any, code: int) -> None:
    async def ask(question: Question) -> Answer:
        raise ValueError("broken")

    judge = Spf(Options(on_failure=policy), Tools("mx.test", Dns(), Clock(), lambda: ask))
    verdict = asyncio.run(Pipeline([judge]).mail(PEER, "a@pass.example"))
    assert (verdict.reply.code if verdict.reply else 0) == code


def test_a_reply_line_has_its_limit() -> None:
    zone = Zone(f"fail.example TXT v=spf1 -all exp=why.example\nwhy.example TXT {'x' * 1000}")
    domain = f"{'a' * 60}.{'b' * 60}.{'c' * 60}.{'d' * 50}.fail.example"
    zone.add(domain, "TXT", "v=spf1 redirect=fail.example")
    verdict = asyncio.run(made(STRICT, zone).mail(PEER, f"a@{domain}"))
    assert verdict.reply is not None
    assert max(map(len, verdict.reply.wire().splitlines(keepends=True))) <= 512
