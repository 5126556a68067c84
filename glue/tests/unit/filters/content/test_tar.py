"""Tar archives in the forms that tar and tarfile write, and others."""

from __future__ import annotations

import contextlib
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.filters.content.budget import BoundError, DamagedError
from postane.filters.content.tar import members
from support.attach import PE, budget

LONG = "folder/" * 30 + "evil.exe"


def archive(files: dict[str, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as one:
        for name, octets in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(octets)
            one.addfile(info, io.BytesIO(octets))
    return made.getvalue()


def read(octets: bytes, **bounds: float) -> dict[bytes, bytes]:
    return {
        member.names[0]: b"".join(member.read()) if member.read else b"" for member in members(octets, budget(**bounds))
    }


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_sound(form: int) -> None:
    files = {"a.txt": b"hello" * 1000, LONG: PE, "empty": b"", "çay": b"tea"}
    assert read(archive(files, form)) == {name.encode(): octets for name, octets in files.items()}
    assert read(archive({"a" * 80 + "/" + "b" * 90: b"x"}, tarfile.USTAR_FORMAT)) == {
        b"a" * 80 + b"/" + b"b" * 90: b"x"
    }


def test_a_sum_that_was_counted_with_signs() -> None:
    made = bytearray(archive({"çay.exe": b"x"}))
    rest = made[:148] + b" " * 8 + made[156:512]
    signed = sum(octet - 256 * (octet > 127) for octet in rest)
    made[148:156] = b"%06o\0 " % signed
    assert read(bytes(made)) == {"çay.exe".encode(): b"x"}


def test_a_sparse_file_has_its_true_name_elsewhere() -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as one:
        info = tarfile.TarInfo("GNUSparseFile.0/safe")
        info.pax_headers = {"GNU.sparse.name": "evil.exe"}
        one.addfile(info)
    assert [member.names for member in members(made.getvalue(), budget())] == [(b"evil.exe", b"GNUSparseFile.0/safe")]


def test_folders_and_links() -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as one:
        folder, link = tarfile.TarInfo("folder"), tarfile.TarInfo("link.exe")
        folder.type, link.type = tarfile.DIRTYPE, tarfile.SYMTYPE
        one.addfile(folder)
        one.addfile(link)
    assert [member.names for member in members(made.getvalue(), budget())] == [(b"link.exe",)]


def test_what_follows_the_end_is_read_too() -> None:
    assert set(read(archive({"a": b"x"}) + archive({"b": b"y"}))) == {b"a", b"b"}


def test_one_that_is_cut_short() -> None:
    assert read(archive({"a": b"x" * 5000})[:2000]) == {b"a": b"x" * 1488}


@pytest.mark.parametrize("octets", [b"x" * 600, archive({"a": b""})[:148] + b"9" * 500])
def test_what_is_none(octets: bytes) -> None:
    with pytest.raises(DamagedError):
        list(members(octets, budget()))


def test_bounds() -> None:
    with pytest.raises(BoundError):
        read(archive({f"{number}": b"" for number in range(30)}), members=20)


@given(st.integers(0, 1500), st.binary(min_size=1, max_size=12))
def test_any_damage_is_met(at: int, change: bytes) -> None:
    made = archive({"a.exe": b"x" * 600, LONG: b"y"})
    with contextlib.suppress(BoundError, DamagedError):
        read(made[:at] + change + made[at + len(change) :])
