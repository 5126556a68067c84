from __future__ import annotations

from random import Random

import pytest

from postane.delivery.mx import OwnHost, RefusedError, order
from postane.dns.resolver import MailHost

OURS = OwnHost({"mail.demo.test"})


def test_by_preference_and_at_random_among_equals() -> None:
    records = [MailHost(20, "c"), MailHost(10, "a"), MailHost(10, "b")]
    seen = {tuple(order("x.test", records, OURS, Random(seed))) for seed in range(20)}
    assert seen == {("a", "b", "c"), ("b", "a", "c")}


def test_domain_without_mx_is_its_own() -> None:
    assert order("x.test", [], OURS, Random(1)) == ["x.test"]


def test_null_mx_among_others_is_passed_over() -> None:
    assert order("x.test", [MailHost(0, ""), MailHost(10, "a")], OURS, Random(1)) == ["a"]


@pytest.mark.parametrize(
    "records", [[MailHost(10, "mail.demo.test")], [MailHost(5, "mail.demo.test"), MailHost(9, "a")]]
)
def test_loop_is_refused(records: list[MailHost]) -> None:
    with pytest.raises(RefusedError) as caught:
        order("x.test", records, OURS, Random(1))
    assert caught.value.reply.enhanced == "5.4.6"


def test_loopback_is_ours_unless_said_otherwise() -> None:
    assert OURS.is_address("127.0.0.1")
    assert OURS.is_address("::1")
    assert OURS.is_address("0.0.0.0")
    assert not OURS.is_address("192.0.2.1")
    assert not OwnHost(loopback=False).is_address("127.0.0.1")
