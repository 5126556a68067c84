"""What a run is about: the domain, how it ought to be, and the account that was made for it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate

from postane.acceptance.inbox import Arrived
from postane.clients.model import Setup
from postane.domains.kinds import Kind

ARRIVE = 45.0  # seconds that a mail within the platform may take
ECHO = 150.0  # and one to another and back
MARK = "X-Postane-Acceptance"
# https://spamassassin.apache.org/gtube/: what every spam filter knows as a test. In two parts, so that this file may be
# mailed.
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*" + "GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


@dataclass(frozen=True, slots=True)
class Subject:
    """`led_here`: mail of the domain comes here, so the MX should name the host. `kinds` are those of record that
    Postane keeps for the domain now. `addresses` are those that the host sends from, () where they are to be looked up.

    `copy` is a second account, with the same password; `alias` leads to the first. `stranger` is who writes from
    outside. `echo` is an outside address that answers, `peer` ("host:port") a server outside that sends on what it is
    given; "" for none. `suspects`: the host has a filter that knows spam. `held` says whether a token is in the
    quarantine; it blocks.
    """

    setup: Setup
    led_here: bool
    kinds: frozenset[Kind]
    addresses: tuple[str, ...]
    account: str
    copy: str
    alias: str
    password: str
    stranger: str
    echo: str = ""
    peer: str = ""
    catch_all: bool = False
    signs: bool = True
    suspects: bool = False
    mail_port: int = 25
    held: Callable[[str], bool] = lambda _: False

    @property
    def domain(self) -> str:
        return self.setup.domain

    @property
    def host(self) -> str:
        return self.setup.host

    def mail(self, token: str, sender: str, to: str, body: str = "") -> bytes:
        """A mail with CRLF. `token` tells it from all others."""
        lines = [
            f"From: Postane acceptance <{sender}>",
            f"To: <{to}>",
            f"Subject: Postane acceptance run {token}",
            f"Date: {formatdate(localtime=True)}",
            f"Message-ID: <{token}@{self.host}>",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=us-ascii",
            f"{MARK}: {token}",
            "",
            body or f"This mail was sent by the acceptance run of {self.domain}. Nobody needs to read it.",
            "",
        ]
        return "\r\n".join(lines).encode()

    def own(self, token: str) -> bytes:
        """A mail of the account to itself."""
        return self.mail(token, self.account, self.account)


def new_token() -> str:
    return secrets.token_hex(12)


class Sent:
    """The first mail that went out by submission and arrived, for those who look at it; None if none did."""

    def __init__(self, ways: int) -> None:
        self._left = ways
        self._found: asyncio.Future[Arrived | None] = asyncio.get_running_loop().create_future()
        if not ways:
            self._found.set_result(None)

    def put(self, mail: Arrived | None) -> None:
        """Said once by each way."""
        self._left -= 1
        if not self._found.done() and (mail is not None or self._left <= 0):
            self._found.set_result(mail)

    async def get(self) -> Arrived | None:
        return await asyncio.shield(self._found)
