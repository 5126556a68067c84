"""What the filter makes of what authentication found: verdicts, the header, and forged results taken out."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from postane.config.model import Dns
from postane.core.envelope import Envelope, Recipient
from postane.core.peer import Peer, Service
from postane.core.question import Answer
from postane.core.verdict import Decision, Verdict
from postane.filters.auth.message import MAX_HEAD, MAX_LINES
from postane.filters.base import Tools
from postane.filters.builtin.authentication import FALSE_NAME, UNCLEAR, Authentication, Options
from postane.spool.draft import Draft
from support.signing import MESSAGE, NOW, SILENT, Zone, record, rsa_key, sealed, sign

RECORDS: dict[str, Sequence[str] | Answer] = {
    "example.org": ["v=spf1 ip4:192.0.2.1 -all"],
    "rsa._domainkey.example.org": [record(rsa_key())],
    "arc._domainkey.list.example": [record(rsa_key())],
    "arc._domainkey.forwarder.example": [record(rsa_key())],
    "_dmarc.example.org": ["v=DMARC1; p=reject"],
}
SPOOFED = "198.51.100.1"
GOOD = "192.0.2.1"


def judged(
    message: bytes,
    ip: str = SPOOFED,
    *,
    records: Mapping[str, Sequence[str] | Answer] = RECORDS,
    login: str = "",
    own: bool = False,
    **options: Any,
) -> Verdict:
    async def run() -> Verdict:
        given = msgspec.convert(options, Options)
        judge = Authentication(given, Tools("mx.test", Dns(), lambda: NOW, lambda: Zone(records).ask))
        peer = Peer(Service.SMTP, ip, 4711, "mail.example.org", True, "", login, own)
        envelope = Envelope("01ID", "a@example.org", (Recipient("b@y.test"),), NOW, login=login)
        body = Draft(Path("/nowhere"), "x", 10 << 20)
        for at in range(0, len(message), 1500):
            body.append(message[at : at + 1500])
        return await judge.data(peer, envelope, body)

    return asyncio.run(run())


def header(verdict: Verdict) -> str:
    return dict(verdict.headers)["Authentication-Results"].replace("\r\n\t", " ")


def test_good_mail_gets_one_header_and_no_remark() -> None:
    verdict = judged(sign(MESSAGE), GOOD)
    assert (verdict.decision, verdict.why, verdict.reply, verdict.patches) == (Decision.ACCEPT, "", None, ())
    assert header(verdict).startswith("mx.test; spf=pass smtp.mailfrom=a@example.org; dkim=pass header.d=example.org")
    assert "; arc=none; dmarc=pass header.from=example.org policy.dmarc=reject; iprev=permerror" in header(verdict)
    assert len(verdict.headers) == 1


def test_the_clients_name_is_told_and_decides_nothing() -> None:
    records = {**RECORDS, "1.2.0.192.in-addr.arpa": ["mail.example.org"], "mail.example.org": [GOOD]}
    verdict = judged(sign(MESSAGE), GOOD, records=records)
    assert header(verdict).endswith("; iprev=pass (mail.example.org) policy.iprev=192.0.2.1")
    silent = {**RECORDS, "1.2.0.192.in-addr.arpa": Answer(failed="silence")}
    verdict = judged(sign(MESSAGE), GOOD, records=silent)
    assert verdict.decision is Decision.ACCEPT
    assert header(verdict).endswith("; iprev=temperror reason=silence policy.iprev=192.0.2.1")


def test_what_dmarc_asks_for_is_done() -> None:
    verdict = judged(MESSAGE)
    assert verdict.decision is Decision.REJECT
    assert str(verdict.reply) == "550 5.7.1 Refused by the DMARC policy of example.org"
    assert "neither SPF nor DKIM passed" in verdict.why
    quarantine = {**RECORDS, "_dmarc.example.org": ["v=DMARC1; p=quarantine"]}
    verdict = judged(MESSAGE, records=quarantine)
    assert (verdict.decision, verdict.reply, verdict.opinion) == (Decision.QUARANTINE, None, True)
    assert len(verdict.headers) == 1
    assert "dmarc=fail" in header(verdict)
    testing = {**RECORDS, "_dmarc.example.org": ["v=DMARC1; p=reject; t=y"]}
    assert judged(MESSAGE, records=testing).decision is Decision.QUARANTINE
    nothing = {**RECORDS, "_dmarc.example.org": ["v=DMARC1; p=none"]}
    assert judged(MESSAGE, records=nothing).decision is Decision.ACCEPT


@pytest.mark.parametrize(
    ("options", "decision"),
    [
        ({"on_reject": "quarantine"}, Decision.QUARANTINE),
        ({"on_reject": "mark"}, Decision.ACCEPT),
        ({"on_quarantine": "mark"}, Decision.REJECT),
    ],
)
def test_the_operator_may_be_milder(options: dict[str, Any], decision: Decision) -> None:
    verdict = judged(MESSAGE, **options)
    assert verdict.decision is decision
    assert verdict.why
    assert "dmarc=fail" in header(verdict)


@pytest.mark.parametrize(
    ("wanted", "decision"),
    [("quarantine", Decision.QUARANTINE), ("reject", Decision.REJECT), ("mark", Decision.ACCEPT)],
)
def test_without_one_clear_author(wanted: str, decision: Decision) -> None:
    two = b"From: boss@bank.example\r\n" + MESSAGE
    verdict = judged(two, GOOD, on_permerror=wanted)
    assert verdict.decision is decision
    assert verdict.why == "DMARC: 2 From fields"
    assert verdict.reply == (UNCLEAR if decision is Decision.REJECT else None)
    assert "dmarc=permerror" in header(verdict)
    assert judged(two, GOOD).decision is Decision.QUARANTINE


def test_no_answer_that_decides_is_deferred_or_marked() -> None:
    silence = {**RECORDS, "_dmarc.example.org": SILENT}
    verdict = judged(MESSAGE, records=silence)
    assert verdict.decision is Decision.DEFER
    assert str(verdict.reply) == "451 4.7.1 DMARC of example.org cannot be checked now; try again later"
    verdict = judged(MESSAGE, records=silence, on_temperror="mark")
    assert verdict.decision is Decision.ACCEPT
    assert "dmarc=temperror" in header(verdict)


PASSED = "dmarc=pass header.from=example.org"


def listed(results: str = PASSED) -> bytes:
    """Mail that a list changed and sealed."""
    return sealed(sign(MESSAGE).replace(b"Hello", b"[list] Hello"), "list.example", results=results)


def test_a_trusted_list_is_believed_and_the_reason_logged() -> None:
    assert judged(listed()).decision is Decision.REJECT
    verdict = judged(listed(), trusted_sealers=["List.example"])
    assert (verdict.decision, verdict.reply) == (Decision.ACCEPT, None)
    assert verdict.why.endswith("overridden: list.example vouches by ARC that it passed there")
    assert "arc=pass (list.example)" in header(verdict)
    assert "dmarc=fail" in header(verdict)


@pytest.mark.parametrize(
    "message",
    [
        listed("dmarc=fail header.from=example.org"),
        listed("dmarc=pass header.from=example.net"),
        listed().replace(b"[list] Hello", b"[list] Buy"),
        sealed(listed(), "forwarder.example", results=PASSED),  # not every sealer is trusted
        sealed(MESSAGE, "forwarder.example", results=PASSED),
    ],
)
def test_trust_has_its_bounds(message: bytes) -> None:
    assert judged(message, trusted_sealers=["list.example"]).decision is Decision.REJECT


def test_a_chain_of_trusted_sealers_may_be_longer() -> None:
    message = sealed(listed(), "forwarder.example", results="dmarc=fail header.from=example.org")
    verdict = judged(message, trusted_sealers=["list.example", "forwarder.example"])
    assert verdict.decision is Decision.ACCEPT


FORGED = b"Authentication-Results: MX.test; dmarc=pass header.from=bank.example\r\n"


@pytest.mark.parametrize(("ip", "login"), [(GOOD, ""), ("127.0.0.1", ""), (SPOOFED, "ayse@demo.test")])
def test_results_that_claim_to_be_ours_are_made_unreadable(ip: str, login: str) -> None:
    message = b"Received: x\r\n" + FORGED + sign(MESSAGE)
    verdict = judged(message, ip, login=login)
    ((at, octets),) = verdict.patches
    text = bytearray(message)
    text[at : at + len(octets)] = octets
    assert len(text) == len(message)
    assert text == message.replace(FORGED, b"X-Authentication-Claim: ........ .......... ........................\r\n")
    assert verdict.decision is Decision.ACCEPT


def test_our_own_mail_is_not_judged() -> None:
    assert judged(MESSAGE, login="ayse@demo.test") == Verdict()
    assert judged(MESSAGE, "::1") == Verdict()
    assert judged(MESSAGE, SPOOFED, trusted_peers=["198.51.100.0/24"]) == Verdict()
    assert judged(MESSAGE, "127.0.0.1", trusted_peers=[]).decision is Decision.REJECT
    assert judged(MESSAGE, own=True) == Verdict()


FALSE = MESSAGE.replace(b"From: Ayse", b'From: "Boss, boss@bank.example"')


@pytest.mark.parametrize(
    ("wanted", "decision", "score"),
    [
        ("accept", Decision.ACCEPT, 0),
        ("score", Decision.ACCEPT, 3),
        ("quarantine", Decision.QUARANTINE, 3),
        ("reject", Decision.REJECT, 3),
    ],
)
def test_a_name_that_is_the_address_of_another(wanted: str, decision: Decision, score: float) -> None:
    verdict = judged(sign(FALSE), GOOD, on_false_name=wanted, false_name_score=3)
    assert (verdict.decision, verdict.score, verdict.opinion) == (decision, score, True)
    assert verdict.reply == (FALSE_NAME if decision is Decision.REJECT else None)
    assert (verdict.why == "") is (wanted == "accept")
    assert wanted == "accept" or "shows boss@bank.example" in verdict.why
    assert "dmarc=pass header.from=example.org" in header(verdict)
    # What DMARC asks for is done all the same.
    assert judged(FALSE, on_false_name="quarantine").decision is Decision.REJECT


def test_a_header_without_end_is_refused() -> None:
    for message in (b"X: y\r\n" * MAX_LINES + MESSAGE, b"X: " + b"y" * MAX_HEAD + b"\r\n" + MESSAGE):
        verdict = judged(message, GOOD)
        assert (verdict.decision, str(verdict.reply)[:9]) == (Decision.REJECT, "550 5.6.0")


def test_a_large_message_is_hashed_beside_the_loop() -> None:
    message = sign(MESSAGE.replace(b"Hello", b"x" * 400_000))
    assert "dkim=pass" in header(judged(message))


def test_the_name_and_the_way_to_the_organization_are_options() -> None:
    assert header(judged(sign(MESSAGE), authserv_id="results.test")).startswith("results.test;")
    below = {
        "_dmarc.example.org": ["v=DMARC1; p=reject"],
        "_dmarc.mail.example.org": ["v=DMARC1; p=reject"],
        "rsa._domainkey.example.org": [record(rsa_key())],
    }
    del below["_dmarc.example.org"]
    message = sign(MESSAGE.replace(b"ayse@example.org", b"ayse@mail.example.org"))
    # The tree walk makes mail.example.org an organisation of its own; the list knows example.org.
    assert "dmarc=fail" in header(judged(message, records=below, on_reject="mark"))
    assert "dmarc=pass" in header(judged(message, records=below, organization="public_suffix_list"))


def test_bad_options_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="nowhere"):
        judged(MESSAGE, trusted_peers=["nowhere"])
    with pytest.raises(msgspec.ValidationError):
        judged(MESSAGE, on_reject="drop")
