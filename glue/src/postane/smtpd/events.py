"""What a dialogue asks its handler. Each event waits for one Reply, which `Dialogue.answer` takes.

Plain slotted classes, not frozen ones: a handful of them is made for each message.
"""

from __future__ import annotations

from dataclasses import dataclass

from postane.smtpd.command import MailCommand, RcptCommand


@dataclass(slots=True)
class Connected:
    """The peer is on the line; the reply is the greeting (220) or a refusal (421, 554), which closes."""


@dataclass(slots=True)
class Hello:
    name: str
    extended: bool


@dataclass(slots=True)
class Mail:
    command: MailCommand


@dataclass(slots=True)
class Rcpt:
    command: RcptCommand


@dataclass(slots=True)
class Data:
    """DATA, or the first BDAT: may a text come now? An ok reply must be given with a sink for the text."""

    chunked: bool


@dataclass(slots=True)
class Text:
    """The text is complete and in the sink. `fault` is "" or why the text cannot be taken (see smtpd.text)."""

    size: int
    fault: str


@dataclass(slots=True)
class Login:
    """AUTH with name and password, decoded. The reply 235 makes the session an authenticated one."""

    login: str
    password: str


@dataclass(slots=True)
class StartTls:
    """220 has been said and everything read before it forgotten: start TLS, then call `Dialogue.secured`."""


@dataclass(slots=True)
class Reset:
    """RSET or a new EHLO: the transaction is forgotten; needs no reply."""


Event = Connected | Hello | Mail | Rcpt | Data | Text | Login | StartTls | Reset
