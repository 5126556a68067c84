"""What an attachment is called: every name that some mail program reads from a header field.

Programs differ in which parameter they take, in quoting, comments, continuations (RFC 2231) and encoded words
(RFC 2047), so all readings are given; who judges takes the worst.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote_to_bytes

from postane.filters.content.budget import BoundError

_MOST = 64 * 1024  # octets of a field that are looked into
_MANY = 400  # parameters of one field
_LONG = 255  # characters of a name; its end says what it is

# At every place where it may begin, inside of quotes too: what one program quotes another may read.
_PARAMETER = re.compile(
    rb"""(?=(?<![\w*.-])(name|filename|boundary)(?:\*(\d{1,4}))?(\*)?\s*=\s*("(?:[^"\\]|\\.)*+"?)?([^;]*))""",
    re.IGNORECASE | re.DOTALL,
)
COMMENT = re.compile(rb"\([^()]*\)")
_WORD = re.compile(rb"=\?([^?\s*]{1,60})(?:\*[^?\s]{0,20})?\?([bqBQ])\?([^?]*)\?=")
_BETWEEN = re.compile(rb"\?=\s+=\?")
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_TURNED = re.compile("[\u202b\u202d\u202e\u2067\u2068]")  # what is displayed reads backwards from here


def parameters(value: bytes, wanted: bytes = b"name") -> list[bytes]:
    """All readings of the parameters `name` and `filename`, or of `boundary`, of an unfolded field's value.

    Percent signs and encoded words are still there, and are read by `readings`. Raises BoundError.
    """
    if b"=" not in value:
        return []
    if len(value) > _MOST:
        raise BoundError(f"a field of over {_MOST} octets")
    found: list[bytes] = []
    numbered: dict[bytes, list[tuple[int, bytes]]] = {}
    texts = [value]
    if b"(" in value:
        texts.append(COMMENT.sub(b"", value))
    for text in texts:
        for count, match in enumerate(_PARAMETER.finditer(text)):
            if count > _MANY or len(found) > 4 * _MANY:
                raise BoundError(f"a field with over {_MANY} parameters")
            key = match[1].lower()
            if (key == b"boundary") is not (wanted == b"boundary"):
                continue
            values = list(_values(match[4], match[5]))
            if match[2] is None:
                found += values
                if match[3]:
                    found += [one.split(b"'", 2)[2] for one in values if one.count(b"'") >= 2]
            else:
                numbered.setdefault(key, []).append((int(match[2]), values[0]))
    for pieces in numbered.values():
        found += _joined(pieces)
    return list(dict.fromkeys(found))


def _values(quoted: bytes | None, rest: bytes) -> Iterator[bytes]:
    if quoted is not None:
        inner = quoted[1:-1] if quoted.endswith(b'"') and len(quoted) > 1 else quoted[1:]
        yield _ESCAPED.sub(rb"\1", inner) if b"\\" in inner else inner
        if b"\\" in inner:
            yield inner
        if rest.strip():  # what stands behind the quotes belongs to it for some
            yield inner + rest.strip().replace(b'"', b"")
        return
    bare = rest.strip()
    yield bare
    if any(octet in bare for octet in (b" ", b"\t", b"\r", b"\n", b'"', b",")):
        yield re.split(rb"[\s,]", bare, maxsplit=1)[0]
        yield bare.replace(b'"', b"")


def _joined(pieces: list[tuple[int, bytes]]) -> list[bytes]:
    """Continuations: in order of their numbers, up to the first gap, and as they came; charset and language off."""
    ordered = [piece for _, piece in sorted(pieces, key=lambda one: one[0])]
    unbroken = [piece for at, (number, piece) in enumerate(sorted(pieces, key=lambda one: one[0])) if number == at]
    ways = [b"".join(way) for way in (ordered, unbroken, [piece for _, piece in pieces])]
    return ways + [way.split(b"'", 2)[2] for way in ways if way.count(b"'") >= 2]


def readings(raw: Iterable[bytes]) -> list[str]:
    """Names as text: as they stand, with encoded words decoded, and with percent signs decoded."""
    texts: dict[str, None] = {}
    for one in raw:
        ways = [one]
        if b"=?" in one:
            ways.append(decoded_words(one))
        if b"%" in one:
            ways += [unquote_to_bytes(way) for way in ways]
        for way in ways:
            texts.update(dict.fromkeys(plain(_text(way))))
    return list(texts)


def decoded_words(octets: bytes) -> bytes:
    """Encoded words in place, inside of quotes too, in UTF-8 where their charset is known."""
    return _WORD.sub(_word, _BETWEEN.sub(b"?==?", octets))


def _word(match: re.Match[bytes]) -> bytes:
    charset, encoding, text = match.groups()
    if encoding in b"Bb":
        octets = lenient_base64(text)
    else:
        octets = binascii.a2b_qp(text.replace(b"_", b" ").replace(b"\n", b""), header=True)
    name = charset.decode("ascii", "replace")
    if name.lower() in ("utf-8", "us-ascii", "utf8") or len(octets) > 1000:
        return octets
    try:
        return octets.decode(name, "replace").encode("utf-8", "replace")
    except (LookupError, ValueError):
        return octets


def lenient_base64(text: bytes) -> bytes:
    """Of a few octets: whatever can be decoded."""
    clean = bytes(octet for octet in text if chr(octet).isalnum() or octet in b"+/") if text else b""
    clean = clean.translate(None, bytes(range(128, 256)))
    clean = clean[: len(clean) - 1] if len(clean) % 4 == 1 else clean
    return binascii.a2b_base64(clean + b"=" * (-len(clean) % 4))


def _text(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def plain(name: str) -> list[str]:
    """The last part of a path, as a file system would keep it: several where an end may be cut off."""
    ways = []
    for text in {name, name.partition("\0")[0]}:
        base = re.split(r"[/\\]", _INVISIBLE.sub("", text).strip(" \t\r\n\"'").rstrip("/\\"))[-1]
        for way in dict.fromkeys((base, base.partition(":")[0] or base)):  # name:stream is a name to NTFS
            ways.append(way.strip().rstrip(". ")[-_LONG:])
    return [way for way in dict.fromkeys(ways) if way]


def turned(raw: Iterable[bytes]) -> bool:
    """True if a name has marks that have it displayed backwards in part: what seems its end is not."""
    return any(_TURNED.search(_text(unquote_to_bytes(decoded_words(one)))) for one in raw)


def extension(name: str) -> str:
    """In lower case, without the dot; "" if there is none."""
    return name.rpartition(".")[2].casefold() if "." in name else ""
