"""The trace header that this host adds: who handed over the message, by which protocol, under which id.

Sources: RFC 5321 section 4.4 (Received), RFC 3848 (ESMTPS, ESMTPSA), RFC 6531 section 4.3 (UTF8SMTP…),
RFC 8314 section 4.3 (the `tls` clause).
"""

from __future__ import annotations

from email.utils import formatdate
from functools import lru_cache

from postane.core.peer import Peer


@lru_cache(4)
def _date(second: int) -> str:
    return f"{formatdate(second)[:-5]}+0000"


def protocol(peer: Peer, *, smtputf8: bool) -> str:
    """SMTP, ESMTP, ESMTPS, ESMTPSA, UTF8SMTPS, …"""
    if not peer.esmtp:
        return "SMTP"
    name = "UTF8SMTP" if smtputf8 else "ESMTP"
    return name + ("S" if peer.tls else "") + ("A" if peer.login else "")


def received(peer: Peer, host: str, message_id: str, now: float, *, smtputf8: bool, recipient: str = "") -> bytes:
    """One folded Received field with CRLF at its end.

    `recipient` is named only where it is the only one: more would tell the blind copies.
    """
    literal = f"[IPv6:{peer.ip}]" if ":" in peer.ip else f"[{peer.ip}]"
    lines = [
        f"from {peer.helo or literal} ({literal})",
        f"by {host} (Postane) with {protocol(peer, smtputf8=smtputf8)}",
    ]
    if peer.tls:
        version, _, cipher = peer.tls.partition(" ")
        lines.append(f"(version={version} cipher={cipher})")
    lines.append(f"id {message_id}" + (f" for <{recipient}>" if recipient else ""))
    return ("Received: " + "\r\n\t".join(lines) + f"; {_date(int(now))}\r\n").encode("utf-8")
