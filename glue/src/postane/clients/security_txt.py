"""Whom to tell of a hole in what we run (RFC 9116). Pure."""

from __future__ import annotations

import time

PATH = "/.well-known/security.txt"

_DAY = 86_400
_LIFE = 180 * _DAY  # less than a year, section 2.5.5


def security_text(contact: str, now: float) -> str:
    """`contact` is a URI; the end is midnight, so that the text changes once a day only."""
    end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((int(now) // _DAY) * _DAY + _LIFE))
    return f"Contact: {contact}\nExpires: {end}\nPreferred-Languages: en, tr\n"
