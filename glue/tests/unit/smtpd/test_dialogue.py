"""The pure session as dialogues: what the peer says, what it reads."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from postane.config.model import Limits
from postane.core.peer import Service
from postane.core.reply import Reply
from postane.smtpd import events
from postane.smtpd.dialogue import Dialogue, Facts

OK = Reply(250, "2.0.0", "OK")
LIMITS = Limits(recipients=3, errors=4, unknown_recipients=3, logins=2, message_size=1000, command_line=128)


class Talk:
    """A dialogue with a handler that says yes, unless told otherwise."""

    def __init__(
        self,
        service: Service = Service.SMTP,
        *,
        limits: Limits = LIMITS,
        tls: bool = True,
        secure: bool = False,
        say: Callable[[events.Event], Reply | None] = lambda event: None,
    ) -> None:
        self.dialogue = Dialogue(Facts("mx.test", service, tls_offered=tls), limits, secure=secure)
        self.say = say
        self.texts: list[bytes] = []
        self.asked: list[events.Event] = []
        self._kept: list[bytes] = []
        self.greeting = self.run()

    def run(self) -> str:
        while (event := self.dialogue.next()) is not None:
            self.asked.append(event)
            match event:
                case events.StartTls():
                    out = self.dialogue.take_output().decode()
                    self.dialogue.secured()
                    return out
                case events.Reset():
                    continue
                case events.Connected():
                    self.dialogue.answer(self.say(event) or Reply(220, "", "mx.test"))
                case events.Data():
                    self._kept = []
                    self.dialogue.answer(self.say(event) or OK, self._kept.append)
                case events.Text():
                    if not event.fault:
                        self.texts.append(b"".join(self._kept))
                    self.dialogue.answer(self.say(event) or (Reply(550, "5.6.0", event.fault) if event.fault else OK))
                case events.Login():
                    good = event.password == "right"
                    self.dialogue.answer(Reply(235, "2.7.0", "yes") if good else Reply(535, "5.7.8", "no"))
                case _:
                    self.dialogue.answer(self.say(event) or OK)
        return self.dialogue.take_output().decode()

    def __call__(self, text: str | bytes) -> str:
        self.dialogue.receive(text if isinstance(text, bytes) else text.encode())
        return self.run()

    def codes(self, text: str | bytes) -> list[str]:
        return [line[:3] for line in self(text).splitlines() if line[3:4] == " "]

    def greeted(self) -> Talk:
        assert self("EHLO client.test\r\n").startswith("250")
        return self

    @property
    def closed(self) -> bool:
        return self.dialogue.closed


def auth(login: str, password: str) -> str:
    return base64.b64encode(f"\0{login}\0{password}".encode()).decode()


def test_a_mail() -> None:
    talk = Talk().greeted()
    assert talk.codes("MAIL FROM:<a@x.test> SIZE=10\r\n") == ["250"]
    assert talk.codes("RCPT TO:<b@mx.test>\r\n") == ["250"]
    assert talk.codes("DATA\r\n") == ["354"]
    assert talk.codes("Subject: x\r\n\r\nhello\r\n.\r\n") == ["250"]
    assert talk.texts == [b"Subject: x\r\n\r\nhello\r\n"]
    assert talk.codes("QUIT\r\n") == ["221"]
    assert talk.closed


def test_a_pipelined_group_is_answered_at_once() -> None:
    talk = Talk().greeted()
    assert talk.codes("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nRCPT TO:<c@y.test>\r\nDATA\r\n") == [
        "250",
        "250",
        "250",
        "354",
    ]
    assert talk.codes(b"x\r\n.\r\nRSET\r\nMAIL FROM:<>\r\n") == ["250", "250", "250"]


def test_octet_by_octet() -> None:
    talk = Talk()
    wire = b"EHLO c.test\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\n"
    said = "".join(talk(wire[i : i + 1]) for i in range(len(wire)))
    assert [line[:3] for line in said.splitlines()] == ["250", "250", "250"]


@pytest.mark.parametrize(
    ("before", "line", "code"),
    [
        ("", "MAIL FROM:<a@x.test>", "503 5.5.1"),  # no EHLO yet
        ("E", "RCPT TO:<a@x.test>", "503 5.5.1"),
        ("E", "DATA", "503 5.5.1"),
        ("EM", "DATA", "554 5.5.1"),  # no valid recipient
        ("EM", "MAIL FROM:<b@x.test>", "503 5.5.1"),
        ("E", "MAIL FROM: <a@x.test>", "250"),
        ("E", "MAIL FROM:a@x.test", "501 5.5.4"),
        ("E", "MAIL FROM:<a@x.test", "501 5.5.4"),
        ("E", "MAIL FROM:<a@@x.test>", "553 5.1.7"),
        ("E", "MAIL FROM:<a@x.test> FOO=1", "555 5.5.4"),
        ("E", "MAIL FROM:<a@x.test> SIZE=1001", "552 5.3.4"),
        ("E", "MAIL FROM:<a@x.test> SIZE=x", "501 5.5.4"),
        ("E", "MAIL FROM:<a@x.test> SIZE=1 SIZE=2", "501 5.5.4"),
        ("E", "MAIL FROM:<ç@x.test>", "553 5.6.7"),
        ("E", "MAIL FROM:<ç@x.test> SMTPUTF8", "250"),
        ("E", 'MAIL FROM:<"a>b"@x.test>', "250"),
        ("E", "MAIL FROM:<@relay.test:a@x.test>", "250"),
        ("E", "MAIL FROM:<a@x.test> BODY=8BITMIME RET=HDRS ENVID=q", "250"),
        ("E", "MAIL FROM:<a@x.test> BODY=BINARYMIME", "555 5.5.4"),
        ("EM", "RCPT TO:<>", "501 5.1.3"),
        ("EM", "RCPT TO:<Postmaster>", "250"),
        ("EM", "RCPT TO:<ç@x.test>", "553 5.6.7"),
        ("EM", "RCPT TO:<a@x.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a@x.test", "250"),
        ("EM", "RCPT TO:<a@x.test> NOTIFY=NEVER,DELAY", "501 5.5.4"),
        ("E", "WHAT", "500 5.5.1"),
        ("E", "VRFY a", "252 2.5.2"),
        ("E", "x" * 200, "500 5.5.6"),
        ("E", "HELO <x>", "501 5.5.4"),
        ("E", "AUTH PLAIN AGEAYg==", "503 5.5.1"),  # not on port 25
        ("E", "DATA now", "501 5.5.4"),
    ],
)
def test_lines(before: str, line: str, code: str) -> None:
    talk = Talk()
    for step in before:
        talk({"E": "EHLO c.test\r\n", "M": "MAIL FROM:<a@x.test>\r\n"}[step])
    assert talk(line + "\r\n").startswith(code)


def test_recipient_limit_is_temporary() -> None:
    talk = Talk().greeted()
    talk("MAIL FROM:<a@x.test>\r\n")
    assert talk.codes("".join(f"RCPT TO:<r{i}@y.test>\r\n" for i in range(4))) == ["250", "250", "250", "452"]


def test_guessing_addresses_ends_the_session() -> None:
    talk = Talk(say=lambda e: Reply(550, "5.1.1", "no") if isinstance(e, events.Rcpt) else None).greeted()
    talk("MAIL FROM:<a@x.test>\r\n")
    assert talk.codes("".join(f"RCPT TO:<r{i}@y.test>\r\n" for i in range(9))) == ["550", "550", "550", "421"]
    assert talk.closed


def test_errors_end_the_session() -> None:
    talk = Talk().greeted()
    assert talk.codes("A\r\nB\r\nC\r\nD\r\nE\r\n") == ["500", "500", "500", "500", "421"]
    assert talk.closed


def test_endless_line_keeps_nothing() -> None:
    talk = Talk().greeted()
    for _ in range(50):
        assert talk(b"x" * 1000) == ""
        assert len(talk.dialogue._buffer) <= 128
    assert talk("\r\nNOOP\r\n").splitlines()[0].startswith("500 5.5.6")
    assert talk.codes("NOOP\r\n") == ["250"]


@pytest.mark.parametrize("line", [b"NOOP\n", b"NO\rOP\r\n", b"NOOP\nNOOP\r\n", b"NO\0OP\r\n"])
def test_only_crlf_ends_a_command(line: bytes) -> None:
    talk = Talk().greeted()
    assert talk(line).startswith("500 5.5.2")
    assert talk.closed


def test_talking_before_the_greeting_closes() -> None:
    dialogue = Dialogue(Facts("mx.test", Service.SMTP), LIMITS)
    assert isinstance(dialogue.next(), events.Connected)
    dialogue.receive(b"EHLO x\r\n")
    dialogue.answer(Reply(220, "", "mx.test"))
    assert dialogue.closed
    assert b"554 5.5.0" in dialogue.take_output()


def test_a_text_sent_before_354_is_not_read_as_commands() -> None:
    talk = Talk().greeted()
    talk("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\n")
    assert talk.codes("DATA\r\nMAIL FROM:<evil@x.test>\r\n.\r\n") == ["554"]
    assert talk.closed


def test_commands_behind_starttls_are_not_kept() -> None:
    talk = Talk().greeted()
    assert talk.codes("STARTTLS\r\nMAIL FROM:<evil@x.test>\r\n") == ["554"]
    assert talk.closed


def test_starttls_forgets_what_was_said() -> None:
    talk = Talk().greeted()
    assert talk("STARTTLS\r\n").startswith("220")
    assert talk.codes("MAIL FROM:<a@x.test>\r\n") == ["503"]
    assert talk.codes("STARTTLS\r\n") == ["503"]


def test_submission_wants_tls_then_login_then_mail() -> None:
    talk = Talk(Service.SUBMISSION).greeted()
    assert talk("MAIL FROM:<a@x.test>\r\n").startswith("530 5.7.0")
    assert talk(f"AUTH PLAIN {auth('a', 'right')}\r\n").startswith("538 5.7.11")
    talk("STARTTLS\r\n")
    talk.greeted()
    assert talk("MAIL FROM:<a@x.test>\r\n").startswith("530 5.7.0")
    assert talk(f"AUTH PLAIN {auth('a', 'right')}\r\n").startswith("235")
    assert talk.codes("MAIL FROM:<a@x.test>\r\n") == ["250"]


def test_auth_login_in_steps() -> None:
    talk = Talk(Service.SUBMISSIONS, secure=True).greeted()
    assert talk("AUTH LOGIN\r\n") == "334 VXNlcm5hbWU6\r\n"
    assert talk(base64.b64encode(b"ayse").decode() + "\r\n") == "334 UGFzc3dvcmQ6\r\n"
    assert talk.codes(base64.b64encode(b"right").decode() + "\r\n") == ["235"]
    assert talk.dialogue.login == "ayse"


@pytest.mark.parametrize("line", ["*", "!!!", "AGE=", "AşE=", "AP8A/w==", base64.b64encode(b"b\0a\0right").decode()])
def test_auth_given_up_or_malformed(line: str) -> None:
    talk = Talk(Service.SUBMISSIONS, secure=True).greeted()
    assert talk("AUTH PLAIN\r\n").startswith("334")
    assert talk(line + "\r\n")[:3] in ("501", "535")
    assert talk.dialogue.login == ""
    assert talk.codes("NOOP\r\n") == ["250"]


def test_failed_logins_end_the_session() -> None:
    talk = Talk(Service.SUBMISSIONS, secure=True).greeted()
    assert talk.codes(f"AUTH PLAIN {auth('a', 'wrong')}\r\n") == ["535"]
    assert talk.codes(f"AUTH PLAIN {auth('a', 'wrong')}\r\n") == ["535", "421"]
    assert talk.closed


def test_bdat() -> None:
    talk = Talk().greeted()
    talk("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\n")
    assert talk.codes(b"BDAT 5\r\na\r\n.\rBDAT 1\r\n\nBDAT 0 LAST\r\n") == ["250", "250", "250"]
    assert talk.texts == [b"a\r\n.\r\n"]


def test_a_refused_bdat_swallows_its_octets() -> None:
    talk = Talk(say=lambda e: Reply(452, "4.3.1", "full") if isinstance(e, events.Data) else None).greeted()
    talk("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\n")
    smuggled = b"MAIL FROM:<evil@x.test>\r\n"
    assert talk.codes(b"BDAT %d\r\n%s" % (len(smuggled), smuggled)) == ["452"]
    assert talk.codes(b"BDAT %d LAST\r\n%s" % (len(smuggled), smuggled)) == ["503"]
    assert talk.codes("NOOP\r\n") == ["250"]
    assert talk.texts == []


def test_bdat_without_a_transaction_swallows_too() -> None:
    talk = Talk().greeted()
    assert talk.codes(b"BDAT 6 LAST\r\nRSET\r\nNOOP\r\n") == ["503", "250"]


def test_bdat_without_a_size_closes() -> None:
    talk = Talk().greeted()
    assert talk.codes(b"BDAT x\r\nNOOP\r\n") == ["501"]
    assert talk.closed


def test_an_answer_may_take_its_time() -> None:
    """While a question is open nothing is worked on, and nothing is lost."""
    dialogue = Dialogue(Facts("mx.test", Service.SMTP), LIMITS)
    dialogue.next()
    dialogue.answer(Reply(220, "", "mx.test"))
    dialogue.receive(b"EHLO a\r\nMAIL FROM:<a@x.test>\r\n")
    assert isinstance(dialogue.next(), events.Hello)
    assert dialogue.next() is None
    dialogue.receive(b"RCPT TO:<b@y.test>\r\n")
    assert dialogue.next() is None
    dialogue.answer(OK)
    assert isinstance(dialogue.next(), events.Mail)


def test_421_from_the_handler_closes() -> None:
    talk = Talk(say=lambda e: Reply(421, "4.3.2", "down") if isinstance(e, events.Mail) else None).greeted()
    assert talk.codes("MAIL FROM:<a@x.test>\r\nNOOP\r\n") == ["421"]
    assert talk.closed


def test_refused_text_leaves_a_clean_session() -> None:
    talk = Talk().greeted()
    talk("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n")
    assert talk.codes(b"a\nb\r\n.\r\n") == ["550"]
    assert talk.texts == []
    assert talk.codes("MAIL FROM:<a@x.test>\r\n") == ["250"]


@pytest.mark.parametrize("before", ["", "MAIL FROM:<a@x.test>\r\n"])
def test_a_text_behind_a_refused_data_is_not_read_as_commands(before: str) -> None:
    talk = Talk().greeted()
    talk(before)
    assert talk.codes("DATA\r\nMAIL FROM:<evil@x.test>\r\n") == ["554"]
    assert talk.closed


def test_how_a_bad_line_is_cut_does_not_matter() -> None:
    for line in (b"x" * 50 + b"\n" + b"x" * 200 + b"\r\n", b"x" * 200 + b"\n" + b"x\r\n"):
        whole = Talk().greeted()(line)
        for cut in range(1, len(line)):
            talk = Talk().greeted()
            assert talk(line[:cut]) + talk(line[cut:]) == whole, cut


def test_verbs_are_ascii_and_web_browsers_are_sent_away() -> None:
    talk = Talk().greeted()
    assert talk.codes("R\u017fET\r\nMA\u0131L FROM:<a@x.test>\r\n") == ["500", "500"]
    assert talk.codes("POST / HTTP/1.1\r\nMAIL FROM:<a@x.test>\r\n") == ["500"]
    assert talk.closed


@pytest.mark.parametrize("line", ["NOOP", "RSET", "HELP", "EHLO c.test", "HELO c.test"])
def test_idle_talk_ends_the_session(line: str) -> None:
    talk = Talk(limits=Limits(idle_commands=5)).greeted()
    assert talk.codes(f"{line}\r\n" * 9)[-1] == "421"
    assert talk.closed


def test_idle_talk_between_messages_does_not() -> None:
    talk = Talk(limits=Limits(idle_commands=5)).greeted()
    for _ in range(9):
        talk("NOOP\r\nRSET\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\nDATA\r\n")
        assert talk.codes("x\r\n.\r\n") == ["250"]


def test_empty_chunks_without_end_end_the_session() -> None:
    talk = Talk(limits=Limits(idle_commands=5)).greeted()
    talk("MAIL FROM:<a@x.test>\r\nRCPT TO:<b@y.test>\r\n")
    assert "421" in talk.codes("BDAT 0\r\n" * 9)


def test_far_too_many_recipients_end_the_session() -> None:
    talk = Talk().greeted()
    talk("MAIL FROM:<a@x.test>\r\n")
    said = talk.codes("".join(f"RCPT TO:<r{i}@y.test>\r\n" for i in range(100)))
    assert said == ["250"] * 3 + ["452"] * 30 + ["421"]


def test_a_chunk_that_nobody_would_read_closes() -> None:
    talk = Talk().greeted()
    assert talk.codes("BDAT 999999999\r\n") == ["552"]
    assert talk.closed


def test_what_came_with_the_handshakes_last_packet_is_kept() -> None:
    dialogue = Dialogue(Facts("mx.test", Service.SMTP, tls_offered=True), LIMITS)
    dialogue.next()
    dialogue.answer(Reply(220, "", "mx.test"))
    dialogue.receive(b"STARTTLS\r\n")
    assert isinstance(dialogue.next(), events.StartTls)
    dialogue.receive(b"EHLO c.test\r\n")  # under TLS, before anyone was told that it stands
    assert dialogue.next() is None
    dialogue.secured()
    assert dialogue.next() == events.Hello("c.test", True)
