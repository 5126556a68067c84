from __future__ import annotations

from importlib.resources import files

import pytest

from postane.core.errors import PermanentError
from postane.filters.auth.suffix_list import MOST, Facts, check, facts

REAL = files("publicsuffixlist").joinpath("public_suffix_list.dat").read_bytes()


def test_the_list_of_the_package_is_one() -> None:
    found = check(REAL)
    assert found == facts(REAL)
    assert found.rules > 9_000
    assert found.version > "2025"


def without(rule: str) -> bytes:
    return REAL.replace(f"\n{rule}\n".encode(), b"\n")


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"", "octets, not 0"),
        (REAL[: 90 * 1024], "octets, not"),
        (REAL + b"// \n" * (MOST // 4), "octets, not"),
        (b"<html>" + b" busy, come again " * 10_000 + b"</html>", "BEGIN ICANN"),
        (REAL[:-2000], "END PRIVATE"),
        (REAL.replace(b"===END ICANN DOMAINS===", b"==="), "END ICANN"),
        (REAL.replace(b"===BEGIN ICANN DOMAINS===", b"x").replace(b"VERSION:", b"===BEGIN ICANN DOMAINS==="), None),
        (without("com.tr"), "com.tr"),
        (without("!www.ck"), "!www.ck"),
        (REAL.replace(b"\ncom.ac\n", b"\n../etc/passwd\n"), "is no rule"),
        (REAL.replace(b"\ncom.ac\n", b"\na..b\n"), "is no rule"),
        (REAL.replace(b"\ncom.ac\n", b"\n" + b"a" * 300 + b"\n"), "is no rule"),
        (REAL.replace(b"\ncom.ac\n", b"\n\xff\xfe\n"), "no UTF-8"),
        (REAL.replace(b"\ncom.ac\n", b"\nco\x00m\n"), "is no rule"),
    ],
)
def test_what_is_no_list(octets: bytes, said: str | None) -> None:
    if said is None:
        check(octets)  # a marker may stand anywhere before the next
        return
    with pytest.raises(PermanentError, match=said):
        check(octets)


def test_a_list_may_not_shrink_by_more_than_a_tenth() -> None:
    here = facts(REAL)
    check(REAL, Facts(here.version, int(here.rules / 0.91)))
    with pytest.raises(PermanentError, match="over a tenth less"):
        check(REAL, Facts(here.version, int(here.rules / 0.89)))


def test_a_list_may_not_be_older() -> None:
    here = facts(REAL)
    check(REAL, here)
    with pytest.raises(PermanentError, match="older than the list in use"):
        check(REAL, Facts("2999-01-01_00-00-00", here.rules))
    unversioned = REAL.replace(b"VERSION:", b"")
    assert check(unversioned, Facts("2999-01-01_00-00-00", here.rules)).version == ""
