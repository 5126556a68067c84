from __future__ import annotations

import pytest

from postane.acceptance.policy import Policy, matches, read_policy
from postane.acceptance.result import FailedError
from postane.clients.model import MtaSts
from postane.clients.mta_sts import policy_text


def test_our_own_is_read_as_it_was_meant() -> None:
    text = policy_text(MtaSts("enforce", ("mx1.a.test", "*.b.test"), 86_400))
    assert read_policy(text.encode()) == Policy("enforce", ("mx1.a.test", "*.b.test"), 86_400)
    assert read_policy(b"version: STSv1\nmode: none\nmax_age: 1\n").mx == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "version: STSv2\nmode: none\nmax_age: 1",
        "version: STSv1\nmode: always\nmx: a.test\nmax_age: 1",
        "version: STSv1\nmode: enforce\nmax_age: 1",
        "version: STSv1\nmode: enforce\nmx: a.test",
        "version: STSv1\nmode: enforce\nmx: a.test\nmax_age: a day",
        "<html>not found</html>",
    ],
)
def test_what_no_sender_would_take(text: str) -> None:
    with pytest.raises(FailedError, match="bad_policy"):
        read_policy(text.encode())


@pytest.mark.parametrize(
    ("pattern", "host", "fits"),
    [
        ("mx.a.test", "MX.a.test.", True),
        ("mx.a.test", "mx2.a.test", False),
        ("*.a.test", "mx.a.test", True),
        ("*.a.test", "a.test", False),
        ("*.a.test", "x.mx.a.test", False),
    ],
)
def test_one_star_is_one_label(pattern: str, host: str, fits: bool) -> None:
    assert matches(pattern, host) is fits
