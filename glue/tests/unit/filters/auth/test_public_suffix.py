from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from postane.filters.auth.public_suffix import FILE, age, by_list, in_use, package_facts

REAL = files("publicsuffixlist").joinpath("public_suffix_list.dat").read_bytes()
NEWER = REAL.replace(b"VERSION: 20", b"VERSION: 29", 1)


def test_the_registered_domain_is_found() -> None:
    suffixes = by_list()
    assert suffixes("a.b.example.co.uk") == "example.co.uk"
    assert suffixes("example.com") == "example.com"
    assert suffixes("co.uk") == ""
    assert suffixes("a.xn--mze-hoa.xn--p1ai") == "xn--mze-hoa.xn--p1ai"


def with_rule(rule: str) -> bytes:
    return NEWER.replace(b"\ncom.ac\n", f"\ncom.ac\n{rule}\n".encode())


def put(state: Path, octets: bytes) -> None:
    made = state / "new"
    made.write_bytes(octets)
    made.rename(state / FILE)


def test_a_newer_list_counts_as_soon_as_it_is_there(tmp_path: Path) -> None:
    assert by_list(tmp_path)("a.hosting.example") == "hosting.example"
    assert in_use(tmp_path).file is None
    put(tmp_path, with_rule("hosting.example"))
    assert by_list(tmp_path)("a.hosting.example") == "a.hosting.example"
    assert by_list()("a.hosting.example") == "hosting.example"
    assert in_use(tmp_path).file == tmp_path / FILE
    put(tmp_path, with_rule("a.hosting.example"))
    assert by_list(tmp_path)("a.hosting.example") == ""
    (tmp_path / FILE).unlink()
    assert by_list(tmp_path)("a.hosting.example") == "hosting.example"


def test_a_file_that_is_no_list_or_older_counts_for_nothing(tmp_path: Path) -> None:
    older = with_rule("hosting.example").replace(b"VERSION: 29", b"VERSION: 19", 1)
    for octets in (b"", b"com\n", older, with_rule("hosting.example")[:200_000]):
        put(tmp_path, octets)
        assert by_list(tmp_path)("a.hosting.example") == "hosting.example"
        assert in_use(tmp_path).file is None
    unversioned = with_rule("hosting.example").replace(b"VERSION:", b"", 1)
    put(tmp_path, unversioned)  # the operator's own word
    assert by_list(tmp_path)("a.hosting.example") == "a.hosting.example"


def test_its_age(tmp_path: Path) -> None:
    made = in_use(tmp_path).current
    assert package_facts().version.startswith(str(1970 + int(made / 365.25 / 86400)))
    assert age(tmp_path, made + 100) == 100
    put(tmp_path, NEWER)
    os.utime(tmp_path / FILE, (5_000, 5_000))
    assert age(tmp_path, 5_060) == 60
    assert in_use(tmp_path).current == 5_000
