"""The envelope of a message: who sent it, who gets it, what the sender asked of the delivery.

Sources: RFC 5321 (MAIL, RCPT), RFC 3461 (RET, ENVID, NOTIFY, ORCPT), RFC 6152 (BODY), RFC 6531 (SMTPUTF8).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Notify(StrEnum):
    """One word of NOTIFY= (RFC 3461 section 4.1)."""

    NEVER = "NEVER"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    DELAY = "DELAY"


@dataclass(frozen=True, slots=True)
class Recipient:
    """One recipient as the spool keeps it.

    `address` is where the message goes (after aliases), `original` what the peer said in RCPT.
    `orcpt` is the ORCPT parameter as given ("rfc822;addr") or "". An empty `notify` is the default of RFC 3461.
    `kind` says which door it leaves by: "local" (a mailbox here), "remote", "elsewhere" (of a domain here, but still at
    the host that the domain comes from), or "quarantine" (kept apart from the mailbox `address`). `mailbox` is the one
    that the address had when the recipient was accepted (core.ports.Mailbox), 0 where that was not said: whoever has
    the address later does not get the message.
    """

    address: str
    original: str = ""
    kind: str = "local"
    notify: tuple[Notify, ...] = ()
    orcpt: str = ""
    mailbox: int = 0


@dataclass(frozen=True, slots=True)
class Envelope:
    """All that the spool keeps of a message beside its text.

    `id` is the spool id: 26 characters that sort by time (see core.ids), the trace id of every log line about it.
    `sender` is the envelope sender, "" for the null sender. `received_at` is seconds since the epoch.
    """

    id: str
    sender: str
    recipients: tuple[Recipient, ...]
    received_at: float
    login: str = ""
    client_ip: str = ""
    helo: str = ""
    smtputf8: bool = False
    body_8bit: bool = False
    ret: str = ""
    envid: str = ""
    tenant: str = ""
    extra: dict[str, str] = field(default_factory=dict)
