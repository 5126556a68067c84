from __future__ import annotations

import pytest

from postane.filters.auth import tags


def test_a_tag_list_is_read_with_its_folding() -> None:
    assert tags.parse(b" v=1; a = rsa-sha256;\r\n\tb=ab\r\n cd ;h=;") == {
        "v": "1",
        "a": "rsa-sha256",
        "b": "ab\r\n cd",
        "h": "",
    }
    assert tags.packed("ab\r\n\tcd ") == "abcd"


@pytest.mark.parametrize("text", [b"", b"v=1; v=1", b"v=1;; a=2", b"v", b"1a=2", b"v=\0", b"v=\x7f", b"v=\xff", b"=x"])
def test_what_is_no_tag_list_is_refused(text: bytes) -> None:
    if text == b"":
        assert tags.parse(text) == {}
        return
    with pytest.raises(tags.TagError):
        tags.parse(text)


@pytest.mark.parametrize("text", ["", "====", "abc", "ab=c", "ab$=", "YWJj=", "A"])
def test_base64_is_strict(text: str) -> None:
    with pytest.raises(tags.TagError):
        tags.octets(text)


def test_base64_may_be_folded() -> None:
    assert tags.octets("YW\r\n\tJj") == b"abc"


@pytest.mark.parametrize("text", ["", "-1", "1.0", "٣", "9" * 77, "+1", " 1"])
def test_a_number_is_digits(text: str) -> None:
    with pytest.raises(tags.TagError):
        tags.number(text)


def test_a_long_number_is_cut_to_a_bound() -> None:
    assert tags.number("9" * 76) == 10**12


def test_the_value_of_one_tag_is_emptied_and_the_rest_left_as_it_is() -> None:
    assert tags.without_value(b" v=1; b = ab\r\n c= ; bh=x", b"b") == b" v=1; b =; bh=x"
    assert tags.without_value(b" bh=b; xb=1; B=2", b"b") == b" bh=b; xb=1; B=2"
