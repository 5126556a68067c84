"""Links that need no login: what a link may do is written in it, and signed. Pure.

    version 1 · action 1 · expiry 8 · item 8 · mailbox (UTF-8), then HMAC-SHA256 over it (RFC 2104), all in base64url

Whoever has a link may do this one thing with this one message until it expires, and nothing else; without the host's
key no link can be made or changed. Times are seconds since the epoch.
For `list` the item is a time: the link shows what came for the mailbox until then, with links for each. Later mail it
does not show: the address may be somebody else's by then.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import struct
from dataclasses import dataclass
from typing import Literal

from postane.core.errors import NotAllowedError, PermanentError

KEY = "quarantine"  # the name of the key, see storage.secret

Action = Literal["release", "delete", "list"]

_ACTIONS: dict[Action, int] = {"release": 1, "delete": 2, "list": 3}
_NAMES = {number: name for name, number in _ACTIONS.items()}
_HEAD = struct.Struct(">BBQQ")
_VERSION = 1
_MAC = 32
_MOST = 1024
_LABEL = b"postane quarantine link\0"  # the key signs nothing else in these octets
_FORM = re.compile(r"[A-Za-z0-9_-]+")


class ForgedError(NotAllowedError):
    """No link of this host's making."""


class ExpiredError(PermanentError):
    """A link of ours whose time is over."""


@dataclass(frozen=True, slots=True)
class Token:
    action: Action
    item: int
    mailbox: str
    expires: float


def seal(key: bytes, token: Token) -> str:
    """The text that stands in a link."""
    head = _HEAD.pack(_VERSION, _ACTIONS[token.action], int(token.expires), token.item)
    payload = head + token.mailbox.encode()
    return base64.urlsafe_b64encode(payload + _mac(key, payload)).rstrip(b"=").decode()


def unseal(key: bytes, text: str, now: float) -> Token:
    """Raises ForgedError, or ExpiredError for what is genuine and too old."""
    octets = _octets(text)
    payload, mac = octets[:-_MAC], octets[-_MAC:]
    if not hmac.compare_digest(_mac(key, payload), mac) or len(payload) < _HEAD.size:
        raise ForgedError("the link was not made here")
    version, action, expires, item = _HEAD.unpack_from(payload)
    if version != _VERSION or action not in _NAMES:
        raise ForgedError("the link is of a kind that is not known")
    if now >= expires:
        raise ExpiredError("the link has expired")
    return Token(_NAMES[action], item, payload[_HEAD.size :].decode(), expires)


def _mac(key: bytes, payload: bytes) -> bytes:
    return hmac.digest(key, _LABEL + payload, "sha256")


def _octets(text: str) -> bytes:
    """Only the one spelling that `seal` writes. Raises ForgedError."""
    if len(text) > _MOST or not _FORM.fullmatch(text):
        raise ForgedError("the link is no link of ours")
    try:
        octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise ForgedError("the link is no link of ours") from error
    if base64.urlsafe_b64encode(octets).rstrip(b"=").decode() != text:
        raise ForgedError("the link is no link of ours")
    return octets
