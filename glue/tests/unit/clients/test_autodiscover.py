"""Requests to autodiscover: what is read, and what is refused before it can do harm."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.clients.autodiscover import MOST_OCTETS, OUTLOOK, REQUEST, Asked, BadRequestError, read_request


def request(
    address: str = "ayse@demo.test", schema: str = OUTLOOK, *, namespace: str = REQUEST, before: str = ""
) -> str:
    return (
        f'{before}<Autodiscover xmlns="{namespace}"><Request>'
        f"<EMailAddress>{address}</EMailAddress>"
        f"<AcceptableResponseSchema>{schema}</AcceptableResponseSchema></Request></Autodiscover>"
    )


DECLARATION = '<?xml version="1.0" encoding="utf-8"?>\n'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_what_outlook_sends_is_read(encoding: str) -> None:
    text = request(" çiğdem@demo.test\n").encode(encoding)
    assert read_request(text) == Asked("çiğdem@demo.test", OUTLOOK)


def test_with_a_declaration() -> None:
    assert read_request(request(before=DECLARATION).encode()).address == "ayse@demo.test"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "no element"),
        (b"EMailAddress=ayse@demo.test", "well-formed"),
        (b"<a/>", "no request of this kind"),
        (request(namespace="urn:other").encode(), "no request of this kind"),
        (request(before='<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>').encode(), "a document type"),
        (request(before='<!DOCTYPE a SYSTEM "http://192.0.2.1/x.dtd">').encode(), "a document type"),
        (request(address="&x;").encode(), "undefined entity"),
        (request(address="a" * 2000).encode(), "too long"),
        (b"<a>" * 100 + b"</a>" * 100, "too deep"),
        (b'<?xml version="1.0" encoding="no-such"?><a/>', "encoding"),
        (b" " * (MOST_OCTETS + 1), "too long"),
        (request().encode()[:-3], "unclosed token"),
    ],
)
def test_what_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(BadRequestError, match=why):
        read_request(body)


def test_no_entity_is_expanded() -> None:
    bomb = "<!DOCTYPE a [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;'>]>"
    with pytest.raises(BadRequestError, match="a document type"):
        read_request(request(address="&b;", before=bomb).encode())


def test_only_the_fields_of_the_request_are_read() -> None:
    text = request().replace("<Request>", "<EMailAddress>x@far.test</EMailAddress><Request>")
    assert read_request(text.encode()).address == "ayse@demo.test"
    text = request().replace("</Request>", "<More><EMailAddress>x@far.test</EMailAddress></More></Request>")
    assert read_request(text.encode()).address == "ayse@demo.test"


@given(st.binary(max_size=500))
def test_nothing_else_is_raised(body: bytes) -> None:
    for text in (body, request().encode()[:100] + body):
        with contextlib.suppress(BadRequestError):
            read_request(text)
