"""The filter lists: whom it blocks and trusts, what proof it asks for, and who may write to an address."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import msgspec
import pytest

from postane.config.model import Dns
from postane.core.address import Address
from postane.core.envelope import Envelope, Recipient
from postane.core.peer import Peer, Service
from postane.core.question import Answer, Question
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters.base import Tools
from postane.filters.builtin.lists import Lists, Options
from support.signing import MESSAGE, NOW, Zone, by_dkimpy, record, rsa_key
from support.text import Text

GOOD = "192.0.2.1"  # SPF of example.org lets it send
BAD = "198.51.100.1"
SIGNED = by_dkimpy(MESSAGE)  # From: Ayse <ayse@example.org>
OWN = Peer(Service.SUBMISSION, "203.0.113.9", 1, login="ayse@demo.test", own=True)
HOST = Peer(Service.SMTP, "127.0.0.1", 1, own=True)

ids = map(str, itertools.count())


def made(zone: Zone | None = None, /, **options: Any) -> Lists:
    records = {"example.org": ["v=spf1 ip4:192.0.2.0/24 -all"], "rsa._domainkey.example.org": [record(rsa_key())]}
    known = zone or Zone(records)
    return Lists(msgspec.convert(options, Options), Tools("mx.test", Dns(), lambda: NOW, lambda: known.ask))


def rcpt(
    judge: Lists, sender: str = "ayse@example.org", ip: str = BAD, to: str = "all@demo.test", peer: Peer | None = None
) -> Verdict:
    return asyncio.run(judge.rcpt(peer or Peer(Service.SMTP, ip, 1, "h.test"), sender, Address.parse(to)))


def data(
    judge: Lists,
    text: bytes = MESSAGE,
    sender: str = "ayse@example.org",
    ip: str = BAD,
    to: tuple[str, ...] = ("all@demo.test",),
    peer: Peer | None = None,
) -> Verdict:
    envelope = Envelope(next(ids), sender, tuple(Recipient(one, one) for one in to), NOW)
    return asyncio.run(judge.data(peer or Peer(Service.SMTP, ip, 1, "h.test"), envelope, Text(text)))


def answer(verdict: Verdict) -> str:
    return str(verdict.reply)[:9] if verdict.reply else ("trust" if verdict.trust else "")


@pytest.mark.parametrize("entry", ["ayse@example.org", "example.org", ".example.org", ".org", "198.51.100.0/24"])
def test_a_blocked_sender_is_refused_before_the_text(entry: str) -> None:
    if entry == ".org":
        with pytest.raises(msgspec.ValidationError, match="two labels"):
            made(block=[entry])
        return
    verdict = rcpt(made(block=[entry]))
    assert (verdict.decision, answer(verdict)) == (Decision.REJECT, "550 5.7.1")
    assert entry in verdict.why
    assert entry not in str(verdict.reply)
    assert not verdict.opinion
    assert rcpt(made(block=[entry]), "b@other.example", GOOD) == ACCEPT
    assert answer(data(made(block=[entry]))) == "550 5.7.1"


@pytest.mark.parametrize(
    "header",
    [
        b"From: Boss <boss@bank.example>",
        b"From: a@other.example, boss@bank.example",
        b"From: a@other.example\r\nFrom: boss@bank.example",
        b"From : boss@bank.example",
    ],
)
def test_a_blocked_author_is_refused_after_it(header: bytes) -> None:
    judge = made(block=["bank.example"])
    assert rcpt(judge) == ACCEPT
    assert answer(data(judge, header + b"\r\n\r\nbody\r\n")) == "550 5.7.1"
    assert data(judge, b"From: a@other.example\r\nReply-To: boss@bank.example\r\n\r\n") == ACCEPT


@pytest.mark.parametrize("name", ["postmaster", "abuse"])
def test_whoever_is_blocked_can_still_complain(name: str) -> None:
    judge = made(block=["example.org"])
    assert rcpt(judge, to=f"{name}@demo.test") == ACCEPT
    assert data(judge, to=(f"{name}@demo.test",)) == ACCEPT
    assert answer(data(judge, to=(f"{name}@demo.test", "all@demo.test"))) == "550 5.7.1"


@pytest.mark.parametrize(
    ("ip", "text", "at_rcpt", "at_data"),
    [
        (GOOD, MESSAGE, "trust", "trust"),  # SPF
        (BAD, SIGNED, "", "trust"),  # DKIM
        (BAD, MESSAGE, "", ""),
        (BAD, SIGNED.replace(b"Hello", b"Hullo"), "", ""),
    ],
)
@pytest.mark.parametrize("entry", ["ayse@example.org", "example.org", ".example.org"])
def test_an_allowed_name_is_trusted_with_proof(ip: str, text: bytes, at_rcpt: str, at_data: str, entry: str) -> None:
    judge = made(allow=[entry])
    assert answer(rcpt(judge, ip=ip)) == at_rcpt
    assert answer(data(judge, text, ip=ip)) == at_data


def test_an_allowed_author_behind_another_envelope_sender() -> None:
    judge = made(allow=["ayse@example.org"])
    assert rcpt(judge, "bounce@esp.example") == ACCEPT
    assert answer(data(judge, SIGNED, "bounce@esp.example")) == "trust"
    assert data(judge, MESSAGE, "bounce@esp.example") == ACCEPT
    # SPF proves whoever sends, not whom the message says it is from.
    assert data(judge, b"From: ayse@example.org\r\n\r\n", "x@example.org", GOOD).trust
    assert not data(judge, b"From: other@example.org\r\n\r\n", "x@example.org", GOOD).trust


def test_what_needs_no_proof_of_a_name() -> None:
    assert answer(rcpt(made(allow=[BAD]))) == answer(data(made(allow=[BAD]))) == "trust"
    lax = made(allow=["example.org"], allow_needs="none")
    assert answer(rcpt(lax)) == answer(data(lax)) == "trust"
    mate = made(allow=["ayse@demo.test"])
    assert answer(rcpt(mate, "info@demo.test", peer=OWN)) == "trust"
    assert answer(data(mate, sender="info@demo.test", peer=OWN)) == "trust"


def test_levels_are_written_out_by_policies() -> None:
    levels = [{"allow": ["ayse@example.org"]}, {"block": [".example.org"]}]
    judge = made(levels=levels)
    assert answer(rcpt(judge, ip=GOOD)) == "trust"
    # A signature may still come: what only a wider level blocks is decided after the text.
    assert rcpt(judge) == ACCEPT
    assert answer(data(judge, SIGNED)) == "trust"
    assert answer(data(judge, MESSAGE)) == "550 5.7.1"
    assert answer(rcpt(judge, "b@example.org")) == "550 5.7.1"
    assert answer(rcpt(made(levels=levels, block=[BAD]), ip=BAD)) == "550 5.7.1"


def test_a_silent_dns_refuses_nobody_who_may_be_allowed() -> None:
    silent = Zone({name: Answer(failed="DNS: no answer") for name in ("example.org", "rsa._domainkey.example.org")})
    levels = [{"allow": ["ayse@example.org"]}, {"block": [".example.org"]}]
    judge = made(silent, levels=levels)
    assert rcpt(judge) == ACCEPT
    verdict = data(judge, SIGNED)
    assert (verdict.decision, answer(verdict)) == (Decision.DEFER, "451 4.7.1")
    assert data(made(silent, allow=["ayse@example.org"]), SIGNED) == Verdict(provisional=True)  # no trust
    assert answer(data(made(silent, **{"from": ["ayse@example.org"]}), SIGNED)) == "451 4.7.1"


@pytest.mark.parametrize(
    ("who", "sender", "peer", "at_rcpt"),
    [
        ("anyone", "x@other.example", None, ""),
        ("domain", "ayse@demo.test", OWN, ""),
        ("domain", "x@other.example", None, "550 5.7.1"),
        ("domain", "x@shop.test", None, "550 5.7.1"),
        ("domain", "", None, "550 5.7.1"),
        ("domain", "", HOST, ""),
        ("members", "x@other.example", None, "550 5.7.1"),
        ("members", "ayse@demo.test", OWN, ""),
        (["members", "friend@other.example"], "friend@other.example", None, ""),
        (["boss@demo.test"], "ayse@demo.test", OWN, "550 5.7.1"),
        (["ayse@demo.test"], "info@demo.test", OWN, ""),
        (["198.51.100.0/24"], "x@other.example", None, ""),
        (["198.51.100.0/24"], "", None, ""),
    ],
)
def test_who_may_write(who: Any, sender: str, peer: Peer | None, at_rcpt: str) -> None:
    judge = made(domains=["shop.test"], **{"from": who})
    assert answer(rcpt(judge, sender, peer=peer)) == at_rcpt
    if not at_rcpt and who != ["members", "friend@other.example"]:
        assert data(judge, sender=sender, peer=peer) == ACCEPT


def test_members_come_from_the_tenants_domains() -> None:
    mate = Peer(Service.SUBMISSION, GOOD, 1, login="x@shop.test", own=True)
    judge = made(domains=["shop.test"], **{"from": "members"})
    assert rcpt(judge, "x@shop.test", peer=mate) == ACCEPT
    assert data(judge, sender="x@shop.test", peer=mate) == ACCEPT


def test_single_addresses_have_their_own_circle() -> None:
    judge = made(addresses={"All@demo.test": "domain", "open@demo.test": "anyone"}, **{"from": ["boss@far.test"]})
    assert answer(rcpt(judge, "x@far.test", to="all@demo.test")) == "550 5.7.1"
    assert answer(rcpt(judge, "x@far.test", to="ALL+tag@demo.test")) == "550 5.7.1"
    assert rcpt(judge, "ayse@demo.test", to="all@demo.test", peer=OWN) == ACCEPT
    assert answer(rcpt(judge, "boss@far.test", to="all@demo.test")) == "550 5.7.1"
    assert rcpt(judge, "x@far.test", to="open@demo.test") == ACCEPT
    assert answer(rcpt(judge, "x@far.test", to="else@demo.test")) == "550 5.7.1"
    alone = made(addresses={"all@demo.test": "domain"})
    assert answer(rcpt(alone, "x@far.test", to="all@demo.test")) == "550 5.7.1"
    assert rcpt(alone, "x@far.test", to="allen@demo.test") == ACCEPT
    assert answer(data(alone, sender="ayse@demo.test", to=("all@demo.test", "b@demo.test"))) == "550 5.7.1"
    assert data(alone, sender="ayse@demo.test", to=("b@demo.test",)) == ACCEPT


def test_who_only_says_to_be_one_of_them_is_refused_after_the_text() -> None:
    judge = made(**{"from": "domain"})
    to = ("all@example.org",)
    assert rcpt(judge, to=to[0]) == ACCEPT
    assert answer(data(judge, to=to)) == "550 5.7.1"
    assert data(judge, SIGNED, to=to) == ACCEPT
    assert data(judge, ip=GOOD, to=to) == ACCEPT
    # A recipient whom the sender reaches by another policy is none of this one's business.
    assert data(judge, SIGNED, to=(*to, "b@other.test")) == ACCEPT
    # The host's programs carry what others sent.
    assert answer(data(judge, to=to, peer=HOST)) == "550 5.7.1"


def test_the_dns_is_asked_only_where_it_matters() -> None:
    zone = Zone({})
    judge = made(zone, allow=["friend@other.example"], block=["enemy.example"])
    assert rcpt(judge) == ACCEPT
    assert data(judge, SIGNED) == ACCEPT
    assert answer(rcpt(judge, "a@enemy.example")) == "550 5.7.1"
    assert zone.asked == []


def test_options() -> None:
    with pytest.raises(msgspec.ValidationError, match="nonsense@"):
        made(allow=["nonsense@"])
    with pytest.raises(msgspec.ValidationError, match=r"192\.0\.2\.1/24"):
        made(levels=[{"block": ["192.0.2.1/24"]}])
    with pytest.raises(msgspec.ValidationError, match="nobody"):
        made(**{"from": ["nobody"]})
    assert rcpt(made()) == ACCEPT
    assert data(made()) == ACCEPT


def test_a_resolver_that_breaks_is_for_the_failure_policy() -> None:
    async def broken(question: Question) -> Answer:
        raise ValueError

    tools = Tools("mx.test", Dns(), lambda: NOW, lambda: broken)
    judge = Lists(Options(allow=("example.org",)), tools)
    with pytest.raises(ValueError):
        rcpt(judge)
