"""The report of all domains: for a spreadsheet and as a page, in two languages, whatever owners have named things."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from postane.admin import domain_report
from postane.admin.domain_bulk import bring_in
from postane.admin.domain_plan import Planned
from postane.admin.domain_report import FORMATS, LANGUAGES, as_csv, as_html, lines
from postane.admin.domain_table import read
from postane.admin.site import Site
from postane.config.model import Config
from postane.core.errors import ServiceMissingError
from postane.domains.plan import Action, Line, Plan

TABLE = """domain,tenant,plan,admin,start,dns_target
müze.test,"=cmd|'/c calc'!A1",<b>small</b>,info,,knot
far.test,library,,,claim,
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(Config(host="mail.host.test", state=str(tmp_path)))
    made.database.upgrade()
    bring_in(made, read(TABLE.encode(), "c.csv"))
    return made


def test_what_is_where_and_why(site: Site) -> None:
    found = {line.domain: line for line in lines(site)}
    one = found["müze.test"]
    assert (one.name, one.state, one.proof, one.accounts, one.dns_target) == (
        "xn--mze-hoa.test",
        "cutover",
        "operator",
        1,
        "knot",
    )
    assert (found["far.test"].state, found["far.test"].dns_target) == ("claimed", "manual")
    assert [line.domain for line in lines(site, "library")] == ["far.test"]


def test_what_is_left_in_the_dns_is_told_where_it_was_planned(site: Site) -> None:
    conflict = Plan("far.test", "far.test", "manual", (Line(Action.CONFLICT, None, "two SPF records"),), (), "")
    planned = [Planned("far.test", conflict), Planned("xn--mze-hoa.test", None, ServiceMissingError("Knot is away"))]
    assert {line.domain: line.dns for line in lines(site, planned=planned)} == {
        "far.test": "two SPF records",
        "müze.test": "Knot is away",
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_spreadsheet_reads_it_and_runs_nothing_in_it(site: Site, language: str) -> None:
    text = as_csv(lines(site), language)
    assert text.startswith("\ufeff")
    head, first, second = csv.reader(io.StringIO(text[1:]))
    assert len(head) == len(first) == len(second) == len(set(head))
    assert second[2] == "'=cmd|'/c calc'!A1"
    assert head[0] == {"en": "domain", "tr": "alan adı"}[language]
    assert first[4] == {"en": "claimed", "tr": "talep edildi"}[language]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_holds_names_as_text(site: Site, language: str) -> None:
    page = as_html(lines(site), "mail.host.test", 0.0, language)
    assert f'<html lang="{language}">' in page
    assert "&lt;b&gt;small&lt;/b&gt;" in page
    assert "<b>small</b>" not in page
    assert "1970-01-01 00:00 UTC" in page
    assert page.count("<tr ") == 2


def test_both_languages_have_all_words() -> None:
    words = domain_report._WORDS
    assert set(words["en"]) <= set(words["tr"])
    assert FORMATS == ("csv", "html")
