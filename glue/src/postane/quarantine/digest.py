"""The digest: the mail by which an owner learns what waits in quarantine, and the times at which it is sent. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email import policy
from email.headerregistry import Address as HeaderAddress
from email.message import EmailMessage
from email.utils import formatdate
from functools import cache
from typing import Literal

import jinja2

from postane.quarantine.items import Item
from postane.quarantine.token import Action
from postane.quarantine.words import Words

Link = Callable[[Item, Action], str]
"""The address of a link; "" where the owner may not do that."""


@dataclass(frozen=True, slots=True)
class Digest:
    """A digest to be: `items` are new, newest first, `older` more of them are only counted. `days`: how long each is
    kept. `id` is the spool id it will have. `all` is the address of a page with all that waits.
    """

    host: str
    id: str
    mailbox: str
    items: Sequence[Item]
    older: int
    days: float
    language: str
    now: float
    all: str


def slot(mailbox: str, every: Literal["daily", "weekly"], hour: int, spread: float, now: float) -> float:
    """The last time, up to `now`, at which a digest of this mailbox was or is due.

    Each mailbox has its own moment within `spread` seconds after the hour, the same every day: so a restart neither
    forgets nor repeats one, and a hundred thousand mails do not leave in one second.
    """
    share = int.from_bytes(hashlib.sha256(mailbox.encode()).digest()[:4], "big") / 2**32
    local = datetime.fromtimestamp(now).astimezone()
    day = local.replace(hour=hour, minute=0, second=0, microsecond=0, tzinfo=None)
    if every == "weekly":
        day -= timedelta(days=day.weekday())
    step = timedelta(days=7 if every == "weekly" else 1)
    due = day.timestamp() + share * spread
    while due > now:  # by the calendar, not by seconds: a day may have 23 hours
        day -= step
        due = day.timestamp() + share * spread
    return due


def build(digest: Digest, link: Link) -> bytes:
    """The whole mail, with CRLF line ends: text and HTML side by side."""
    words = Words(digest.language)
    count = len(digest.items) + digest.older
    ascii_only = digest.mailbox.isascii()
    mail = EmailMessage(policy=policy.SMTP if ascii_only else policy.SMTPUTF8)
    local, _, domain = digest.mailbox.rpartition("@")
    mail["Date"] = formatdate(digest.now, localtime=True)
    mail["From"] = HeaderAddress(words("digest.from"), "postmaster", digest.host)
    mail["To"] = HeaderAddress("", local, domain)
    mail["Subject"] = words("digest.subject", count=count)
    mail["Message-ID"] = f"<{digest.id}@{digest.host}>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834 section 5
    mail["List-Id"] = f"<quarantine.{digest.host}>"  # RFC 2919: what a rule of the reader can hold on to
    mail["X-Auto-Response-Suppress"] = "All"
    facts = {
        "words": words,
        "digest": digest,
        "count": count,
        "days": f"{digest.days:g}",
        "rows": [(item, link(item, "release"), link(item, "delete")) for item in digest.items],
    }
    mail.set_content(_template("digest.txt.j2").render(facts), cte="quoted-printable")
    mail.add_alternative(_template("digest.html.j2").render(facts), subtype="html", cte="quoted-printable")
    return mail.as_bytes()


@cache
def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("postane.quarantine"),
        autoescape=name.endswith(".html.j2"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name)
