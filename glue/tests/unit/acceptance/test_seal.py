from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest

from postane.acceptance import seal

SECRET, OTHER = bytes(range(32)), bytes(range(1, 33))
DOCUMENT = {"b": [1, {"z": "ş", "a": True}], "a": 'quote " and \\ and \n', "é".encode().hex(): None}


def test_a_signed_document_is_good() -> None:
    signed = seal.sign(DOCUMENT, SECRET)
    assert seal.verify(signed) == seal.Verified(seal.fingerprint_of(SECRET), "")
    # As a file: written and read, in whatever order and with whatever spaces.
    again = json.loads(json.dumps(dict(reversed(signed.items())), indent=3))
    assert seal.verify(again).trouble == ""


def test_the_canonical_form() -> None:
    assert seal.canonical({"b": 1, "a": "é\n\x1f/", "signature": "left out"}) == '{"a":"é\\n\\u001f/","b":1}'.encode()


def test_whose_signature_it_is_shows() -> None:
    assert seal.verify(seal.sign(DOCUMENT, OTHER)).fingerprint == seal.fingerprint_of(OTHER)
    assert seal.fingerprint_of(OTHER) != seal.fingerprint_of(SECRET)


def _changed(**values: Any) -> dict[str, Any]:
    signed = seal.sign(DOCUMENT, SECRET)
    signed[seal.SIGNATURE] = {**signed[seal.SIGNATURE], **values}
    return signed


@pytest.mark.parametrize(
    "value", [{"a": "other"}, {"more": 1}, {"b": [1, {"z": "ş", "a": False}]}, {"b": [2, {"z": "ş", "a": True}]}]
)
def test_a_changed_document_is_not(value: dict[str, Any]) -> None:
    assert "not as it was signed" in seal.verify({**seal.sign(DOCUMENT, SECRET), **value}).trouble


def test_a_changed_signature_is_not() -> None:
    other_key = seal.sign(DOCUMENT, OTHER)[seal.SIGNATURE]["key"]
    assert "not as it was signed" in seal.verify(_changed(key=other_key)).trouble
    assert "not as it was signed" in seal.verify(_changed(value=base64.b64encode(bytes(64)).decode())).trouble
    for broken in (
        _changed(key="AAAA"),
        _changed(key=7),
        _changed(value="no base64!"),
        _changed(algorithm="none"),
        {**DOCUMENT},
        {**DOCUMENT, seal.SIGNATURE: "text"},
        {**seal.sign(DOCUMENT, SECRET), "more": 1.5},
    ):
        assert seal.verify(broken).trouble, broken


def test_what_has_more_than_one_form_is_not_signed() -> None:
    for value in (1.0, {"deep": [0.5]}, {"ä": 1}):
        with pytest.raises(ValueError):
            seal.sign({"value": value}, SECRET)


def test_a_document_is_left_as_it_is() -> None:
    before = copy.deepcopy(DOCUMENT)
    seal.sign(DOCUMENT, SECRET)
    assert before == DOCUMENT
