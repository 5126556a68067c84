"""Command lines, octet by octet where it counts."""

from __future__ import annotations

import pytest

from postane.smtpd.command import CommandError, parse_bdat, parse_mail


@pytest.mark.parametrize(
    ("argument", "size", "last"),
    [("5", 5, False), ("0 LAST", 0, True), ("7 last", 7, True), (" 7  LAST ", 7, True), ("000012", 12, False)],
)
def test_bdat(argument: str, size: int, last: bool) -> None:
    assert parse_bdat(argument) == (size, last)


@pytest.mark.parametrize(
    "argument",
    ["", "x", "-1", "+1", "1_0", "٣", "5\tLAST", "5\x0bLAST", "5 LAſT", "5 LAST LAST", "5LAST", "1234567890123"],
)
def test_bdat_is_counted_as_the_standard_says_or_not_at_all(argument: str) -> None:
    with pytest.raises(CommandError):
        parse_bdat(argument)


def test_binarymime_is_refused_as_a_parameter_that_is_not_offered() -> None:
    with pytest.raises(CommandError) as refused:
        parse_mail("FROM:<a@x.test> BODY=BINARYMIME", "mx.test")
    assert str(refused.value.reply).startswith("555 5.5.4")
