"""The policy file for servers that send to a domain (RFC 8461). Pure."""

from __future__ import annotations

import hashlib

from postane.clients.model import MtaSts

LABEL = "mta-sts"
PATH = "/.well-known/mta-sts.txt"


def policy_text(policy: MtaSts) -> str:
    """The file, section 3.2. In mode none `mx` says nothing, and stands there for the day it is switched on."""
    lines = ["version: STSv1", f"mode: {policy.mode}", *(f"mx: {name}" for name in policy.mx)]
    return "".join(f"{line}\r\n" for line in [*lines, f"max_age: {policy.max_age}"])


def policy_id(policy: MtaSts) -> str:
    """The id of the TXT record: 20 letters and digits that change if, and only if, the policy does (section 3.1)."""
    return hashlib.sha256(policy_text(policy).encode()).hexdigest()[:20]
