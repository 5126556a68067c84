"""The operator's mail about hosted domains, as a mail program reads it."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest

from postane.domains.drift import Drift
from postane.domains.drift_cases import Case
from postane.domains.drift_mail import MOST, Alarm, build
from postane.domains.drift_words import Language

NOW = 1_800_000_000.0


def read(language: Language = "en", **changes: object) -> tuple[EmailMessage, str]:
    gone = Case(Drift.MX_GONE, "a.test MX", "", NOW, NOW)
    mended = Case(Drift.MISSING, "_dmarc.b.test TXT", "", NOW, NOW, ours=True, repairs=1, repaired_at=NOW, ended_at=NOW)
    over = Case(Drift.LAME, "ns.c.test", "does not answer", NOW, NOW, 2, 2, ended_at=NOW)
    facts: dict[str, object] = {"untold": [("a.test", gone), ("müze.test", mended), ("c.test", over)], "old": 4}
    facts |= changes
    alarm = Alarm("mail.host.test", "01ID", "op@müze.test", language=language, now=NOW, **facts)  # type: ignore[arg-type]
    octets = build(alarm)
    assert b"\n" not in octets.replace(b"\r\n", b"")
    mail = message_from_bytes(octets, policy=policy.default)
    assert isinstance(mail, EmailMessage)
    return mail, mail.get_content()


@pytest.mark.parametrize(
    ("language", "subject", "repaired"),
    [
        ("en", "Domains on mail.host.test: 1 not right, 1 repaired, 1 right again", "put back what was taken away"),
        ("tr", "mail.host.test alan adları: 1 sorun, 1 onarım, 1 düzelen", "geri koydu"),
    ],
)
def test_what_is_new_is_told_with_what_to_do(language: Language, subject: str, repaired: str) -> None:
    mail, text = read(language)
    assert mail["Subject"] == subject
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "postane domain letter a.test" in text
    assert repaired in text
    assert text.index("a.test") < text.index("müze.test") < text.index("c.test")
    assert "4" in text
    assert "postane domain drift" in text.splitlines()[-1]


def test_a_thousand_at_once_are_counted() -> None:
    many = [(f"d{number}.test", Case(Drift.UNREACHABLE, "", "x", NOW, NOW)) for number in range(MOST + 30)]
    _, text = read(untold=many, old=0)
    assert text.count("\n* ") == MOST
    assert "and 30 more" in text
