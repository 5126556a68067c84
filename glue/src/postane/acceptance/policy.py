"""An MTA-STS policy as those who send read it. Pure. Source: RFC 8461 sections 3.2 and 4.1."""

from __future__ import annotations

from dataclasses import dataclass

from postane.acceptance.result import FailedError


@dataclass(frozen=True, slots=True)
class Policy:
    mode: str
    mx: tuple[str, ...]
    max_age: int


def read_policy(octets: bytes) -> Policy:
    """Raises FailedError for what no sender would take."""
    fields: dict[str, list[str]] = {}
    for line in octets.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), []).append(value.strip())
    mode, age = fields.get("mode", [""])[0], fields.get("max_age", [""])[0]
    mx = tuple(fields.get("mx", ()))
    if fields.get("version") != ["STSv1"] or mode not in ("none", "testing", "enforce") or not age.isdecimal():
        raise FailedError("bad_policy")
    if not mx and mode != "none":
        raise FailedError("bad_policy")
    return Policy(mode, mx, int(age))


def matches(pattern: str, host: str) -> bool:
    """`*.` stands for one label."""
    pattern, host = pattern.lower().removesuffix("."), host.lower().removesuffix(".")
    if pattern.startswith("*."):
        return host.partition(".")[2] == pattern[2:]
    return host == pattern
