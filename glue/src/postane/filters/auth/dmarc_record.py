"""DMARC policy records, read as RFC 9989 sections 4.7, 4.8 and 4.10.1 say.

Unknown tags are ignored, and so are broken ones that have a default. `pct`, `rf` and `ri` of RFC 7489 are unknown tags
since: a record that has them asks for its policy in full, and says `t=y` where it does not (appendix A.6).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast, get_args

Policy = Literal["none", "quarantine", "reject"]

_VERSION = re.compile(r"[vV][ \t]*=[ \t]*DMARC1[ \t]*(?:;|\Z)")
_TAG = re.compile(r"([A-Za-z]+)[ \t]*=[ \t]*([\x20-\x3a\x3c-\x7e]+)")
_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):([!-+\--~]+)")


@dataclass(frozen=True, slots=True)
class Record:
    """`p`, `sp` and `np` are the policies, None where the tag is absent or, for p, cannot be used.

    `applies` is False for a record that switches DMARC off for the message: its policy cannot be read, and it names
    nobody to report that to (section 4.10.1). `psd` is "y", "n" or "u". `rua` and `ruf` are URIs.
    """

    text: str
    p: Policy = "none"
    sp: Policy | None = None
    np: Policy | None = None
    strict_dkim: bool = False
    strict_spf: bool = False
    testing: bool = False
    psd: str = "u"
    applies: bool = True
    rua: tuple[str, ...] = ()
    ruf: tuple[str, ...] = ()
    fo: str = "0"

    def for_subdomain(self, *, exists: bool) -> Policy:
        """The policy of a name below the one that has the record."""
        if not exists and self.np is not None:
            return self.np
        return self.p if self.sp is None else self.sp


def only(texts: Iterable[str]) -> Record | None:
    """The one DMARC record among the TXT records of a name: several are none (section 4.10, steps 2 and 6)."""
    records = [text for text in texts if _VERSION.match(text)]
    return parse(records[0]) if len(records) == 1 else None


def parse(text: str) -> Record:
    """Reads a text that begins with v=DMARC1; never raises."""
    tags: dict[str, str] = {}
    for part in text.split(";")[1:]:
        match = _TAG.fullmatch(part.strip(" \t"))
        if match:
            tags.setdefault(match[1].lower(), match[2].strip(" \t"))
    wanted = {name: _policy(tags[name]) for name in ("p", "sp", "np") if name in tags}
    rua = _uris(tags.get("rua", ""))
    usable = wanted.get("p") is not None and None not in wanted.values()
    return Record(
        text,
        p=(wanted["p"] or "none") if usable else "none",
        sp=wanted.get("sp") if usable else None,
        np=wanted.get("np") if usable else None,
        strict_dkim=tags.get("adkim", "").lower() == "s",
        strict_spf=tags.get("aspf", "").lower() == "s",
        testing=tags.get("t", "").lower() == "y",
        psd=psd if (psd := tags.get("psd", "").lower()) in ("y", "n") else "u",
        applies=usable or bool(rua),
        rua=rua,
        ruf=_uris(tags.get("ruf", "")),
        fo=tags.get("fo", "0").lower(),
    )


def _policy(value: str) -> Policy | None:
    lowered = value.lower()
    return cast(Policy, lowered) if lowered in get_args(Policy) else None


def _uris(value: str) -> tuple[str, ...]:
    """Syntactically valid ones; the size limit after `!` of RFC 7489 is cut off."""
    found = []
    for part in value.split(","):
        uri = part.strip(" \t").partition("!")[0]
        match = _URI.fullmatch(uri)
        if match and (match[1].lower() != "mailto" or "@" in match[2]):
            found.append(uri)
    return tuple(found)
