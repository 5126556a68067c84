"""Sessions of any commands in any order, in packets cut anywhere, against a model of RFC 5321.

POSTANE_FUZZ_SESSIONS sets how many; beyond the default they are new ones each time.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from postane.config.model import Limits
from postane.core.peer import Service
from support.session_model import Session
from support.talk import Yes, codes, cut

SESSIONS = int(os.environ.get("POSTANE_FUZZ_SESSIONS", "120"))
LIMITS = Limits(
    recipients=3,
    errors=12,
    unknown_recipients=5,
    logins=2,
    message_size=400,
    command_line=128,
    text_line=100,
    transactions=6,
    idle_commands=10,
)
SENDERS = [
    (b"<a@far.test>", 250),
    (b"<>", 250),
    (b" <a@far.test> SIZE=10 BODY=8BITMIME", 250),
    ("<ç@far.test> SMTPUTF8".encode(), 250),
    ("<ç@far.test>".encode(), 553),
    (b"<a@far.test> SIZE=401", 552),
    (b"<a@far.test> WHAT=1", 555),
    (b"<a@@far.test>", 553),
    (b"a@far.test", 501),
]
RECIPIENTS = [
    (b"<ayse@demo.test>", 250),
    (b"<Mehmet@DEMO.test> NOTIFY=NEVER", 250),
    (b"<nobody@demo.test>", 550),
    (b"<>", 501),
    (b"<ayse@demo.test> WHAT=1", 555),
]
LINES = st.lists(
    st.sampled_from([b"", b".", b"..", b".a", b"a.", b"hello", b"MAIL FROM:<evil@far.test>", b"x" * 100, b"\xc3\xa7"])
    | st.sampled_from([b"x" * 101, b"a\nb", b"a\rb", b"a\r", b"\0", b"\n.", b".\n", b"\r.\r"]),
    max_size=6,
)
OCTETS = st.lists(st.sampled_from([b"\r\n", b"\r\n.\r\n", b".", b"a", b"\r", b"\n", b"x" * 99, b"\0"]), max_size=5)


class Sessions(RuleBasedStateMachine):
    """Commands gather in a group; a group is said as one packet to one dialogue, and in pieces to another."""

    group = b""

    @initialize(submission=st.booleans())
    def begin(self, submission: bool) -> None:
        service = Service.SUBMISSIONS if submission else Service.SMTP
        self.model = Session(LIMITS, submission)
        self.whole = Yes(LIMITS, service, secure=submission)
        self.cut = Yes(LIMITS, service, secure=submission)
        self.group = b""

    def say(self, octets: bytes) -> None:
        self.group += octets

    @rule(places=st.lists(st.integers(0, 500), max_size=8))
    def send(self, places: list[int]) -> None:
        group, self.group = self.group, b""
        heard = self.whole.say(group)
        pieces = cut(group, [place % (len(group) + 1) for place in places])
        assert self.cut.say(*pieces) == heard
        assert [int(code) for code in codes(heard)] == self.model.codes
        assert self.whole.texts == self.cut.texts
        assert [text for _, text in self.whole.texts] == self.model.taken
        assert self.whole.dialogue.closed == self.cut.dialogue.closed == self.model.closed
        self.model.codes = []

    @invariant()
    def keeps_nothing(self) -> None:
        for talk in (self.whole, self.cut):
            assert len(talk.dialogue._buffer) <= LIMITS.command_line

    def alive(self) -> bool:
        return not self.model.closed

    @precondition(alive)
    @rule(verb=st.sampled_from([b"EHLO", b"HELO", b"ehlo"]))
    def hello(self, verb: bytes) -> None:
        self.say(self.model.hello(verb))

    @precondition(alive)
    @rule(sender=st.sampled_from(SENDERS))
    def mail(self, sender: tuple[bytes, int]) -> None:
        self.say(self.model.mail_from(*sender))

    @precondition(alive)
    @rule(recipient=st.sampled_from(RECIPIENTS))
    def rcpt(self, recipient: tuple[bytes, int]) -> None:
        self.say(self.model.rcpt_to(*recipient))

    @precondition(alive)
    @rule(lines=LINES, places=st.lists(st.integers(0, 500), max_size=8))
    def data(self, lines: list[bytes], places: list[int]) -> None:
        """DATA ends its group; the text begins the next."""
        command, text_comes = self.model.data()
        self.say(command)
        self.send(places)
        if text_comes:
            self.say(self.model.text(lines))

    @precondition(alive)
    @rule(octets=OCTETS, last=st.booleans())
    def bdat(self, octets: list[bytes], last: bool) -> None:
        self.say(self.model.bdat(b"".join(octets), last))

    @precondition(alive)
    @rule(recipients=st.integers(1, 2), lines=LINES)
    def whole_mail(self, recipients: int, lines: list[bytes]) -> None:
        """What a client does that knows its trade: so that good messages are seen too."""
        self.say(self.model.hello(b"EHLO"))
        if self.model.submission and not self.model.closed and not self.model.login:
            self.say(self.model.auth(right=True, steps=False))
        if not self.model.closed:
            self.say(self.model.mail_from(*SENDERS[0]))
        for recipient in RECIPIENTS[:recipients]:
            if not self.model.closed:
                self.say(self.model.rcpt_to(*recipient))
        if not self.model.closed:
            self.data(lines, [])

    @precondition(alive)
    @rule(octets=OCTETS, last=st.booleans())
    def mail_by_chunks(self, octets: list[bytes], last: bool) -> None:
        """With and without a recipient, and with another mail behind it."""
        for recipient in (RECIPIENTS[2], RECIPIENTS[0]):
            if not self.model.closed:
                self.say(self.model.mail_from(*SENDERS[0]))
            if not self.model.closed:
                self.say(self.model.rcpt_to(*recipient))
            if not self.model.closed:
                self.say(self.model.bdat(b"".join(octets), last))

    @precondition(alive)
    @rule(places=st.lists(st.integers(0, 500), max_size=3), mail=st.booleans())
    def starttls(self, places: list[int], mail: bool) -> None:
        self.say(self.model.starttls())
        self.send(places)
        if mail and not self.model.closed:
            self.say(self.model.mail_from(*SENDERS[0]))

    @precondition(alive)
    @rule(right=st.booleans(), steps=st.booleans())
    def auth(self, right: bool, steps: bool) -> None:
        self.say(self.model.auth(right=right, steps=steps))

    @precondition(alive)
    @rule(
        name=st.sampled_from(["rset", "noop", "help", "vrfy", "auth_given_up", "bad_hello"]),
    )
    def other(self, name: str) -> None:
        self.say(getattr(self.model, name)())

    @precondition(alive)
    @rule(
        line=st.sampled_from(
            [b"WHAT", b"", b" NOOP", b"x" * 300, b"NOOP " + b"x\r" * 80, b"MAILFROM:<a@far.test>", b"\xff"]
        )
    )
    def nonsense(self, line: bytes) -> None:
        self.say(self.model.nonsense(line))

    @precondition(alive)
    @rule(line=st.sampled_from([b"NOOP\nNOOP", b"NO\rOP", b"NO\0OP", b"RSET\r", b"x" * 90 + b"\n" + b"x" * 90]))
    def bad_line(self, line: bytes) -> None:
        self.say(self.model.bad_line(line))

    @precondition(alive)
    @rule()
    def quit(self) -> None:
        self.say(self.model.quit())

    def teardown(self) -> None:
        if self.group:
            self.send([3, 9, 27])


Sessions.TestCase.settings = settings(
    max_examples=SESSIONS,
    stateful_step_count=40,
    deadline=None,
    derandomize=SESSIONS <= 120,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestSessions = Sessions.TestCase
