"""Findings from look to look, what of them is mended, and when somebody is told; by tables, the clock is a number."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postane.dns.records import Record
from postane.domains import drift_cases as drift
from postane.domains.drift import DAY, Drift, Found, Look
from postane.domains.drift_cases import Case
from postane.domains.kinds import Kind
from postane.domains.plan import Action, Line, Plan

D = "shop.test"
NOW = 1_000_000.0

SILENT = Look((Found(Drift.SILENT, "ns1.x.test"),))
GONE = Look((Found(Drift.MISSING, f"_dmarc.{D} TXT", ours=True),))
FINE = Look(())


def test_a_single_silence_is_no_alarm() -> None:
    cases: list[Case] = []
    for number in range(3):
        assert not any(case.open for case in cases)
        cases = drift.follow(cases, SILENT, NOW + number * 600)
    [case] = cases
    assert (case.open, case.first_seen, case.last_seen) == (True, NOW, NOW + 1200)
    # Twice silent and then not: it never was. Two looks at once are one.
    assert drift.follow(drift.follow([], SILENT, NOW), FINE, NOW + 600) == []
    again = drift.follow(drift.follow(drift.follow([], SILENT, NOW), SILENT, NOW + 1), SILENT, NOW + 2)
    assert [case.seen for case in again] == [1]


def test_what_is_certain_is_open_at_once_and_over_at_once() -> None:
    [case] = drift.follow([], GONE, NOW)
    assert case.open
    [case] = drift.follow([case], FINE, NOW + 600)
    assert (case.open, case.ended_at) == (False, NOW + 600)
    # It is remembered for a month.
    assert drift.follow([case], FINE, NOW + 29 * DAY) == [case]
    assert drift.follow([case], FINE, NOW + 31 * DAY) == []


def test_what_comes_again_within_a_day_is_the_same_and_later_it_is_another() -> None:
    [case] = drift.follow([], GONE, NOW)
    [over] = drift.follow([replace(case, id=7, told_at=NOW)], FINE, NOW + 600)
    [again] = drift.follow([over], GONE, NOW + 1200)
    assert (again.id, again.first_seen, again.ended_at, again.told_at) == (7, NOW + 1200, None, NOW)
    later = drift.follow([over], GONE, NOW + 2 * DAY)
    assert [one.id for one in later] == [7, 0]


DMARC = Record(f"_dmarc.{D}", "TXT", '"v=DMARC1; p=none"')
OTHERS = Record(f"autoconfig.{D}", "CNAME", "mail.host.test.")
FOREIGN = Record(D, "MX", "5 mx.old.test.")
PLAN = Plan(
    D,
    D,
    "far",
    (
        Line(Action.ADD, Kind.DMARC, "", DMARC),
        Line(Action.ADD, Kind.AUTOCONFIG, "", OTHERS),
        Line(Action.CHANGE, Kind.MX, "", Record(D, "MX", "10 mail.host.test."), (FOREIGN,)),  # taken by a word of once
    ),
    (),
    "",
    before=(FOREIGN,),
)


def test_only_what_is_ours_is_mended_and_not_for_ever() -> None:
    subject = f"_dmarc.{D} TXT"
    found = (
        Found(Drift.MISSING, subject, ours=True),
        Found(Drift.MISSING, f"autoconfig.{D} CNAME"),
        Found(Drift.MX_FOREIGN, f"{D} MX"),
    )
    cases = drift.follow([], Look(found), NOW)
    made = drift.mend(PLAN, cases)
    assert made is not None
    assert (made.add, made.remove) == ((DMARC,), ())
    assert made.before == ()  # what it does not touch may change meanwhile
    for number in range(1, 5):
        cases = drift.mended([case for case in cases if case.ours], [subject], NOW + number * 100)
        [case] = cases
        assert (case.repairs, case.ended_at is not None) == (min(number, 3), number < 4)
        if number < 4:
            cases = drift.follow(cases, GONE, NOW + number * 100 + 50)
    assert drift.mend(PLAN, cases) is None
    # A day later it is mended again.
    fresh = drift.follow([replace(case, ended_at=NOW)], GONE, NOW + 2 * DAY)
    assert drift.mend(PLAN, fresh) is not None


def test_two_spf_records_become_one_by_the_operators_word_alone() -> None:
    ours, theirs = Record(D, "TXT", '"v=spf1 mx -all"'), Record(D, "TXT", '"v=spf1 a -all"')
    both = Record(D, "TXT", '"v=spf1 a mx -all"')
    plan = replace(PLAN, lines=(Line(Action.CHANGE, Kind.SPF, "", both, (ours, theirs)),), before=(ours, theirs))
    cases = drift.follow([], Look((Found(Drift.SPF_TWO, f"{D} TXT"),)), NOW)
    assert drift.mend(plan, cases) is None
    assert drift.mend(plan, cases, word=True) == plan
    [case] = drift.mended(cases, [f"{D} TXT"], NOW + 1)
    assert case.ended_at == NOW + 1


# -- when --------------------------------------------------------------------------------------------------------------


def test_looks_are_spread_and_soon_where_something_is_to_be_seen_again() -> None:
    every = 21_600.0
    times = [drift.due(f"d{number}.test", [], every, NOW) - NOW for number in range(400)]
    assert all(0 < one <= every for one in times)
    quarters = [sum(1 for one in times if one // (every / 4) == quarter) for quarter in range(4)]
    assert min(quarters) > 60
    at = drift.due(D, [], every, NOW)
    assert drift.due(D, [], every, at) == at + every  # its own moment, again and again
    pending = Case(Drift.SILENT, "ns", "", NOW, NOW, 3, 1)
    assert drift.due(D, [pending], every, NOW) == NOW + drift.AGAIN
    assert drift.due(D, [pending], 60.0, NOW) == NOW + 60


def test_news() -> None:
    fresh = Case(Drift.MISSING, "x", "", NOW, NOW)
    assert drift.news([fresh], NOW) == [fresh]
    told = replace(fresh, told_at=NOW)
    assert drift.news([told], NOW + 3 * DAY) == []
    over = replace(told, ended_at=NOW + 100)
    assert drift.news([over], NOW + 200) == []  # of one thing once a day
    assert drift.news([over], NOW + DAY + 1) == [over]
    assert drift.news([replace(over, told_at=NOW + DAY + 1)], NOW + 5 * DAY) == []
    repaired = replace(fresh, ended_at=NOW + 1, repaired_at=NOW + 1)
    assert drift.news([repaired], NOW + 2) == [repaired]
    # Nobody was told that it had begun: nobody is told that it is over. Nor of what is not certain yet.
    assert drift.news([replace(fresh, ended_at=NOW + 1)], NOW + 2) == []
    assert drift.news([Case(Drift.SILENT, "ns", "", NOW, NOW, 3, 2)], NOW) == []
    begun_again = replace(told, first_seen=NOW + 2 * DAY)
    assert drift.news([begun_again], NOW + 2 * DAY) == [begun_again]


@pytest.mark.parametrize(
    ("kind", "since", "due"),
    [
        (Drift.MISSING, None, True),
        (Drift.MISSING, DAY - 1, False),
        (Drift.MISSING, DAY, True),
        (Drift.MX_FOREIGN, DAY / 2, True),
        (Drift.MX_FOREIGN, 3599, False),
    ],
)
def test_one_mail_a_day_and_one_an_hour_where_mail_is_in_danger(kind: Drift, since: float | None, due: bool) -> None:
    untold = [Case(kind, "x", "", NOW, NOW)]
    assert drift.mail_is_due(untold, None if since is None else NOW - since, NOW) is due
    assert not drift.mail_is_due([], None, NOW)
