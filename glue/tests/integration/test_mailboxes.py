"""A reader's day on running services: log in, read, filter, be refused. Asks the demo, or what POSTANE_ACCESS names.

POSTANE_ACCESS is a file in the form of `.demo/access.json`.
"""

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from .clients import (
    Browser,
    Host,
    LoginRefusedError,
    ManageSieve,
    Webmail,
    imap,
    imap_messages,
    imap_wait,
    message,
    pop3,
    submit,
)

pytestmark = pytest.mark.demo
ACCESS = Path(os.environ.get("POSTANE_ACCESS", Path(__file__).parents[3] / ".demo" / "access.json"))
AYSE, MEHMET, CIGDEM = "ayse@demo.test", "mehmet@demo.test", "çiğdem@demo.test"
SITE = "webmail.demo.test"


@pytest.fixture(scope="module")
def host() -> Host:
    return Host.from_access(ACCESS)


@pytest.fixture(scope="module")
def passwords(host: Host) -> dict[str, str]:
    known: dict[str, str] = json.loads(ACCESS.read_text())["accounts"]
    return known


@pytest.fixture
def subject() -> str:
    return f"test {uuid.uuid4().hex}"


@pytest.fixture
def sieve(host: Host, passwords: dict[str, str]) -> Iterator[ManageSieve]:
    """Mehmet's scripts; the one that was active is active again afterwards."""
    with ManageSieve(host, MEHMET, passwords[MEHMET]) as session:
        before = next((name for name, active in session.scripts().items() if active), "")
        yield session
        session.activate(before)
        session.command('DELETESCRIPT "test"')


@pytest.mark.parametrize("reader", [MEHMET, CIGDEM])
def test_a_message_is_read_over_every_protocol(
    host: Host, passwords: dict[str, str], subject: str, reader: str
) -> None:
    submit(host, AYSE, passwords[AYSE], message(AYSE, [reader], subject), [reader])
    assert imap_wait(host, reader, passwords[reader], subject).get_content().strip() == "Hello."
    for service in ("imap", "imaps"):
        found = imap_messages(host, reader, passwords[reader], service=service)
        assert subject in [mail["Subject"] for mail in found]
    for service in ("pop3", "pop3s"):
        assert subject in [mail["Subject"] for mail in pop3(host, reader, passwords[reader], service=service).messages]
    assert subject in Webmail(host, SITE, reader, passwords[reader]).subjects()


def test_a_wrong_password_opens_nothing(host: Host) -> None:
    for service in ("imap", "imaps"):
        with pytest.raises(LoginRefusedError), imap(host, AYSE, "wrong", service=service):
            pass
    for service in ("pop3", "pop3s"):
        with pytest.raises(LoginRefusedError):
            pop3(host, AYSE, "wrong", service=service)
    with pytest.raises(LoginRefusedError):
        ManageSieve(host, AYSE, "wrong")
    with pytest.raises(LoginRefusedError):
        Webmail(host, SITE, AYSE, "wrong")


def test_a_script_files_a_message(host: Host, passwords: dict[str, str], subject: str, sieve: ManageSieve) -> None:
    script = f'require ["fileinto", "mailbox"];\nif header :is "Subject" "{subject}" {{ fileinto :create "Filed"; }}\n'
    sieve.put("test", script)
    sieve.activate("test")
    submit(host, AYSE, passwords[AYSE], message(AYSE, [MEHMET], subject), [MEHMET])
    assert imap_wait(host, MEHMET, passwords[MEHMET], subject, mailbox="Filed")["From"] == AYSE


def test_a_script_that_is_none_is_refused(sieve: ManageSieve) -> None:
    with pytest.raises(ValueError, match="NO"):
        sieve.put("test", "this is no script")
    sieve.put("test", "keep;\n")


def test_every_account_has_its_mailboxes(host: Host, passwords: dict[str, str]) -> None:
    with imap(host, CIGDEM, passwords[CIGDEM]) as session:
        listed = b" ".join(line for line in session.list()[1] if isinstance(line, bytes))
    for use in (b"Drafts", b"Sent", b"Junk", b"Trash", b"Archive"):
        assert b"\\" + use in listed


@pytest.mark.parametrize(("language", "word"), [("en", "Login"), ("tr", "Oturum")])
def test_web_mail_speaks_the_readers_language(host: Host, language: str, word: str) -> None:
    page = Browser(host, SITE, language=language).get("/")
    assert f'lang="{language}"' in page.text
    assert word in page.text
    assert page.headers["Strict-Transport-Security"]
    assert "script-src" in page.headers["Content-Security-Policy"]


def test_the_web_leads_to_https(host: Host) -> None:
    page = Browser(host, SITE, service="http").get("/?_task=mail")
    assert (page.status, page.headers["Location"]) == (301, f"https://{SITE}/?_task=mail")
