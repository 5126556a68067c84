"""What a reader sees beside the address in From: whether it holds an address of somebody else. Pure.

`"boss@bank.example" <x@evil.example>` is good grammar, and many programs show nothing but the name. So everything in
the field beside the address is looked at as a program shows it: encoded words decoded, quotes and comments opened,
letters that only look wide made plain, what is turned round turned back, what is invisible left out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from email.errors import HeaderParseError
from email.header import decode_header

from postane.core.address import Address
from postane.core.errors import AddressError
from postane.filters.auth.from_header import Author
from postane.filters.auth.message import Field

_MAX = 16 * 1024  # characters; From with more is refused as unclear
_MOST = 50  # addresses that are looked at
_ADDRESS = re.compile(r"[^\s<>()\[\]\",;:@\\]{1,64}@(?:[\w-]{1,63}\.){1,20}[^\W\d_][\w-]{1,62}")
_TURNED = re.compile("\u202e([^\u202c]*)")  # right-to-left override, up to the end of it (Unicode annex 9)
_ENCODED = re.compile(r"=\?[^?\s]{1,80}\?[bqBQ]\?[^?\s]*\?=(?:\s+(?==\?))?")


def foreign(fields: Iterable[Field], author: Author, organization: str = "") -> str:
    """The first address in From that is of another domain than the author's; "" if there is none.

    Of the same domain are those above and below it, and all of its organisation (as A-labels), where that is known.
    """
    text = next((field.value for field in fields if field.name == b"from"), b"").decode("utf-8", "replace")
    ours = {author.domain, organization} - {""}
    for found in _ADDRESS.findall(visible(text[:_MAX]))[:_MOST]:
        try:
            domain = Address.parse(found).key_domain
        except AddressError:
            continue
        if not any(_is_within(domain, one) or _is_within(one, domain) for one in ours):
            return str(found).strip("'")
    return ""


def visible(text: str) -> str:
    """As a reader sees it; never raises."""
    decoded = _ENCODED.sub(lambda match: _word(match[0].strip()), text.replace("\r\n", ""))
    turned = _TURNED.sub(lambda match: match[1][::-1], decoded.replace("\\", ""))
    plain = unicodedata.normalize("NFKC", turned)
    return "".join(c for c in plain if unicodedata.category(c) not in ("Cc", "Cf"))


def _word(encoded: str) -> str:
    """An encoded word (RFC 2047); as it came if it cannot be read."""
    try:
        octets, charset = decode_header(encoded)[0]
        return octets if isinstance(octets, str) else octets.decode(charset or "ascii", "replace")
    except (HeaderParseError, LookupError, ValueError):
        return encoded


def _is_within(domain: str, above: str) -> bool:
    return domain == above or domain.endswith(f".{above}")
