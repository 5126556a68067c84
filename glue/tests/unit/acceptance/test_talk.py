"""Dialogues against servers that say what is written here: `S:` and `C:` lines, as an operator would see them."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from postane.acceptance.inbox import ImapReader, Pop3Reader
from postane.acceptance.result import Case, FailedError
from postane.acceptance.talk import Imap, Pop3, RefusedError, Sieve, Smtp, plain

USER, PASSWORD = "a@demo.test", "very secret"
PLAIN = plain(USER, PASSWORD)


class Server(threading.Thread):
    """Says the S: lines and waits for the C: lines of a script; `wrong` is what did not come as it should."""

    def __init__(self, script: str) -> None:
        super().__init__(daemon=True)
        self._lines = [line.strip() for line in script.splitlines() if line.strip()]
        self.ours, self._theirs = socket.socketpair()
        self.ours.settimeout(10)
        self.wrong = ""

    def run(self) -> None:
        with self._theirs, self._theirs.makefile("rwb") as stream:
            for line in self._lines:
                who, text = line[:1], line[3:]
                if who == "S":
                    stream.write(f"{text}\r\n".encode())
                    stream.flush()
                    continue
                said = stream.readline().decode().rstrip("\r\n")
                if said != text:
                    self.wrong = f"{said!r} instead of {text!r}"
                    return


@contextmanager
def server(script: str) -> Iterator[socket.socket]:
    made = Server(script)
    made.start()
    try:
        yield made.ours
    except BaseException:
        print(f"the server: {made.wrong}")
        raise
    made.ours.close()
    made.join(10)
    assert not made.wrong


def test_plain_is_utf_8() -> None:
    assert base64.b64decode(plain("ç@a.test", "ş")).decode() == "\0ç@a.test\0ş"


def test_smtp() -> None:
    case = Case()
    script = f"""
        S: 220-welcome
        S: 220 host
        C: EHLO me.test
        S: 250-host
        S: 250 AUTH PLAIN
        C: AUTH PLAIN {PLAIN}
        S: 235 2.7.0 in
        C: MAIL FROM:<a@demo.test>
        S: 250 2.1.0 ok
        C: RCPT TO:<b@demo.test>
        S: 250 2.1.5 ok
        C: DATA
        S: 354 go on
        C: X: y
        C:{" "}
        C: ..dot
        C: .
        S: 250 2.0.0 as 4711
        C: QUIT
    """
    with server(script) as door, Smtp(door, "host", case) as smtp:
        smtp.hello("me.test", "")
        smtp.login(USER, PASSWORD)
        reply = smtp.deliver(USER, "b@demo.test", b"X: y\r\n\r\n.dot\r\n")
        smtp.quit()
    assert str(reply) == "250 2.0.0 as 4711"
    assert "C: AUTH PLAIN …" in case.evidence
    assert "S: 250 2.0.0 as 4711" in case.evidence
    assert not any(PLAIN in line or PASSWORD in line for line in case.evidence)


def test_smtp_says_no() -> None:
    with server("S: 554 no") as door, Smtp(door, "host", Case()) as smtp:
        with pytest.raises(RefusedError) as caught:
            smtp.hello("me.test", "")
        assert (caught.value.reply.code, caught.value.reason.values["said"]) == (554, "554 no")


IMAP = """
    S: * OK ready
    C: a1 STARTTLS
    S: a1 NO not here
"""
IMAP_IN = f"""
    S: * OK ready
    C: a1 AUTHENTICATE PLAIN
    S: +
    C: {PLAIN}
    S: a1 OK in
