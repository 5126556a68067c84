"""The parts that some mail program sees, in messages that are built well and badly."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postane.filters.content.budget import BoundError, Bounds, Budget, LaterError
from postane.filters.content.mime import Part, parts
from postane.filters.content.names import readings
from support.attach import PE, budget, encoded, multipart, named, part, told

EVIL = named(PE, "evil.exe")
TEXT = b"Content-Type: text/plain\r\n\r\nhello"


def found(message: bytes, **bounds: int) -> list[Part]:
    return list(parts(message, budget(**bounds)))


def texts(message: bytes) -> list[bytes]:
    return [message[one.head.body[0] : one.end] for one in found(message)]


def test_leaves_are_cut_without_the_line_end_before_a_boundary() -> None:
    inner = multipart(b"\r\none", b"\r\n\r\n", boundary=b"inner", head=b"")
    message = multipart(TEXT, inner, b"Content-Type: text/html\r\n\r\nlast\r\n") + b"epilogue\r\n"
    assert texts(message) == [b"hello", b"one", b"\r\n", b"last\r\n"]
    assert [one.depth for one in found(message)] == [1, 2, 2, 1]


def test_a_message_without_parts_is_one() -> None:
    assert texts(b"Subject: x\r\n\r\nhello\r\n") == [b"hello\r\n"]
    assert texts(b"\r\nhello") == [b"hello"]
    assert texts(b"Subject: x\r\n") == [b""]
    assert texts(b"") == [b""]


def test_a_message_whose_parts_are_not_there_is_one() -> None:
    message = b"Content-Type: multipart/mixed; boundary=x\r\n\r\nbegin 644 evil.exe\r\n#35I0\r\n`\r\nend\r\n"
    assert texts(message) == [message.partition(b"\r\n\r\n")[2]]
    assert told(message)["evil.exe"] == {"pe"}


def test_line_feeds_alone_are_line_ends() -> None:
    assert texts(multipart(TEXT, TEXT).replace(b"\r\n", b"\n")) == [b"hello", b"hello"]


MALFORMED = {
    "sound": multipart(TEXT, EVIL),
    "in LF": multipart(TEXT, EVIL).replace(b"\r\n", b"\n"),
    "alone": b"Subject: x\r\n" + EVIL,
    "a boundary in single quotes": multipart(EVIL).replace(b'"frontier"', b"'frontier'"),
    "no quotes": multipart(EVIL).replace(b'"frontier"', b"frontier"),
    "a boundary of several pieces": multipart(EVIL).replace(
        b'boundary="frontier"', b'boundary*0="fron"; boundary*1=tier'
    ),
    "white space behind the boundary": multipart(EVIL).replace(b"--frontier\r\n", b"--frontier \t \r\n"),
    "a prefix of the line": multipart(EVIL).replace(b"--frontier\r\n", b"--frontier of the country\r\n"),
    "a prefix of the line, before many other fields": multipart(b"X: y\r\n" * 20 + EVIL).replace(
        b"--frontier\r\n", b"--frontier of the country\r\n"
    ),
    "no last boundary": multipart(TEXT, EVIL).replace(b"--frontier--\r\n", b""),
    "behind the last boundary": multipart(TEXT) + b"--frontier\r\n" + EVIL,
    "in the epilogue with another boundary": multipart(TEXT) + b"--other\r\n" + EVIL,
    "in the preamble with another boundary": multipart(TEXT).replace(b"preamble\r\n", b"--other\r\n" + EVIL),
    "within a part": multipart(TEXT + b"\r\n--other\r\n" + EVIL),
    "no boundary announced": multipart(TEXT, EVIL).replace(b' boundary="frontier"', b""),
    "another boundary announced": multipart(TEXT, EVIL).replace(b'"frontier"', b'"other"'),
    "an empty boundary": multipart(TEXT, EVIL, boundary=b""),
    "two types, the second is true": multipart(TEXT, EVIL, head=b"Content-Type: text/plain\r\n"),
    "two types, the first is true": multipart(TEXT, EVIL).replace(
        b"\r\n\r\npreamble", b"\r\nContent-Type: text/plain\r\n\r\npreamble"
    ),
    "two types, another boundary": multipart(TEXT, EVIL).replace(
        b"\r\n\r\npreamble", b'\r\nContent-Type: multipart/mixed; boundary="x"\r\n\r\npreamble'
    ),
    "a space before the colon": multipart(EVIL.replace(b"Content-Disposition:", b"Content-Disposition :")),
    "no space behind it": multipart(EVIL.replace(b"Disposition: ", b"Disposition:")),
    "shouted": multipart(EVIL.replace(b"Content-Disposition", b"CONTENT-DISPOSITION")),
    "folded": multipart(EVIL.replace(b"; filename", b";\r\n\tfilename")),
    "folded within": multipart(EVIL.replace(b"attachment;", b"\r\n attachment;\r\n \r\n")),
    "a lone CR for a line end": multipart(EVIL.replace(b"\r\nContent-Transfer", b"\rContent-Transfer")),
    "no empty line before the text": multipart(EVIL.replace(b"base64\r\n\r\n", b"base64\r\n")),
    "white space in the empty line": multipart(EVIL.replace(b"base64\r\n\r\n", b"base64\r\n  \r\n")),
    "a line that is no field": multipart(EVIL.replace(b"\r\nContent-T", b"\r\nno field here\r\nContent-T")),
    "no empty line before the first boundary": multipart(TEXT, EVIL).replace(b"\r\n\r\npreamble\r\n", b"\r\n"),
    "a line that is no field, and no empty line": multipart(TEXT, EVIL).replace(
        b"\r\n\r\npreamble\r\n", b"\r\nno field\r\n"
    ),
    "an encoding in quotes": multipart(EVIL.replace(b": base64", b': "base64"')),
    "an encoding with a comment": multipart(EVIL.replace(b": base64", b": (yes) base64 (no)")),
    "an encoding of another name": multipart(EVIL.replace(b": base64", b": base-64")),
    "two encodings": multipart(EVIL.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: 7bit\r\n\r\n", 1)),
    "two other encodings": multipart(
        EVIL.replace(b"Content-Transfer", b"Content-Transfer-Encoding: quoted-printable\r\nContent-Transfer")
    ),
    "a type that lies": multipart(b"Content-Type: image/png\r\n" + EVIL),
    "in a message": multipart(b"Content-Type: message/rfc822\r\n\r\n" + multipart(EVIL)),
    "in a message of the same boundary": multipart(
        TEXT, b"Content-Type: message/rfc822\r\n\r\n" + multipart(TEXT, EVIL)
    ),
    "behind a message of the same boundary": multipart(b"Content-Type: message/rfc822\r\n\r\n" + multipart(TEXT), EVIL),
    "in an encoded message": multipart(part(multipart(EVIL), b"Content-Type: message/rfc822")),
    "in encoded parts": part(
        multipart(EVIL).partition(b"\r\n\r\n")[2], b'Content-Type: multipart/mixed; boundary="frontier"'
    ),
    "in a message with a strange line": multipart(
        b"Content-Type: message/rfc822\r\nno field\r\n\r\n" + multipart(TEXT, EVIL, boundary=b"inner")
    ),
    "in a message of one part with a strange line": multipart(
        b"Content-Type: message/rfc822\r\nno field\r\n\r\n" + EVIL
    ),
    "in an attached mail file": multipart(named(multipart(EVIL), "mail.eml")),
    "parts in parts": multipart(multipart(multipart(EVIL, boundary=b"c", head=b""), boundary=b"b", head=b"")),
    "an inner boundary that begins as the outer": multipart(
        TEXT, multipart(TEXT, EVIL, boundary=b"frontier2", head=b""), boundary=b"frontier"
    ),
}


@pytest.mark.parametrize("way", MALFORMED)
def test_what_somebody_can_open_is_seen(way: str) -> None:
    seen = told(MALFORMED[way])
    assert "evil.exe" in seen
    assert "pe" in seen["evil.exe"]


def test_a_signature_is_no_boundary() -> None:
    message = multipart(TEXT + b"\r\n-- \r\nAyse\r\n--\r\n-----\r\nContent is king\r\n--x\r\nSubject: no\r\n\r\nend")
    assert len(found(message)) == 1


def test_a_header_ends_at_a_boundary_that_was_announced() -> None:
    (first, second) = found(multipart(b"Content-Type: text/plain\r\nno field", EVIL))
    assert (first.head.names, second.head.names) == ((), (b"evil.exe",))


def test_a_part_that_was_not_announced_does_not_end_the_one_it_stands_in() -> None:
    message = multipart(
        TEXT + b"\r\n--other\r\nContent-Type: text/html\r\n\r\n<b>\r\n--third\r\nContent-ID: x\r\n\r\n-"
    )
    ends = [message[one.head.body[0] : one.end] for one in found(message)]
    assert ends[0] == b"<b>"
    assert any(one.startswith(b"hello\r\n--other") and one.endswith(b"\r\n-") for one in ends)


@pytest.mark.parametrize(
    ("message", "bounds", "why"),
    [
        (multipart(*[TEXT] * 30), {"parts": 20}, "over 20 parts"),
        (b"Content-Type: message/rfc822\r\n\r\n" * 30, {"depth": 20}, "nest over 20"),
        (
            b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(30)),
            {"depth": 20},
            "nest over 20",
        ),
        (b"X: " + b"x" * 5000 + b"\r\n\r\nhello", {"header": 4000}, "header of over 4000"),
        (b"Content-Type: text/plain\r\n" * 200 + b"\r\n", {}, "Content fields"),
        (
            b"Content-Type: multipart/mixed" + b"".join(b"; boundary=b%d" % n for n in range(60)) + b"\r\n\r\n",
            {},
            "boundaries",
        ),
    ],
)
def test_bounds(message: bytes, bounds: dict[str, int], why: str) -> None:
    with pytest.raises(BoundError, match=why):
        found(message, **bounds)


HUGE = {
    "ten thousand parts": multipart(*[TEXT] * 10_000),
    "a thousand deep": b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(1000)
    ),
    "messages a thousand deep": b"Content-Type: message/rfc822\r\n\r\n" * 1000,
    "messages a thousand deep with strange lines": b"Content-Type: message/rfc822\r\nstrange\r\n\r\n" * 1000,
    "a header of 1 MiB": b"X: y\r\n" * 180_000 + b"\r\nhello",
    "a header line of 1 MiB": b"X: " + b"y" * 1_048_576 + b"\r\n\r\nhello",
    "a header of hyphens": b"X: y\r\nstrange\r\n" + b"--a\r\n" * 50_000 + b"\r\nhello",
    "a name of 200 KiB": b'Content-Type: x/y; name="' + b"a" * 200_000 + b'"\r\n\r\nhello',
    "names of names": b"Content-Type: x/y; name=" + b'name="' * 30_000 + b"\r\n\r\nhello",
    "a header that folds": b"Content-Type: x/y;\r\n" + b" \t\r\n" * 60_000 + b"\r\nhello",
    "boundaries that nobody announced": b"\r\n" + b"--a\r\n" * 300_000,
    "parts that nobody announced": b"\r\n" + b"--a\r\nContent-Type: x/y\r\n\r\nz\r\n" * 30_000,
    "fields behind hyphens": b"\r\n" + b"--a\r\n" + b"X: y\r\n" * 300_000,
}


@pytest.mark.parametrize("name", HUGE)
def test_no_message_takes_long(name: str) -> None:
    begun = time.process_time()
    told(HUGE[name], seconds=1.0)
    assert time.process_time() - begun < 3  # a second by its own clock, and what lies between two looks at it


def test_in_the_event_loop_it_stops_sooner() -> None:
    light = Budget(Bounds(), time.monotonic() + 0.01, light=True)
    with pytest.raises(LaterError):
        list(parts(b"\r\n" + b"--a\r\n" * 300_000, light))


LINES = st.lists(
    st.sampled_from(
        [
            b"Content-Type: multipart/mixed; boundary=a",
            b"Content-Type: multipart/alternative; boundary=b",
            b"Content-Type: message/rfc822",
            b"Content-Type: text/plain; name=x.txt",
            b"Content-Disposition: attachment; filename=",
            b"Content-Transfer-Encoding: base64",
            b"Content-Transfer-Encoding: quoted-printable",
            b"Content-Transfer-Encoding: x-uuencode",
            b"begin 644 x.exe",
            b"end",
            b"--a",
            b"--b",
            b"--a--",
            b"--b--",
            b"--c",
            b"",
            b" ",
            b"TVqQAAMAAAAEAAAA=",
            b"PK\x03\x04",
            b"\0\r\xff",
            b" folded",
        ]
    ),
    max_size=40,
)


@settings(max_examples=150)
@given(LINES, st.sampled_from([b"\r\n", b"\n"]))
def test_any_lines_are_read_and_each_name_is_seen(lines: list[bytes], end: bytes) -> None:
    message = end.join(lines)
    for one in parts(message, budget()):
        assert 0 <= one.end <= len(message)
        assert all(0 <= start <= len(message) for start in one.head.body)
    told(message)


@settings(max_examples=100)
@given(st.binary(max_size=400))
def test_any_octets_are_read(octets: bytes) -> None:
    told(octets)
    told(b"Content-Type: application/zip; name=x.zip\r\n\r\n" + octets)
    told(b"Content-Transfer-Encoding: base64\r\nContent-Type: message/rfc822\r\n\r\n" + encoded(octets))


@settings(max_examples=100)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=6), st.text("ab-_.'()+?", min_size=1, max_size=20))
def test_sound_messages_give_just_their_parts(bodies: list[bytes], boundary: str) -> None:
    message = multipart(
        *[named(body, f"{number}.bin") for number, body in enumerate(bodies)], boundary=boundary.encode()
    )
    leaves = [one for one in found(message) if one.head.names]
    assert [readings(one.head.names) for one in leaves] == [[f"{number}.bin"] for number in range(len(bodies))]
    assert [message[one.head.body[0] : one.end] for one in leaves] == [
        encoded(body).removesuffix(b"") for body in bodies
    ]
