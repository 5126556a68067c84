"""What octets are, told by themselves: the kinds that a policy may forbid, and the containers that are looked into.

A table of our own: libraries that know a thousand kinds do not know the dozen that matter here (shortcuts, OneNote,
disk images), or take 0.3 ms for each part.
"""

from __future__ import annotations

import re

HEAD = 40 * 1024  # octets from the beginning that are needed; images of optical disks say it at 32 KiB
TAIL = 66 * 1024  # octets from the end: a ZIP archive is found from there

# Containers, each looked into by a module.
ZIP, TAR, GZIP, BZIP2, XZ, SEVENZIP, RAR, CAB = "zip", "tar", "gzip", "bzip2", "xz", "7z", "rar", "cab"
OLE, RTF, PDF, TNEF, HTML, MAIL = "ole", "rtf", "pdf", "tnef", "html", "mail"

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"\x7fELF", "elf"),
    (b"\xfe\xed\xfa\xce", "macho"),
    (b"\xfe\xed\xfa\xcf", "macho"),
    (b"\xce\xfa\xed\xfe", "macho"),
    (b"\xcf\xfa\xed\xfe", "macho"),
    (b"\xca\xfe\xba\xbe", "macho"),  # and a Java class
    (b"L\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0F", "shortcut"),  # [MS-SHLLINK] section 2.1
    (b"\xe4\x52\x5c\x7b\x8c\xd8\xa7\x4d\xae\xb1\x53\x78\xd0\x29\x96\xd3", "onenote"),  # [MS-ONESTORE] section 2.3.1
    (b"\xa1\x2f\xff\x43\xd9\xef\x76\x4c\x9e\xe2\x10\xea\x57\x22\x76\x5f", "onenote"),
    (b"ITSF", "chm"),
    (b"ITOLITLS", "chm"),
    (b"conectix", "disk_image"),
    (b"vhdxfile", "disk_image"),
    (b"KDMV", "disk_image"),
    (b"QFI\xfb", "disk_image"),
    (b"MSWIM\0\0\0", "disk_image"),
    (b"\x60\xea", "rare_archive"),  # ARJ
    (b"xar!", "rare_archive"),
    (b"ActiveMime", "macros"),  # macros of a document that was saved as a web page
    (b"(This file must be converted with BinHex", "rare_archive"),
    (b"\x28\xb5\x2f\xfd", "rare_archive"),  # Zstandard
    (b"LZIP", "rare_archive"),
    (b"\x1f\x9d", "rare_archive"),  # compress
    (b"PK\x03\x04", ZIP),
    (b"PK\x05\x06", ZIP),
    (b"PK\x07\x08PK\x03\x04", ZIP),
    (b"PK00PK\x03\x04", ZIP),
    (b"\x1f\x8b\x08", GZIP),
    (b"BZh", BZIP2),
    (b"\xfd7zXZ\0", XZ),
    (b"7z\xbc\xaf\x27\x1c", SEVENZIP),
    (b"Rar!\x1a\x07", RAR),
    (b"MSCF\0\0\0\0", CAB),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLE),
    (b"{\\rt", RTF),
    (b"\x78\x9f\x3e\x22", TNEF),
)
_ALL_BEGINNINGS = re.compile(b"|".join(re.escape(octets) for octets, _ in _BEGINNINGS))
_KIND = dict(_BEGINNINGS)
_SFX = ((b"7z\xbc\xaf\x27\x1c\0", SEVENZIP), (b"Rar!\x1a\x07", RAR), (b"MSCF\0\0\0\0", CAB))

_SPACE = b" \t\r\n\f\v\xef\xbb\xbf\xff\xfe"
_MARKUP = re.compile(
    rb"<(?:!doctype\s+html|html|head|body|script|svg|iframe|meta|title|table|div|\?xml[^>]{0,200}>\s*<(?:!doctype\s+)?svg)",
    re.IGNORECASE,
)
_HTA = re.compile(rb"<hta:application", re.IGNORECASE)
_SCRIPT = re.compile(
    rb"#![^\r\n]{0,40}/|@?echo off|windows registry editor|regedit4|<\?xml[^>]{0,200}>\s*<(?:package|job)\b|<job\b",
    re.IGNORECASE,
)
_URL_FILE = re.compile(
    rb"\[(?:internetshortcut|default|desktop entry)\]\s*\r?\n?[^\[]{0,400}(?:url|exec)\s*=", re.IGNORECASE | re.DOTALL
)
_MAIL = re.compile(
    rb"(?:(?:from|received|return-path|subject|date|message-id|mime-version|content-type|to|x-[\w-]{1,40}|delivered-to)"
    rb":[^\n]{0,2000}\n(?:[ \t][^\n]{0,2000}\n){0,50}){2}",
    re.IGNORECASE,
)

CONTAINERS = frozenset((ZIP, TAR, GZIP, BZIP2, XZ, SEVENZIP, RAR, CAB, OLE, RTF, PDF, TNEF, HTML, MAIL))


def kinds(head: bytes, tail: bytes) -> frozenset[str]:
    """All kinds that the octets can be taken for. `head`: the first HEAD octets, `tail`: the last TAIL (or all)."""
    found = set()
    if match := _ALL_BEGINNINGS.match(head):
        found.add(_KIND[match[0]])
    if head[:2] == b"MZ" and (len(head) < 64 or min(head[2:64]) < 9):
        found.add("pe")
        for octets, kind in _SFX:  # programs that unpack themselves
            if octets in head:
                found.add(kind)
    if head[2:5] == b"-lh" and head[6:7] == b"-":
        found.add("rare_archive")
    if head[7:14] == b"**ACE**":
        found.add("rare_archive")
    if head[257:262] == b"ustar":
        found.add(TAR)
    if len(head) > 32_774 and (
        b"CD001" in (head[32_769:32_774], head[34_817:34_822], head[36_865:36_870])
        or head[32_769:32_774] in (b"BEA01", b"NSR02", b"NSR03")
    ):
        found.add("disk_image")
    if tail[-512:-508] == b"koly" or tail[-512:-504] == b"conectix":
        found.add("disk_image")
    if b"%PDF-" in head[:1024]:
        found.add(PDF)
    if b"PK\x05\x06" in tail:
        found.add(ZIP)
    if not found or found <= {PDF, ZIP}:
        found |= _of_text(head)
    return frozenset(found)


def _of_text(head: bytes) -> set[str]:
    text = head[:4096].lstrip(_SPACE)
    if b"\0" in text[:64]:
        text = text.replace(b"\0", b"")  # UTF-16
    found = set()
    if text[:4] == b"{\\rt":
        found.add(RTF)
    if _MARKUP.search(text[:2048]):
        found.add(HTML)
    if _HTA.search(text):
        found.add("hta")
    if _SCRIPT.match(text):
        found.add("script")
    if _URL_FILE.match(text):
        found.add("shortcut")
    if _MAIL.match(text):
        found.add(MAIL)
    return found
