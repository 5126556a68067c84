"""What lists say, seen from the desk."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from postane.admin import dnsbl
from postane.admin.dnsbl import DnsblView, ListView
from postane.config.load import WrongValueError
from postane.core.errors import UsageError
from postane.filters.builtin.dnsbl import Options
from support.zone import Zone

ZONE = """
2.0.0.127.bl.example A 127.0.0.2
66.2.0.192.bl.example A 127.0.0.4
66.2.0.192.bl.example TXT Open relay
2.0.0.127.wl.example A 127.0.5.1
66.2.0.192.wl.example A 127.0.5.1
test.dbl.example A 127.0.1.2
spam.example.dbl.example A 127.0.1.2
66.2.0.192.odd.example A 127.0.0.3
"""
BL = {"zone": "bl.example"}
WL = {"zone": "wl.example", "allow": True, "weight": 1}
DBL = {"zone": "dbl.example", "of": "sender_domain"}
ODD = {"zone": "odd.example"}  # it has no test entry


def looked(subject: str, *lists: dict[str, Any], **options: Any) -> DnsblView:
    given = msgspec.convert({"lists": lists, **options}, Options)
    return asyncio.run(dnsbl.look(subject, given, Zone(ZONE).ask))


def test_each_list_and_the_sum_of_those_that_are_well() -> None:
    view = looked("192.0.2.66", BL, WL, ODD, DBL)
    assert view.lists[0] == ListView("bl.example", True, ("127.0.0.4",), 5, True, "", "Open relay")
    assert (view.lists[1].weight, view.lists[2].listed, view.lists[2].weight, view.lists[2].well) == (
        -1,
        True,
        0,
        False,
    )
    assert "does not list what it must" in view.lists[2].problem
    assert len(view.lists) == 3
    assert (view.subject, view.score, view.refused) == ("192.0.2.66", 4, False)
    assert looked("192.0.2.66", BL).refused
    assert not looked("192.0.2.66", BL, reject_at=0).refused
    assert looked("192.0.2.1", BL).lists[0].listed is False


def test_codes_that_are_not_known_are_named() -> None:
    (found,) = looked("192.0.2.66", {**BL, "codes": {"127.0.0.2": 5}}).lists
    assert (found.listed, found.weight) == (True, 0)
    assert "127.0.0.4, which is none of the codes" in found.problem


@pytest.mark.parametrize("subject", ["Spam.Example", "a@spam.example", "spam.example."])
def test_domains(subject: str) -> None:
    view = looked(subject, BL, DBL)
    assert (view.subject, view.score, len(view.lists)) == ("spam.example", 5, 1)


def test_ipv6_is_for_lists_that_have_it() -> None:
    assert looked("[2001:db8::1]", BL).lists == ()
    assert len(looked("2001:db8::1", {**BL, "ipv6": True}).lists) == 1
    assert looked("::ffff:192.0.2.66", BL).score == 5


@pytest.mark.parametrize("subject", ["", "nowhere", "1.2.3", "a..b"])
def test_what_nobody_can_be_asked_about(subject: str) -> None:
    with pytest.raises(UsageError, match="neither an address nor a domain"):
        looked(subject, BL)


def test_lists_come_from_the_configuration_or_the_command(tmp_path: Path) -> None:
    path = tmp_path / "postane.yml"
    with pytest.raises(UsageError, match="no lists"):
        dnsbl.options(path)
    assert [one.zone for one in dnsbl.options(path, ["bl.example"]).lists] == ["bl.example"]
    with pytest.raises(UsageError, match="--zone"):
        dnsbl.options(path, ["a b"])
    path.write_text(
        "host: mx.test\nfilters:\n  use: [dnsbl]\n  options:\n    dnsbl: {reject_at: 3, lists: [{zone: x.example}]}\n"
    )
    assert dnsbl.options(path).lists[0].zone == "x.example"
    assert dnsbl.options(path, ["bl.example"]).reject_at == 3
    path.write_text("host: mx.test\nfilters:\n  use: [dnsbl]\n  options:\n    dnsbl: {lists: [{zone: 5}]}\n")
    with pytest.raises(WrongValueError, match="dnsbl"):
        dnsbl.options(path)
