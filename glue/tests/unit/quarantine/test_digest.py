from __future__ import annotations

import email
import email.policy
import re
from datetime import datetime
from email.message import EmailMessage
from typing import Any

import pytest

from postane.quarantine.digest import Digest, build, slot
from postane.quarantine.items import Item
from postane.quarantine.token import Action
from support.quarantine import make_item

NOW = datetime(2026, 5, 20, 12, 0).timestamp()  # a Wednesday


ALL = "https://panel.demo.test/q/all"


def item(number: int, subject: str = "Kârlı teklif: İŞĞ", author: str = "Kötü <x@far.test>") -> Item:
    return make_item(number, subject=subject, author=author, received_at=NOW - 3600)


def link(item: Item, action: Action) -> str:
    return f"https://panel.demo.test/q/{item.id}-{action}"


def made(*items: Item, language: str = "en", older: int = 0, mailbox: str = "ayse@demo.test") -> bytes:
    return build(Digest("mail.demo.test", "1" * 26, mailbox, items, older, 30, language, NOW, ALL), link)


def parts(octets: bytes) -> tuple[EmailMessage, str, str]:
    mail = email.message_from_bytes(octets, policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    assert not mail.defects
    text: Any = mail.get_body(("plain",))
    html: Any = mail.get_body(("html",))
    return mail, text.get_content(), html.get_content()


@pytest.mark.parametrize("language", ["en", "tr"])
def test_text_and_html_say_the_same(language: str) -> None:
    mail, text, html = parts(made(item(1), item(2, subject="", author=""), language=language, older=3))
    assert mail["To"] == "ayse@demo.test"
    assert mail["From"].addresses[0].addr_spec == "postmaster@mail.demo.test"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["List-Id"] == "<quarantine.mail.demo.test>"
    assert mail["Message-ID"] == f"<{'1' * 26}@mail.demo.test>"
    assert "5" in mail["Subject"]
    for shown in (text, html):
        assert "Kârlı teklif: İŞĞ" in shown
        for number in (1, 2):
            for action in ("release", "delete"):
                assert f"https://panel.demo.test/q/{number}-{action}" in shown
        assert ALL in shown
        assert ("3 older messages" if language == "en" else "3 ileti") in shown
    assert f'<html lang="{language}">' in html


def test_the_octets_are_fit_for_any_server() -> None:
    octets = made(*(item(n, subject="ş" * 300) for n in range(50)), language="tr")
    assert octets.isascii()
    assert all(len(line) <= 998 for line in octets.split(b"\r\n"))
    assert b"\n" not in octets.replace(b"\r\n", b"")


def test_nothing_of_a_sender_becomes_markup_or_a_field() -> None:
    bad = item(1, subject="<img src=x onerror=alert(1)>", author='"><a href="https://evil.test">x</a>')
    octets = made(bad)
    _, text, html = parts(octets)
    assert "<img" not in html
    assert 'href="https://evil' not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html
    assert "<img src=x onerror=alert(1)>" in text
    assert len(re.findall(r"<a ", html)) == 3


def test_what_only_the_operator_lets_out_can_be_deleted() -> None:
    facts = Digest("mail.demo.test", "1" * 26, "ayse@demo.test", [item(1)], 0, 30, "en", NOW, ALL)
    _, text, html = parts(build(facts, lambda item, action: "" if action == "release" else link(item, action)))
    for shown in (text, html):
        assert "only your postmaster can let it out" in shown
        assert "q/1-delete" in shown
        assert "Deliver it to me" not in shown


def test_html_loads_nothing_and_knows_small_and_dark_screens() -> None:
    _, _, html = parts(made(item(1)))
    assert not re.search(r"<(img|script|link|iframe)|url\(|@import", html)
    assert "prefers-color-scheme: dark" in html
    assert "width=device-width" in html


def test_a_mailbox_in_utf8() -> None:
    octets = made(item(1), mailbox="çiğdem@demo.test")
    assert "To: çiğdem@demo.test\r\n".encode() in octets


def test_each_mailbox_has_its_moment_each_day() -> None:
    first = slot("ayse@demo.test", "daily", 7, 3600, NOW)
    assert 7 <= datetime.fromtimestamp(first).hour + datetime.fromtimestamp(first).minute / 60 < 8
    assert datetime.fromtimestamp(first).date() == datetime.fromtimestamp(NOW).date()
    assert slot("ayse@demo.test", "daily", 7, 3600, first) == first
    assert slot("ayse@demo.test", "daily", 7, 3600, first - 1) == first - 86_400
    assert slot("ayse@demo.test", "daily", 7, 3600, NOW + 86_400) == first + 86_400
    moments = {slot(f"user{n}@demo.test", "daily", 7, 3600, NOW) for n in range(100)}
    assert len(moments) == 100
    assert max(moments) - min(moments) > 1800


def test_weekly_is_on_monday() -> None:
    due = slot("ayse@demo.test", "weekly", 7, 3600, NOW)
    assert datetime.fromtimestamp(due).weekday() == 0
    assert 0 < NOW - due < 7 * 86_400
    assert slot("ayse@demo.test", "weekly", 7, 3600, due - 1) == due - 7 * 86_400
