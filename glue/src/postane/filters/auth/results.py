"""The Authentication-Results header (RFC 8601): ours written, and those that only claim to be ours taken out.

Pure. What a peer said (a domain, an address, a reason) is quoted where it is no token, and can never end a quotation,
a line or the header.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from postane.filters.auth.arc import Chain
from postane.filters.auth.dkim import Signed
from postane.filters.auth.dkim_key import Result
from postane.filters.auth.dmarc import Evaluation
from postane.filters.auth.iprev import Reverse
from postane.filters.auth.message import Field, split

NAME = b"authentication-results"

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~\-\x80-\U0010ffff]+")
# A domain, or an address without quotes in it, is a pvalue as it stands (section 2.2).
_ADDRESS = re.compile(r"(?:[A-Za-z0-9!#$%&'*+./=?^_`{|}~\-\x80-\U0010ffff]*@)?[A-Za-z0-9._\-\x80-\U0010ffff]+")
_VISIBLE = re.compile(rb"[^ \t\r\n]")
_COMMENT = re.compile(r"\([^()\\\"]*\)")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_CLAIM = b"X-Authentication-Claim"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_LONGEST_ID = 1000  # characters in which our name may hide
_LONGEST = 200  # characters of one value
_WIDTH = 78


@dataclass(frozen=True, slots=True)
class Method:
    """One result: `method` ("spf"), `result` ("pass"), and properties such as ("smtp.mailfrom", "a@b.example")."""

    method: str
    result: str
    properties: Sequence[tuple[str, str]] = ()
    reason: str = ""
    comment: str = ""


def compose(authserv_id: str, methods: Iterable[Method]) -> str:
    """The value of one header, folded with CRLF and a tab; `none` where nothing was checked (section 2.2)."""
    parts = [_method(one) for one in methods] or [["none"]]
    lines = [authserv_id]
    for words in parts:
        lines[-1] += ";"
        lines.append("")
        for word in words:
            if lines[-1] and len(lines[-1]) + len(word) > _WIDTH - 10:
                lines.append("")
            lines[-1] += f" {word}" if lines[-1] else word
    return "\r\n\t".join(lines)


def spf(result: str, *, mail_from: str, helo: str, reason: str = "") -> Method:
    """`mail_from` is the envelope sender, "" for the null sender: then the HELO name was checked."""
    checked = ("smtp.mailfrom", mail_from) if mail_from else ("smtp.helo", helo)
    return Method("spf", result, [checked], reason)


def dkim(signatures: Sequence[Signed]) -> list[Method]:
    """One for each signature; `none` where there are none. `header.b` tells two of one domain apart (RFC 6008)."""
    if not signatures:
        return [Method("dkim", Result.NONE, comment="no signature")]
    return [
        Method(
            "dkim",
            one.result,
            [("header.d", one.domain), ("header.s", one.selector), ("header.b", one.start)],
            one.reason,
        )
        for one in signatures
    ]


def arc(chain: Chain) -> Method:
    """RFC 8617 section 4.4 and 10.1: header.oldest-pass, and the newest sealer."""
    if chain.cv is not Result.PASS:
        return Method("arc", chain.cv, reason=chain.reason)
    return Method("arc", chain.cv, [("header.oldest-pass", str(chain.oldest_pass))], comment=chain.sealers[-1])


def dmarc(evaluation: Evaluation) -> Method:
    """With what the domain asks for (`policy.dmarc`, RFC 9989 section 9.1) where it asks anything."""
    properties = [("header.from", evaluation.domain)]
    if evaluation.record:
        properties.append(("policy.dmarc", evaluation.policy))
    return Method("dmarc", evaluation.result, properties, evaluation.reason)


def iprev(reverse: Reverse, ip: str) -> Method:
    """RFC 8601 section 2.7.3; the name that was confirmed as a comment."""
    return Method("iprev", reverse.result, [("policy.iprev", ip)], reverse.reason, reverse.name)


def is_ours(field: Field, authserv_id: str) -> bool:
    """True for an Authentication-Results field under our name, which only we may write (section 5).

    A field that cannot be read is ours if our name stands in it anywhere: another reader may understand it.
    """
    if field.name != NAME:
        return False
    text = field.value.decode("utf-8", "replace").lower()
    name = authserv_id.lower()
    start = text[:_LONGEST_ID]
    if _names(text, name) or "=?" in start.partition(";")[0]:  # no name is an encoded word, and some programs decode it
        return True
    return not start.isascii() and _names(_plain(start), name)


def blanked(head: bytes, authserv_id: str) -> list[tuple[int, bytes]]:
    """Octets for the fields of a header (CRLF line ends) that claim to be ours, each with its offset.

    The field keeps its length and its folds; its name becomes one that nobody reads, and what it claims is gone.
    """
    if NAME not in head.lower():
        return []
    patches = []
    at = 0
    for field in split(head):
        at = head.index(field.raw, at)
        if is_ours(field, authserv_id):
            name, _, value = field.raw.partition(b":")
            patches.append((at, _CLAIM.ljust(len(name))[: len(name)] + b":" + _VISIBLE.sub(b".", value)))
        at += len(field.raw)
    return patches


def says_dmarc_pass(value: bytes, domain: str) -> bool:
    """True if Authentication-Results of another say that DMARC passed for an author domain."""
    text = _COMMENT.sub(" ", value.decode("utf-8", "replace"))
    if "(" in text or ")" in text:
        return False  # a comment in a comment, or one without an end: not worth a guess
    for part in _QUOTED.sub('""', text).lower().split(";")[1:]:
        words = part.split()
        if words[:1] == ["dmarc=pass"] and f"header.from={domain}" in words:
            return True
    return False


def without_ours(fields: Iterable[Field], authserv_id: str) -> tuple[Field, ...]:
    """The fields less those that claim to be our Authentication-Results; ARC's own are part of a seal and stay."""
    return tuple(field for field in fields if not is_ours(field, authserv_id))


def _plain(text: str) -> str:
    """As a reader sees it: wide letters as plain ones, without what is invisible."""
    return "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf").lower()


def _names(text: str, name: str) -> bool:
    written = _authserv_id(text)
    return name in text if written is None else written == name


def _authserv_id(text: str) -> str | None:
    """The name at the start of a value, after white space and comments; None where there is none to be read."""
    at = depth = 0
    while at < len(text) and (depth or text[at] in " \t\r\n("):
        if text[at] == "\\" and depth:
            at += 1
        depth += (text[at : at + 1] == "(") - (text[at : at + 1] == ")")
        at += 1
    if quoted := re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL).match(text, at):
        return re.sub(r"\\(.)", r"\1", quoted[1])
    plain = re.compile(r"[^\s;()\"\\]+").match(text, at)
    if not plain or text[plain.end() : plain.end() + 1] not in ("", ";", " ", "\t", "\r", "("):
        return None
    return plain[0].removesuffix(".")


def _method(one: Method) -> list[str]:
    words = [f"{one.method}={one.result}"]
    if one.comment:
        words.append(f"({_comment(one.comment)})")
    if one.reason:
        words.append(f"reason={_value(one.reason)}")
    words += [f"{name}={_value(value)}" for name, value in one.properties if value]
    return words


def _value(text: str) -> str:
    text = _CONTROL.sub(" ", text)[:_LONGEST]
    if _TOKEN.fullmatch(text) or _ADDRESS.fullmatch(text):
        return text
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _comment(text: str) -> str:
    return re.sub(r"[()\\]", " ", _CONTROL.sub(" ", text)[:_LONGEST])
