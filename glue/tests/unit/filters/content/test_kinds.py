"""What octets are, by themselves."""

from __future__ import annotations

import struct

import pytest

from postane.filters.content.kinds import kinds
from support.attach import PE, compound


def of(octets: bytes) -> frozenset[str]:
    return kinds(octets[: 40 * 1024], octets[-66 * 1024 :])


ISO = bytes(32_768) + b"\x01CD001\x01" + bytes(4000)


@pytest.mark.parametrize(
    ("octets", "kind"),
    [
        (PE, "pe"),
        (b"MZ", "pe"),
        (b"MZ" + bytes(100), "pe"),
        (b"\x7fELF\x02\x01\x01" + bytes(60), "elf"),
        (b"\xcf\xfa\xed\xfe" + bytes(60), "macho"),
        (b"\xca\xfe\xba\xbe\0\0\0\x34", "macho"),
        (b"L\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0F" + bytes(60), "shortcut"),
        (b"[InternetShortcut]\r\nURL=file://evil/x.exe\r\n", "shortcut"),
        (b"\xef\xbb\xbf[internetshortcut]\nIconIndex=1\nURL = x", "shortcut"),
        (bytes.fromhex("e4525c7b8cd8a74daeb15378d02996d3") + bytes(60), "onenote"),
        (b"ITSF\x03\0\0\0", "chm"),
        (ISO, "disk_image"),
        (bytes(32_768) + b"\0BEA01\x01" + bytes(4000), "disk_image"),
        (b"conectix" + bytes(504), "disk_image"),
        (bytes(5000) + b"conectix" + bytes(504), "disk_image"),
        (bytes(5000) + b"koly" + bytes(508), "disk_image"),
        (b"vhdxfile" + bytes(100), "disk_image"),
        (b"\x60\xea" + bytes(60), "rare_archive"),
        (b"\x22\x04-lh5-" + bytes(60), "rare_archive"),
        (bytes(7) + b"**ACE**" + bytes(60), "rare_archive"),
        (b"#!/bin/sh\necho", "script"),
        (b"\r\n@echo off\r\n", "script"),
        (b"Windows Registry Editor Version 5.00\r\n", "script"),
        ("\ufeffWindows Registry Editor".encode("utf-16"), "script"),
        (b'<?xml version="1.0"?>\n<package><job>', "script"),
        (b"<html><head><HTA:APPLICATION id=x>", "hta"),
        (b"[Desktop Entry]\nType=Application\nExec=/bin/sh\n", "shortcut"),
        (b"ActiveMime\0\0\x01\xf0", "macros"),
        (b"(This file must be converted with BinHex 4.0)\r\n", "rare_archive"),
        (b"PK\x03\x04" + bytes(60), "zip"),
        (b"\xff\xd8\xff\xe0" + bytes(60_000) + b"PK\x05\x06" + bytes(18), "zip"),
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"BZh91AY", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (bytes(257) + b"ustar\0" + bytes(300), "tar"),
        (b"7z\xbc\xaf\x27\x1c\0\x04", "7z"),
        (b"Rar!\x1a\x07\x01\0", "rar"),
        (PE + b"Rar!\x1a\x07\x01\0", "rar"),
        (b"MSCF\0\0\0\0", "cab"),
        (compound({"x": b"y"}), "ole"),
        (b"{\\rtf1\\ansi", "rtf"),
        (b" \r\n{\\rt something", "rtf"),
        (b"%PDF-1.7", "pdf"),
        (b"junk before\n%PDF-1.7", "pdf"),
        (b"\x78\x9f\x3e\x22\0\0", "tnef"),
        (b"  <!DOCTYPE html><p>", "html"),
        (b'<svg xmlns="http://www.w3.org/2000/svg">', "html"),
        ("<script>".encode("utf-16"), "html"),
        (b"From: a@b.test\r\nSubject: x\r\n\r\n", "mail"),
        (b"MIME-Version: 1.0\nContent-Type: multipart/related;\n\tboundary=x\n\n", "mail"),
    ],
)
def test_known(octets: bytes, kind: str) -> None:
    assert kind in of(octets)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"M",
        b"MZ is how a text may begin, and it goes on for longer than the header of a program would do it.",
        b"hello, ELF",
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + bytes(500),
        b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(5000),
        "Merhaba, nasılsınız?\n".encode() * 50,
        b"Subject: of this text\nis how it begins\n",
        bytes(50_000),
        b"a,b,c\n1,2,3\n",
    ],
)
def test_what_is_harmless_is_nothing(octets: bytes) -> None:
    assert of(octets) == frozenset()
