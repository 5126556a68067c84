"""Every name that some mail program reads from a field."""

from __future__ import annotations

import pytest

from postane.filters.content.budget import BoundError
from postane.filters.content.names import extension, parameters, plain, readings, turned


@pytest.mark.parametrize(
    "value",
    [
        b"attachment; filename=evil.exe",
        b'attachment; filename="evil.exe"',
        b"attachment; FileName = evil.exe",
        b'application/octet-stream; name="evil.exe"',
        b'attachment; filename="safe.txt"; filename="evil.exe"',
        b'attachment; filename="evil.exe"; filename="safe.txt"',
        b'attachment; filename="safe.txt; filename=evil.exe"',
        b"attachment; filename=evil.exe; size=3",
        b"attachment; filename=evil.exe trailing words",
        b'attachment; filename="evil.exe" trailing words',
        b'attachment; filename="evil".exe',
        b'attachment; filename="evil.exe',
        b"attachment; filename=(a comment)evil.exe",
        b"attachment; filename=evil.exe(a comment)",
        b'attachment; filename="ev\\il.exe"',
        b"attachment; filename*=UTF-8''evil%2Eexe",
        b"attachment; filename*=evil.exe",
        b"attachment; filename*0=ev; filename*1=il.e; filename*2=xe",
        b"attachment; filename*2=xe; filename*0=ev; filename*1=il.e",
        b"attachment; filename*0*=UTF-8''ev; filename*1*=il%2E; filename*2=exe",
        b'attachment; filename*0="evil.e"; filename*1="xe"; filename="safe.txt"',
        b"attachment; filename*0=evil.exe; filename*2=.txt",
        b"attachment; filename*0=evil; filename*3=.exe",
        b"attachment; filename==?utf-8?B?ZXZpbC5leGU=?=",
        b'attachment; filename="=?UTF-8?Q?evil=2Eexe?="',
        b'attachment; filename="=?utf-8?B?ZXZp?= =?utf-8?B?bC5leGU?="',
        b'attachment; filename="=?us-ascii*en?Q?evil=2Eexe?="',
        b'attachment; filename="=?utf-16-le?B?ZQB2AGkAbAAuAGUAeABlAA==?="',
        b'attachment; filename="..\\..\\evil.exe"',
        b'attachment; filename="a/b/evil.exe"',
        b'attachment; filename="evil.exe. . "',
        b'attachment; filename="evil.exe\0.txt"',
        b'attachment; filename="evil.exe:$DATA"',
        b'attachment; filename="evil.exe::$DATA"',
        'attachment; filename="evil.e\u200bxe"'.encode(),
        b"attachment;\tfilename=\r\n\tevil.exe",
    ],
)
def test_a_forbidden_name_is_seen_in_whatever_way_it_is_written(value: bytes) -> None:
    assert "exe" in {extension(name) for name in readings(parameters(value))}


@pytest.mark.parametrize(
    "value", [b"", b"attachment", b"attachment; size=exe", b"inline; xfilename=evil.exe", b"x; boundary=evil.exe"]
)
def test_what_is_no_name_is_none(value: bytes) -> None:
    assert readings(parameters(value)) == []


def test_names_are_read_in_their_own_letters() -> None:
    value = b"attachment; filename*=utf-8''%C3%A7ay%20saati.txt"
    assert readings(parameters(value))[-1] == "çay saati.txt"
    assert readings([b"=?iso-8859-9?Q?=DEi=FEe.txt?="])[-1] == "Şişe.txt"
    assert readings([b"=?no-such-charset?Q?a=2Etxt?="])[-1] == "a.txt"


def test_boundaries_are_read_in_the_same_ways() -> None:
    assert parameters(b'multipart/mixed; boundary="a b"; charset=x', b"boundary") == [b"a b"]
    assert b"abcd" in parameters(b"multipart/mixed; boundary*0=ab; boundary*1=cd", b"boundary")


def test_plain_names() -> None:
    assert plain("a\\b/c.txt") == ["c.txt"]
    assert plain('  "x" ') == ["x"]
    assert plain("dir/") == ["dir"]
    assert plain("...") == []
    assert len(plain("x" * 5000 + ".exe")[0]) == 255
    assert plain("x" * 5000 + ".exe")[0].endswith(".exe")


def test_an_extension_in_lower_case() -> None:
    assert (extension("A.EXE"), extension("a"), extension("İ.ZİP")) == ("exe", "", "zi\u0307p")


def test_a_name_that_is_displayed_backwards_is_told() -> None:
    assert turned(["annexe\u202etxt.exe".encode()])
    assert turned([b"=?utf-8?Q?ann=E2=80=AEtxt.exe?="])
    assert turned([b"ann%E2%80%AEtxt.exe"])
    assert not turned(["schön, çok güzel.txt".encode()])


def test_bounds() -> None:
    with pytest.raises(BoundError):
        parameters(b"x; name=" + b"a" * 70_000)
    with pytest.raises(BoundError):
        parameters(b"x" + b"; name=a" * 2000)
