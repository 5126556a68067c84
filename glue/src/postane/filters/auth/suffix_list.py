"""What makes a text the public suffix list (https://publicsuffix.org/list/): looked at before anything relies on it.

A list that lost half its rules would make strangers one organisation, so a text is believed only if it is whole, holds
rules that everybody knows, and is not much shorter than the one before. Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from postane.core.errors import PermanentError

LEAST, MOST = 100 * 1024, 4 * 1024 * 1024  # octets
MAY_SHRINK = 0.10  # of the rules
_LONGEST_RULE = 255  # octets
_MARKERS = (
    "===BEGIN ICANN DOMAINS===",
    "===END ICANN DOMAINS===",
    "===BEGIN PRIVATE DOMAINS===",
    "===END PRIVATE DOMAINS===",
)
_KNOWN = (
    "com",
    "org",
    "tr",
    "com.tr",
    "co.uk",
    "*.ck",
    "!www.ck",
)  # a plain rule, two labels, a wildcard, an exception
_VERSION = re.compile(r"VERSION:\s*([0-9]{4}-[0-9]{2}-[0-9]{2}_[0-9]{2}-[0-9]{2}-[0-9]{2})_UTC")
_RULE = re.compile(r"!?(?:\*\.)?[^\s.!*/\\]+(?:\.(?:\*|[^\s.!*/\\]+))*")


@dataclass(frozen=True, slots=True)
class Facts:
    """`version` is the time of the list in UTC, as 2026-10-22_08-36-41; "" where it names none."""

    version: str
    rules: int


def facts(octets: bytes) -> Facts:
    """What a list says of itself, read without any check."""
    version = _VERSION.search(octets[:4096].decode("utf-8", "replace"))
    return Facts(version[1] if version else "", sum(1 for line in octets.splitlines() if _rule(line)))


def check(octets: bytes, before: Facts | None = None) -> Facts:
    """A list that may be used, after `before`. Raises PermanentError that says what is wrong."""
    if not LEAST <= len(octets) <= MOST:
        raise PermanentError(f"a public suffix list has {LEAST} to {MOST} octets, not {len(octets)}")
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError as error:
        raise PermanentError(f"it is no UTF-8: {error.reason} at octet {error.start}") from error
    at = -1
    for marker in _MARKERS:
        found = text.find(f"// {marker}")
        if found <= at:
            raise PermanentError(f"it has no line {marker!r} in its place")
        at = found
    rules = set()
    for number, line in enumerate(text.splitlines(), start=1):
        rule = line.split(maxsplit=1)[0] if line.strip() else ""
        if not rule or rule.startswith("//"):
            continue
        if len(rule.encode()) > _LONGEST_RULE or not rule.isprintable() or not _RULE.fullmatch(rule):
            raise PermanentError(f"line {number} is no rule: {rule[:80]!r}")
        rules.add(rule)
    missing = [rule for rule in _KNOWN if rule not in rules]
    if missing:
        raise PermanentError(f"it lacks rules that the list has had for ever: {', '.join(missing)}")
    made = facts(octets)
    if before is not None:
        if made.rules < before.rules * (1 - MAY_SHRINK):
            raise PermanentError(f"it has {made.rules} rules, over a tenth less than the {before.rules} in use")
        if made.version and made.version < before.version:
            raise PermanentError(f"it is of {made.version}, older than the list in use, of {before.version}")
    return made


def _rule(line: bytes) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith(b"//")
