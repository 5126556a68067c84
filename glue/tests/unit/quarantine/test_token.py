from __future__ import annotations

import base64

import pytest

from postane.quarantine.token import ExpiredError, ForgedError, Token, seal, unseal

KEY = bytes(range(32))
TOKEN = Token("release", 4711, "çiğdem@demo.test", 2000.0)


@pytest.mark.parametrize(
    "token", [TOKEN, Token("delete", 1, "a@b.test", 2_000_000_000.0), Token("list", 0, "a@b.test", 4000)]
)
def test_what_is_sealed_is_read_again(token: Token) -> None:
    text = seal(KEY, token)
    assert text.isascii()
    assert text.replace("-", "").replace("_", "").isalnum()
    assert unseal(KEY, text, 1999.9) == token


def test_its_time_ends() -> None:
    with pytest.raises(ExpiredError):
        unseal(KEY, seal(KEY, TOKEN), 2000.0)


def test_another_key_is_no_key() -> None:
    with pytest.raises(ForgedError):
        unseal(bytes(32), seal(KEY, TOKEN), 0)
    with pytest.raises(ForgedError):  # nor may the expiry of what is forged be told
        unseal(bytes(32), seal(KEY, TOKEN), 9e9)


def test_no_octet_can_be_changed_and_no_other_spelling_is_taken() -> None:
    text = seal(KEY, TOKEN)
    octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    for at in range(len(octets)):
        for bit in (1, 0x80):
            changed = bytearray(octets)
            changed[at] ^= bit
            with pytest.raises(ForgedError):
                unseal(KEY, base64.urlsafe_b64encode(changed).rstrip(b"=").decode(), 0)
    spellings = [f"{text}=", f"{text}\n", f" {text}", text[:-1], f"{text}A", f"{text}AAAA"]
    # The last letter has bits that mean nothing: only the one that `seal` writes is right.
    spellings += [text[:-1] + letter for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if letter != text[-1]]
    for other in spellings:
        with pytest.raises(ForgedError):
            unseal(KEY, other, 0)


@pytest.mark.parametrize("text", ["", "A", "AAAA", "A" * 43, "A" * 1025, "ş" * 60, "../../etc/passwd", "A" * 44 + "%"])
def test_rubbish_is_forged(text: str) -> None:
    with pytest.raises(ForgedError):
        unseal(KEY, text, 0)
