"""Mail addresses: parsed from the wire, normalised for comparison.

An address keeps the spelling it came with (`str(address)`) beside its normal form (`address.key`), under which
the directory stores it and by which two spellings are the same mailbox:
the domain as lower-case A-labels (IDNA 2008 with UTS 46 mapping), the local part NFC and case-folded.

Sources: RFC 5321 section 4.1.2 (syntax), RFC 6531 section 3.3 (UTF-8), RFC 5321 section 4.5.3.1 (lengths).
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from typing import Self

import idna

from postane.core.errors import AddressError

MAX_LOCAL = 64  # octets, RFC 5321 section 4.5.3.1.1
MAX_DOMAIN = 253  # characters: 255 octets on the wire (section 4.5.3.1.2, RFC 1035 section 3.1) less first and last
MAX_PATH = 254  # octets without the angle brackets, section 4.5.3.1.3 and erratum 1690

_ATEXT = r"[A-Za-z0-9!#$%&'*+\-/=?^_`{|}~\xa0-\U0010ffff]"  # none of the controls U+0080 to U+009F
_DOT_STRING = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_QUOTED = re.compile(r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e\xa0-\U0010ffff]|\\[\x20-\x7e])*"')
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_PLAIN_DOMAIN = re.compile(r"(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")


@lru_cache(4096)  # a server hears the same few domains all day
def normal_domain(name: str) -> str:
    """The lower-case A-label form of a domain name, without a trailing dot.

    Raises AddressError for what is no host name: empty labels, labels over 63 octets, letters that IDNA forbids.
    """
    name = name.removesuffix(".")  # the root
    lowered = name.lower() if name.isascii() else name
    # The common case is decided without the IDNA tables: an ASCII name whose labels carry no "xn--".
    if lowered.isascii() and "xn--" not in lowered:
        if len(lowered) <= MAX_DOMAIN and all(_LABEL.fullmatch(label) for label in lowered.split(".")):
            return lowered
        raise AddressError(f"{name!r} is not a domain name")
    try:
        return idna.encode(name, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise AddressError(f"{name!r} is not a domain name: {error}") from error


def shown_domain(name: str) -> str:
    """The U-label form for people; the A-label form where a label cannot be decoded."""
    try:
        return idna.decode(name)
    except (idna.IDNAError, UnicodeError):
        return name


def is_public_name(name: str) -> bool:
    """True for a name with at least two labels whose last is not numeric: one that can have an MX."""
    return _PLAIN_DOMAIN.fullmatch(name) is not None


def normal_local(local_part: str) -> str:
    """NFC and case-folded: the form under which mailboxes are compared (RFC 5321 leaves this to the receiver)."""
    if local_part.isascii():
        return local_part.lower()
    composed = unicodedata.normalize("NFC", local_part)
    # Unicode folds the Turkish capital İ to two characters that no keyboard writes; its small letter is i.
    return unicodedata.normalize("NFC", composed.replace("İ", "i").casefold())


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox `local@domain`. `local` is unquoted text, `domain` the spelling of the wire."""

    local: str
    domain: str
    key_local: str
    key_domain: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `local@domain` as RFC 5321 writes it; a quoted local part is unquoted.

        Raises AddressError that names what is wrong. An address literal (`user@[192.0.2.1]`) is read;
        control characters and NUL never are.
        """
        ascii_only = text.isascii()
        if (len(text) if ascii_only else _octets(text)) > MAX_PATH:
            raise AddressError(f"an address has at most {MAX_PATH} octets")
        local, at, domain = text.rpartition("@")
        if not at or not local or not domain:
            raise AddressError("an address is local@domain")
        if local.startswith('"'):
            if not _QUOTED.fullmatch(local):
                raise AddressError("the quoted local part is malformed")
            local = re.sub(r"\\(.)", r"\1", local[1:-1])
            if not local:
                raise AddressError("the local part is empty")
        elif not _DOT_STRING.fullmatch(local):
            raise AddressError("the local part is malformed")
        key_local = normal_local(local)  # may be longer: some letters fold into two
        if ascii_only:
            too_long = len(local) > MAX_LOCAL
        else:
            too_long = _octets(local) > MAX_LOCAL or _octets(key_local) > MAX_LOCAL
        if too_long:
            raise AddressError(f"the local part has at most {MAX_LOCAL} octets")
        key_domain = _literal(domain) if domain.startswith("[") else normal_domain(domain)
        return cls(local, domain, key_local, key_domain)

    @property
    def key(self) -> str:
        """The normal form, `local@domain`; equal for two spellings of one mailbox."""
        return f"{self.key_local}@{self.key_domain}"

    @property
    def is_ascii(self) -> bool:
        """False if the address needs SMTPUTF8 (RFC 6531): a U-label alone does not, its A-label serves."""
        return self.local.isascii()

    def without_tag(self, separator: str = "+") -> Self:
        """The address without its subaddress (RFC 5233): `ayse+list@x` → `ayse@x`."""
        local, found, _ = self.local.partition(separator)
        if not found or not local:
            return self
        return type(self)(local, self.domain, normal_local(local), self.key_domain)

    def __str__(self) -> str:
        if _DOT_STRING.fullmatch(self.local):
            return f"{self.local}@{self.domain}"
        quoted = re.sub(r'(["\\])', r"\\\1", self.local)
        return f'"{quoted}"@{self.domain}'

    def for_wire(self, *, smtputf8: bool = True) -> str:
        """The address as it goes into MAIL and RCPT; the domain as A-labels where the peer lacks SMTPUTF8."""
        if smtputf8 or self.domain.isascii():
            return str(self)
        return str(type(self)(self.local, self.key_domain, self.key_local, self.key_domain))


def _octets(text: str) -> int:
    """Length in UTF-8. Raises AddressError."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise AddressError("the address is not text") from error  # a lone surrogate


def _literal(domain: str) -> str:
    inner = domain[1:-1] if domain.endswith("]") else ""
    bare = inner[5:] if inner.lower().startswith("ipv6:") else inner
    if "%" in bare:  # an interface may be named there, in any characters
        raise AddressError(f"{domain!r} is not an address literal")
    try:
        return f"[{ip_address(bare)}]"
    except ValueError as error:
        raise AddressError(f"{domain!r} is not an address literal") from error