"""


class PlainImap(Imap):
    """Without TLS, which a script cannot speak."""

    def start_tls(self, context: object = None) -> None:  # type: ignore[override]
        pass


class PlainPop3(Pop3):
    def start_tls(self, context: object = None) -> None:  # type: ignore[override]
        pass


class PlainSieve(Sieve):
    def start_tls(self, context: object = None) -> None:  # type: ignore[override]
        pass


def test_imap_wants_tls() -> None:
    case = Case()
    with server(IMAP) as door, PlainImap(door, "host", case) as session, pytest.raises(FailedError, match="refused"):
        session.login(USER, PASSWORD, "starttls")
    assert case.evidence == ("S: * OK ready", "C: a1 STARTTLS", "S: a1 NO not here")


def test_an_imap_mailbox_is_read_once_and_emptied() -> None:
    script = f"""
        {IMAP_IN}
        C: a2 LIST "" "*"
        S: * LIST (\\HasNoChildren) "/" INBOX
        S: a2 OK
        C: a3 SELECT "INBOX"
        S: * 2 EXISTS
        S: a3 OK
        C: a4 UID SEARCH ALL
        S: * SEARCH 7 9
        S: a4 OK
        C: a5 UID FETCH 7 (BODY.PEEK[])
        S: * 1 FETCH (UID 7 BODY[] {{7}}
        S: seven
        S: )
        S: a5 OK
        C: a6 UID FETCH 9 (BODY.PEEK[])
        S: * 2 FETCH (UID 9 BODY[] {{6}}
        S: nine
        S: )
        S: a6 OK
        C: a7 LIST "" "*"
        S: * LIST () "/" INBOX
        S: * LIST () "/" Junk
        S: a7 OK
        C: a8 SELECT "INBOX"
        S: a8 OK
        C: a9 UID SEARCH ALL
        S: * SEARCH 7 9
        S: a9 OK
        C: a10 SELECT "Junk"
        S: a10 OK
        C: a11 UID SEARCH ALL
        S: * SEARCH
        S: a11 OK
        C: a12 LIST "" "*"
        S: * LIST () "/" INBOX
        S: a12 OK
        C: a13 SELECT "INBOX"
        S: a13 OK
        C: a14 UID SEARCH ALL
        S: * SEARCH 7 9
        S: a14 OK
        C: a15 UID STORE 1:* +FLAGS.SILENT (\\Deleted)
        S: a15 OK
        C: a16 EXPUNGE
        S: a16 OK
    """
    case = Case()
    with server(script) as door:

        def opens() -> Imap:
            session = PlainImap(door, "host", case)
            session.login(USER, PASSWORD, "tls")
            return session

        reader = ImapReader(opens)
        assert [(one.folder, one.octets) for one in reader.new()] == [("INBOX", b"seven\r\n"), ("INBOX", b"nine\r\n")]
        assert reader.new() == []
        reader.empty()
        reader.close()
    assert not any(PLAIN in line for line in case.evidence)


POP3 = f"""
    S: +OK ready
    C: AUTH PLAIN {PLAIN}
    S: +OK in
"""


def test_pop3_reads_what_is_new() -> None:
    first = f"""
        {POP3}
        C: STAT
        S: +OK 1 10
        C: RETR 1
        S: +OK
        S: X: y
        S:{" "}
        S: ..dot
        S: .
        C: QUIT
        S: +OK
    """
    second = f"""
        {POP3}
        C: STAT
        S: +OK 1 10
        C: QUIT
        S: +OK
    """
    with server(first) as one, server(second) as two:
        doors = iter((one, two))

        def opens() -> Pop3:
            session = PlainPop3(next(doors), "host", Case())
            session.login(USER, PASSWORD, "tls")
            return session

        reader = Pop3Reader(opens)
        assert [arrived.octets for arrived in reader.new()] == [b"X: y\r\n\r\n.dot\r\n"]
        assert reader.new() == []


def test_pop3_says_no() -> None:
    busy = "S: -ERR busy"
    with server(busy) as door, Pop3(door, "host", Case()) as session, pytest.raises(FailedError, match="refused"):
        session.login(USER, PASSWORD, "starttls")


def test_manage_sieve() -> None:
    case = Case()
    script = f"""
        S: "SIEVE" "fileinto"
        S: OK ready
        C: STARTTLS
        S: OK now
        S: "SASL" "PLAIN"
        S: OK ready
        C: AUTHENTICATE "PLAIN" "{PLAIN}"
        S: OK in
        C: PUTSCRIPT "x" {{7+}}
        C: keep;
        C:{" "}
        S: NO {{5}}
        S: wrong
    """
    with server(script) as door, PlainSieve(door, "host", case) as session:
        session.login(USER, PASSWORD)
        with pytest.raises(FailedError, match="refused"):
            session.put("x", "keep;\r\n")
    assert 'C: PUTSCRIPT "x" …' in case.evidence
    assert not any(PLAIN in line for line in case.evidence)


@pytest.mark.parametrize("said", ["", "* OK read", "x" * 20_000])
def test_a_server_that_breaks_off_or_never_ends(said: str) -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    theirs.sendall(said.encode())
    theirs.close()
    with Imap(ours, "host", Case()) as session, pytest.raises(FailedError, match="closed"):
        session.login(USER, PASSWORD, "starttls")


def test_an_answer_without_end() -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    theirs.sendall(b"250-more\r\n" * 300)
    with Smtp(ours, "host", Case()) as session, pytest.raises(FailedError, match="said"):
        session.reply()
    theirs.close()
