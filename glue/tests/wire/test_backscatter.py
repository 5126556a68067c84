"""Reports and answers over the wire: those about our own mail arrive, others are suspect, marked or refused."""

from __future__ import annotations

import email
import smtplib
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.dev import Dev
from support.filtered import Session

MAIL = "From: user0@demo.test\r\nMessage-ID: <%s@laptop.test>\r\nSubject: %s\r\n\r\nbody\r\n"
REPORT = (
    b"From: MAILER-DAEMON@far.test\r\nSubject: report %s\r\nMIME-Version: 1.0\r\n"
    b"Content-Type: multipart/report; report-type=delivery-status; boundary=x\r\n\r\n"
    b"--x\r\n\r\nNo such user\r\n--x\r\nContent-Type: message/delivery-status\r\n\r\nStatus: 5.1.1\r\n"
    b"--x\r\nContent-Type: text/rfc822-headers\r\n\r\n%s\r\n--x--\r\n"
)
VACATION = (
    b"From: bob@far.test\r\nSubject: answer %s\r\nAuto-Submitted: auto-replied\r\nIn-Reply-To: <%s@laptop.test>\r\n"
)


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    folder: Path = tmp_path_factory.mktemp("backscatter")
    options = "trusted_peers: [], on_foreign: quarantine, on_reply: mark"
    file = folder / "filters.yml"
    file.write_text(f"filters: {{use: [backscatter], options: {{backscatter: {{{options}}}}}}}\n")
    server = Dev(folder / "dev", workers=2, more=[f"--filters-file={file}"])
    server.start()
    yield server
    server.close()


def found(dev: Dev, name: str, subject: str) -> email.message.Message:
    """The mail with this subject, once it is there."""
    folder = dev.folder / "vmail" / "demo.test" / name / "Maildir" / "new"
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for path in folder.glob("*"):
            mail = email.message_from_bytes(path.read_bytes())
            if mail["Subject"] == subject:
                return mail
        time.sleep(0.05)
    raise AssertionError(f"{name} has no mail {subject!r}")


def send(dev: Dev, number: str) -> bytes:
    """One of our users writes; the header as it left."""
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    with smtplib.SMTP("127.0.0.1", dev.submission) as client:
        client.starttls(context=trust)
        client.login("user0@demo.test", "password-user0")
        client.sendmail("user0@demo.test", ["user1@demo.test"], MAIL % (number, f"hello {number}"))
    mail = found(dev, "user1", f"hello {number}")
    assert len(mail.get_all("X-Postane-Origin", [])) == 1
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in mail.items())


def come(dev: Dev, text: bytes, to: str = "user0") -> str:
    session = Session(dev)
    _, said = session.mail("", text, to=f"{to}@demo.test")
    session.close()
    return said


def test_a_report_about_our_mail_is_like_any_other(dev: Dev) -> None:
    header = send(dev, "1")
    assert come(dev, REPORT % (b"1", header)).startswith("250")
    mail = found(dev, "user0", "report 1")
    assert mail["X-Spam"] is None
    assert mail["X-Postane-Backscatter"] is None


def test_a_report_about_what_was_never_sent_is_suspect(dev: Dev) -> None:
    header = send(dev, "2")
    forged = header.replace(b"X-Postane-Origin: v1.", b"X-Postane-Origin: v1.1").replace(b"<2@", b"<22@")
    assert come(dev, REPORT % (b"2", forged)).startswith("250")
    mail = found(dev, "user0", "report 2")
    assert mail["X-Spam"] == "Yes"
    assert mail["X-Postane-Backscatter"].startswith("a report")
    # Somebody else's token is none.
    assert come(dev, REPORT % (b"3", header), to="user2").startswith("250")
    assert found(dev, "user2", "report 3")["X-Spam"] == "Yes"


def test_an_answer_is_known_by_what_it_answers(dev: Dev) -> None:
    send(dev, "4")
    assert come(dev, VACATION % (b"4", b"4") + b"\r\nI am away\r\n").startswith("250")
    assert found(dev, "user0", "answer 4")["X-Postane-Backscatter"] is None
    assert come(dev, VACATION % (b"5", b"55") + b"\r\nI am away\r\n").startswith("250")
    mail = found(dev, "user0", "answer 5")
    assert mail["X-Postane-Backscatter"].startswith("an answer")
    assert mail["X-Spam"] is None
