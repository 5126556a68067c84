"""Who is on the line: facts of one SMTP session, gathered as the dialogue goes on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Service(StrEnum):
    """Which door the peer came by."""

    SMTP = "smtp"  # 25: from other servers
    SUBMISSION = "submission"  # 587: STARTTLS, then a login (RFC 6409)
    SUBMISSIONS = "submissions"  # 465: TLS from the first octet (RFC 8314)


@dataclass(frozen=True, slots=True)
class Peer:
    """`tls` is the protocol and cipher ("TLSv1.3 TLS_AES_256_GCM_SHA384"), "" in clear; `login` the account's key.

    `own`: one of our users, or a program of the host itself. `score` is what filters made of the peer so far: the sum
    of the scores of the phases before this one. `tenant` is that of the login.
    """

    service: Service
    ip: str
    port: int
    helo: str = ""
    esmtp: bool = False
    tls: str = ""
    login: str = ""
    own: bool = False
    score: float = 0.0
    tenant: str = ""
