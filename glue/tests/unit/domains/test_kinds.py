"""Kinds of record: chosen by words, and which standing records are in the way of a wanted one."""

from __future__ import annotations

import pytest

from postane.core.errors import ConfigError
from postane.dns.records import Record
from postane.domains.kinds import ALL, DUE, Kind, chosen, competes


def test_no_word_means_all_and_an_unknown_one_is_told() -> None:
    assert chosen([]) == ALL - {Kind.PACC}
    assert chosen(["mx", "spf"]) == {Kind.MX, Kind.SPF}
    with pytest.raises(ConfigError, match="'mxx'") as caught:
        chosen(["mx", "mxx"])
    assert "tls_rpt" in caught.value.hint


@pytest.mark.parametrize(
    ("kind", "wanted", "standing", "clash"),
    [
        (Kind.MX, ("d.test", "MX", "10 us."), ("d.test", "MX", "10 them."), True),
        (Kind.MX, ("d.test", "MX", "10 us."), ("sub.d.test", "MX", "10 them."), False),
        (Kind.MX, ("d.test", "MX", "10 us."), ("d.test", "CNAME", "x.test."), True),
        (Kind.SPF, ("d.test", "TXT", '"v=spf1 mx"'), ("d.test", "TXT", '"v=spf1 -all"'), True),
        (Kind.SPF, ("d.test", "TXT", '"v=spf1 mx"'), ("d.test", "TXT", '"V=SPF1"'), True),
        (Kind.SPF, ("d.test", "TXT", '"v=spf1 mx"'), ("d.test", "TXT", '"v=spf10"'), False),
        (Kind.SPF, ("d.test", "TXT", '"v=spf1 mx"'), ("d.test", "TXT", '"site=1"'), False),
        (Kind.DMARC, ("_dmarc.d.test", "TXT", '"v=DMARC1; p=none"'), ("_dmarc.d.test", "TXT", '"v=DMARC1;p=x"'), True),
        (Kind.DMARC, ("_dmarc.d.test", "TXT", '"v=DMARC1; p=none"'), ("_dmarc.d.test", "TXT", '"else"'), False),
        (Kind.DMARC, ("_dmarc.d.test", "CNAME", "us."), ("_dmarc.d.test", "TXT", '"else"'), True),
        (Kind.DKIM, ("s._domainkey.d.test", "TXT", '"p=a"'), ("s._domainkey.d.test", "TXT", '"p=b"'), True),
        (Kind.VERIFICATION, ("_p.d.test", "TXT", '"a"'), ("_p.d.test", "TXT", '"b"'), False),
        (Kind.CAA, ("d.test", "CAA", '0 issue "a"'), ("d.test", "CAA", '0 issue "b"'), False),
        (Kind.TLSA, ("_25._tcp.d.test", "TLSA", "3 1 1 a"), ("_25._tcp.d.test", "TLSA", "3 1 1 b"), False),
        (Kind.AUTOCONFIG, ("autoconfig.d.test", "CNAME", "us."), ("autoconfig.d.test", "A", "192.0.2.1"), True),
        (Kind.AUTOCONFIG, ("autoconfig.d.test", "CNAME", "us."), ("autoconfig.d.test", "CNAME", "us."), False),
        (Kind.SRV, ("_imaps._tcp.d.test", "SRV", "0 1 993 us."), ("_imaps._tcp.d.test", "SRV", "0 1 993 x."), True),
        (Kind.ADDRESS, ("mail.d.test", "A", "192.0.2.1"), ("mail.d.test", "A", "192.0.2.2"), True),
        (Kind.ADDRESS, ("mail.d.test", "A", "192.0.2.1"), ("mail.d.test", "AAAA", "::1"), False),
    ],
)
def test_what_is_in_the_way(
    kind: Kind, wanted: tuple[str, str, str], standing: tuple[str, str, str], clash: bool
) -> None:
    assert competes(kind, Record(*wanted), Record(*standing)) is clash


def test_nothing_that_leads_mail_or_clients_to_us_is_due_before_the_cutover() -> None:
    leading = {Kind.MX, Kind.AUTOCONFIG, Kind.AUTODISCOVER, Kind.SRV, Kind.MTA_STS, Kind.DMARC}
    for state in ("claimed", "verified", "shadow", "removed"):
        assert not DUE[state] & leading
    assert DUE["cutover"] == ALL
