"""What a message carries, as a list: archives in archives, documents, mail in mail; and what is only built to cost."""

from __future__ import annotations

import base64
import binascii
import bz2
import contextlib
import gzip
import io
import lzma
import os
import struct
import tarfile
import threading
import time
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postane.filters.content.budget import Bounds, LaterError
from postane.filters.content.inspect import Contents, inspect
from support.attach import PE, attached, compound, multipart, named, part, seen, told


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", method) as one:
        for name, octets in files.items():
            one.writestr(name, octets)
    return made.getvalue()


def tarred(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as one:
        for name, octets in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(octets)
            one.addfile(info, io.BytesIO(octets))
    return made.getvalue()


INNER = {"evil.exe": PE}
WRAPPED = {
    "a.zip": zipped(INNER),
    "stored.zip": zipped({"b.zip": zipped(INNER)}, zipfile.ZIP_STORED),
    "twice.zip": zipped({"folder/b.zip": zipped(INNER)}),
    "a.tar": tarred(INNER),
    "a.tar.gz": gzip.compress(tarred(INNER)),
    "a.tgz": gzip.compress(tarred(INNER)),
    "a.tbz": bz2.compress(tarred(INNER)),
    "a.tar.xz": lzma.compress(tarred(INNER)),
    "evil.exe.gz": gzip.compress(PE),
    "evil.exe.bz2": bz2.compress(PE),
    "image.jpg": b"\xff\xd8\xff\xe0" + os.urandom(200_000) + zipped(INNER),
    "a.docx": zipped({"[Content_Types].xml": b"<Types/>", "word/embeddings/o.bin": compound({"\x01Ole10Native": PE})})
    + zipped(INNER),
    "lies.txt": zipped(INNER),
    "no name at all": gzip.compress(zipped({"x.tar": tarred(INNER)})),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_archives_are_looked_into_whatever_they_are_called(name: str) -> None:
    found = told(attached(WRAPPED[name], name))
    assert "pe" in found["evil.exe"]


def test_paths_tell_where_it_lies() -> None:
    items = seen(attached(WRAPPED["twice.zip"], "twice.zip")).items
    assert [str(item) for item in items] == [
        "a part without a name",
        "twice.zip",
        "twice.zip/b.zip",
        "twice.zip/b.zip/evil.exe",
    ]
    assert [item.shown for item in items] == [True, False, False, False]


def test_a_large_attachment_is_seen_from_its_file() -> None:
    files = {"noise": os.urandom(3_000_000), **INNER}
    assert "pe" in told(attached(zipped(files), "large.zip"))["evil.exe"]


@pytest.mark.parametrize(
    ("octets", "name", "marks"),
    [
        (zipped({"[Content_Types].xml": b"<x>vbaProject</x>", "word/x.xml": b""}), "a.docm", {"zip", "macros"}),
        (zipped({"[Content_Types].xml": b"<x/>", "word/x.xml": b""}), "a.docx", {"zip"}),
        (
            zipped(
                {
                    "[Content_Types].xml": b"<x/>",
                    "word/_rels/settings.xml.rels": b'<Relationship Type="x/attachedTemplate" TargetMode="External"/>',
                }
            ),
            "a.docx",
            {"zip", "remote_template"},
        ),
        (compound({"WordDocument": bytes(5000), "_VBA_PROJECT": b"x"}), "a.doc", {"ole", "macros"}),
        (compound({"EncryptedPackage": bytes(5000)}), "a.docx", {"ole", "encrypted"}),
        (b"{\\rtf1{\\object\\objdata 00}}", "a.doc", {"rtf", "rtf_object"}),
        (b"%PDF-1.4\n/OpenAction /JavaScript ", "a.pdf", {"pdf", "pdf_script"}),
        (b"<html><script>x</script></html>", "a.html", {"html", "html_script"}),
        (b"PK\x03\x04 but nothing more", "a.zip", {"zip", "unreadable"}),
        (gzip.compress(b"x" * 5000)[:10] + b"nonsense" * 90, "a.gz", {"gzip"}),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\xff" * 700, "a.doc", {"ole", "unreadable"}),
        (zipped({"META-INF/MANIFEST.MF": b""}), "a.jar", {"zip", "java"}),
        (PE, "annexe\u202etxt.exe", {"pe", "turned_name"}),
    ],
)
def test_marks(octets: bytes, name: str, marks: set[str]) -> None:
    item = seen(attached(octets, name)).items[1]
    assert item.kinds == marks


def test_a_damaged_stream() -> None:
    (_, outer, inner) = seen(attached(gzip.compress(b"x" * 5000)[:10] + b"nonsense" * 90, "a.txt.gz")).items
    assert (set(outer.kinds), inner.names, set(inner.kinds)) == ({"gzip"}, ("a.txt",), {"unreadable"})


def test_html_that_is_shown_is_not_searched() -> None:
    message = b"Content-Type: text/html\r\n\r\n<html><script>x</script>"
    (item,) = seen(message).items
    assert (item.kinds, item.shown) == (frozenset({"html"}), True)


def test_parts_that_are_elsewhere() -> None:
    kinds = [item.kinds for item in seen(b"Content-Type: message/partial; id=x; number=1\r\n\r\nhello").items]
    assert any("partial" in found for found in kinds)
    (item,) = seen(b"Content-Type: message/external-body; access-type=URL; URL=x\r\n\r\n").items[:1]
    assert "external_body" in item.kinds


def test_a_name_without_a_body_counts() -> None:
    assert "evil.exe" in told(b'Content-Type: x/y; name="evil.exe"')
    assert "evil.exe" in told(multipart(b'Content-Type: x/y; name="evil.exe"'))


def test_mail_in_mail() -> None:
    inner = multipart(named(PE, "evil.exe"), boundary=b"inner")
    for name in ("a.eml", "a.bin"):
        assert "pe" in told(attached(inner, name))["evil.exe"]
    assert "pe" in told(attached(zipped({"a.eml": inner}), "a.zip"))["evil.exe"]
    assert "pe" in told(multipart(part(inner, b"Content-Type: message/rfc822")))["evil.exe"]


def test_uuencoded_in_the_text() -> None:
    lines = b"".join(binascii.b2a_uu(WRAPPED["a.zip"][at : at + 45]) for at in range(0, len(WRAPPED["a.zip"]), 45))
    text = b"Subject: x\r\n\r\nhello\r\nbegin 644 a.zip\r\n" + lines.replace(b"\n", b"\r\n") + b"`\r\nend\r\n"
    assert "pe" in told(text)["evil.exe"]


def test_winmail() -> None:
    data = struct.pack("<BII", 2, 0x0006800F, len(PE)) + PE + b"\0\0"
    title = struct.pack("<BII", 2, 0x00018010, 9) + b"EVIL.EXE\0" + b"\0\0"
    found = told(attached(b"\x78\x9f\x3e\x22\0\0" + title + data, "winmail.dat"))
    assert "EVIL.EXE" in found
    assert "pe" in found[""]


def test_in_the_event_loop_archives_are_left_for_later() -> None:
    with pytest.raises(LaterError):
        inspect(attached(zipped(INNER), "a.zip"), Bounds(), light=True)
    assert inspect(attached(b"text", "a.txt"), Bounds(), light=True).items[1].names == ("a.txt",)


def bomb(depth: int) -> bytes:
    octets = bytes(30_000_000)
    for level in range(depth):
        octets = zipped({f"{level}.zip" if level else "zeros": octets})
    return octets


def quine() -> bytes:
    """An archive that holds itself, as far down as anybody looks: it is put into place by hand here, since a true one
    has to be computed; each level is the same octets.
    """
    octets = b"bottom"
    for _ in range(60):
        octets = zipped({"r.zip": octets}, zipfile.ZIP_STORED)
    return octets


def overlapping() -> bytes:
    """Many members whose data is one block of zeros (as in the bombs that no ratio shows)."""
    packed = zlib.compress(bytes(20_000_000), 9)[2:-4]
    files = b"".join(
        struct.pack("<4sHHHHHIIIHH", b"PK\x03\x04", 20, 8, 8, 0, 0, 0, 0, 0, 5, 0) + b"a.zip" for _ in range(2000)
    )
    return files + packed


HUGE = {
    "a bomb": (bomb(1), "200 times"),
    "a bomb in an archive": (bomb(2), "200 times"),
    "a bomb of gzip": (gzip.compress(bytes(30_000_000)), "200 times"),
    "a bomb of bzip2": (bz2.compress(bytes(30_000_000)), "200 times"),
    "a bomb of xz": (lzma.compress(bytes(30_000_000)), "200 times"),
    "gzip of gzip of gzip": (gzip.compress(gzip.compress(gzip.compress(bytes(60_000_000)))), "times"),
    "an archive that holds itself": (quine(), "nest over 4 deep"),
    "ten thousand members": (zipped({f"{n}.txt": b"x" for n in range(10_000)}), "over 5000 members"),
    "members over one another": (overlapping(), ""),
}


@pytest.mark.parametrize("name", HUGE)
def test_what_is_built_to_cost_costs_little(name: str) -> None:
    octets, why = HUGE[name]
    begun = time.process_time()
    found = seen(attached(octets, "a.zip"), seconds=3.0)
    assert time.process_time() - begun < 5
    assert found.bound
    assert why in found.bound


def test_a_hundred_megabytes() -> None:
    noise = os.urandom(1_000_000)
    one = base64.encodebytes(noise * 15).replace(b"\n", b"\r\n")
    head = b'Content-Disposition: attachment; filename="%d.jpg"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    message = multipart(*[head % number + one for number in range(5)], named(PE, "evil.exe"))
    assert len(message) > 100_000_000
    begun = time.process_time()
    found = inspect(message, Bounds(seconds=30.0))
    assert time.process_time() - begun < 10
    assert not found.bound
    assert [item.names for item in found.items] == [*[(f"{number}.jpg",) for number in range(5)], ("evil.exe",)]


def test_others_go_on_meanwhile() -> None:
    """The lock of the interpreter is given back again and again, however large the message."""
    done = threading.Event()
    most = 0.0

    def work() -> None:
        seen(b"\r\n" + b"--a\r\nContent-Type: x/y\r\n\r\n" + b"x" * 15_000_000)
        seen(attached(lzma.compress(os.urandom(500_000) * 10), "a.xz"))
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.is_set():
        begun = time.perf_counter()
        time.sleep(0.001)
        most = max(most, time.perf_counter() - begun)
    thread.join()
    assert most < 0.5  # some ten milliseconds, on a machine that has nothing else to do


PIECES = st.sampled_from(
    [
        zipped(INNER),
        tarred(INNER),
        gzip.compress(b"x" * 50),
        compound({"Workbook": b"x" * 90}),
        b"%PDF-1.4 /ObjStm stream",
        b"{\\rtf1\\objdata",
        b"7z\xbc\xaf\x27\x1c",
        b"Rar!\x1a\x07\x01\0",
        b"MSCF\0\0\0\0",
        b"\x78\x9f\x3e\x22",
        b"\0" * 40,
    ]
)


@settings(max_examples=150)
@given(st.lists(PIECES | st.binary(max_size=60), max_size=4), st.integers(0, 2000), st.binary(max_size=6))
def test_anything_is_looked_into(pieces: list[bytes], at: int, change: bytes) -> None:
    octets = b"".join(pieces)
    broken = octets[:at] + change + octets[at + len(change) :]
    found = seen(attached(broken, "a.zip"))
    assert isinstance(found, Contents)
    with contextlib.suppress(LaterError):
        inspect(attached(broken, "a.bin"), Bounds(), light=True)
