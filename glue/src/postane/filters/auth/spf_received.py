"""The Received-SPF header (RFC 7208 section 9.1): what was checked, and what came of it, in the message itself.

Pure. What a peer said stands in quotation marks, and can end neither these nor the line.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address

from postane.filters.auth.spf import Checked, Client
from postane.filters.auth.spf_record import Result

NAME = "Received-SPF"

_LONGEST = 300  # characters of one value
_ATEXT = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~]+"
_DOT_ATOM = re.compile(rf"{_ATEXT}(?:\.{_ATEXT})*", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")

_WORDS = {
    Result.PASS: "domain of {domain} allows {ip}",
    Result.FAIL: "domain of {domain} forbids {ip}",
    Result.SOFTFAIL: "domain of {domain} doubts {ip}",
    Result.NEUTRAL: "domain of {domain} says nothing of {ip}",
    Result.NONE: "domain of {domain} has no SPF record",
    Result.TEMPERROR: "domain of {domain} could not be asked",
    Result.PERMERROR: "domain of {domain} has a record in error",
}


def received_spf(checked: Checked, client: Client) -> str:
    """The value of one header, folded with CRLF and a tab."""
    mapped = client.ip.ipv4_mapped if isinstance(client.ip, IPv6Address) else None
    ip = str(mapped or type(client.ip)(int(client.ip)))
    words = _WORDS[checked.result].format(domain=checked.domain or "nobody", ip=ip)
    pairs = {
        "identity": "mailfrom" if client.mail_from else "helo",
        "client-ip": ip,
        "envelope-from": client.mail_from,
        "helo": client.helo,
        "receiver": client.receiver,
        "mechanism": checked.mechanism,
        "problem": checked.problem,
    }
    lines = [f"{checked.result} ({_comment(f'{client.receiver}: {words}')})"]
    lines += [f"{key}={_value(value)};" for key, value in pairs.items() if value or key == "envelope-from"]
    return "\r\n\t".join(lines).removesuffix(";")


def _value(text: str) -> str:
    text = _CONTROL.sub(" ", text)[:_LONGEST]
    if _DOT_ATOM.fullmatch(text):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _comment(text: str) -> str:
    return re.sub(r"[()\\]", " ", _CONTROL.sub(" ", text)[:_LONGEST])
