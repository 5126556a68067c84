"""What documents may do by themselves: macros in Office packages, actions in PDF, objects in RTF, scripts in HTML."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable

from postane.filters.content.archive import MACROS
from postane.filters.content.budget import Budget
from postane.filters.content.octets import WINDOW, Octets, every

_OVERLAP = 64
_STREAM = 4_000_000  # octets that a stream of objects in a PDF is unpacked to
_STREAMS = 300


def _name(text: str) -> bytes:
    """A PDF name: each character as it is or by its number (ISO 32000 section 7.3.5)."""
    return b"".join(rb"(?:%c|#%02x|#%02X)" % (ord(one), ord(one), ord(one)) for one in text)


_PDF_SCRIPT = re.compile(rb"/(?:" + _name("JavaScript") + rb"|" + _name("JS") + rb")(?![A-Za-z0-9])")
_PDF_LAUNCH = re.compile(rb"/" + _name("Launch") + rb"(?![A-Za-z0-9])")
_RTF_OBJECT = re.compile(rb"\\obj(?:data|update|autlink|ocx|emb|link|html)\b")
_HTML_SCRIPT = re.compile(
    rb"<(?:[a-z]{1,10}:)?script\b|\bon(?:load|error|click|mouseover)\s*=|javascript:", re.IGNORECASE
)


_RELATION = re.compile(rb"<Relationship\b[^>]{0,4000}>", re.IGNORECASE)


def remote(relations: bytes) -> bool:
    """True if a document takes its template, or an object, from elsewhere as it is opened: the list of relations of an
    Office package says so (ECMA-376 part 2, section 9.3).
    """
    return any(
        b'"External"' in one
        and any(kind in one for kind in (b"/attachedTemplate", b"/oleObject", b"/frame", b"/subDocument"))
        for one in _RELATION.findall(relations)
    )


def package(names: Iterable[str], types: bytes) -> set[str]:
    """Marks of an Office package or a Java archive: `names` of its members, and the octets of [Content_Types].xml."""
    found = set()
    lower = [name.casefold() for name in names]
    if any(name.endswith("vbaproject.bin") or "macrosheets/" in name for name in lower):
        found.add(MACROS)
    if b"vbaProject" in types or b"macroEnabled" in types or b"macrosheet" in types:
        found.add(MACROS)
    if any(name.startswith(("basic/", "scripts/")) and not name.endswith("/") for name in lower) and (
        "mimetype" in lower or "content.xml" in lower
    ):
        found.add(MACROS)
    if any(name.endswith(".class") for name in lower) or ("meta-inf/manifest.mf" in lower and "mimetype" not in lower):
        found.add("java")
    return found


def pdf(octets: Octets, budget: Budget) -> set[str]:
    """pdf_script and pdf_launch, looked for in the open and in compressed streams of objects."""
    found = _search(octets, budget, {"pdf_script": _PDF_SCRIPT, "pdf_launch": _PDF_LAUNCH})
    for number, at in enumerate(every(octets, b"/ObjStm", 0, len(octets), budget)):
        if number >= _STREAMS or len(found) == 2:
            break
        head = octets[at : at + 2048]
        begin = head.find(b"stream")
        if begin < 0:
            continue
        begin += at + 6
        begin += len(octets[begin : begin + 2]) - len(octets[begin : begin + 2].lstrip(b"\r\n"))
        try:
            text = zlib.decompressobj().decompress(octets[begin : begin + _STREAM], _STREAM)
        except zlib.error:
            continue
        budget.step(50)
        found |= {
            mark for mark, pattern in (("pdf_script", _PDF_SCRIPT), ("pdf_launch", _PDF_LAUNCH)) if pattern.search(text)
        }
    return found


def rtf(octets: Octets, budget: Budget) -> set[str]:
    return _search(octets, budget, {"rtf_object": _RTF_OBJECT})


def html(octets: Octets, budget: Budget) -> set[str]:
    return _search(octets, budget, {"html_script": _HTML_SCRIPT})


def _search(octets: Octets, budget: Budget, patterns: dict[str, re.Pattern[bytes]]) -> set[str]:
    found = set()
    for at in range(0, len(octets), WINDOW):
        window = octets[max(0, at - _OVERLAP) : at + WINDOW]
        found |= {mark for mark, pattern in patterns.items() if mark not in found and pattern.search(window)}
        if len(found) == len(patterns):
            break
        budget.step(100)
    return found
