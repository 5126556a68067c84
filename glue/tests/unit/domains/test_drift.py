"""Drift by tables: what a look makes of a plan, what becomes of it from look to look, and what is mended. No clock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postane.dns.records import Record, text_data
from postane.domains import drift, spf
from postane.domains.desired import Facts, Wanted, desired
from postane.domains.drift import DAY, Case, Drift, Found, Look
from postane.domains.kinds import Kind
from postane.domains.life import State
from postane.domains.plan import Action, Owned, Plan, make_plan
from postane.domains.snapshot import Finding, Snapshot, Trouble, Unanswered

D = "shop.test"
HOST = "mail.host.test"
FACTS = Facts(D, HOST, (("k", "v=DKIM1; p=AA"),), mta_sts_id="1", services=())
WANTED = desired(FACTS)
RIGHT = tuple(one.record for one in WANTED if one.kind is not Kind.CAA)
NOW = 1_000_000.0


def text(name: str, value: str, ttl: int = 3600) -> Record:
    return Record(name, "TXT", text_data(value), ttl)


def owned_all() -> list[Owned]:
    return [Owned(one.record, one.kind) for one in WANTED if one.kind is not Kind.CAA]


def world(
    *, without: str = "", plus: tuple[Record, ...] = (), trouble: tuple[Trouble, ...] = (), silent: tuple[str, ...] = ()
) -> Snapshot:
    """What should stand, without the records of a name and type (`without`), and with others."""
    stands = tuple(one for one in RIGHT if f"{one.name} {one.type}" != without)
    quiet = tuple(unanswered(one) for one in silent)
    return Snapshot(D, D, ("ns1.x.test", "ns2.x.test"), (*stands, *plus), quiet, trouble)


def unanswered(name_and_type: str) -> Unanswered:
    name, kind = name_and_type.split()
    return Unanswered(name, kind, "silence")


def planned(
    snapshot: Snapshot,
    owned: list[Owned],
    wanted: list[Wanted] | None = None,
    take: tuple[Kind, ...] = (),
    merged: spf.Merged | None = None,
) -> Plan:
    return make_plan(wanted or WANTED, snapshot, owned, take=take, merged=merged)


def look(snapshot: Snapshot, owned: list[Owned], stood: frozenset[str] = frozenset(), facts: Facts = FACTS) -> Look:
    wanted = desired(facts)
    return drift.see(facts, planned(snapshot, owned, wanted), snapshot, owned, stood)


STOOD = look(world(), []).stood
SERVED = STOOD - {f"{one.kind} {one.record.name} {one.record.type}" for one in WANTED}


def kinds(found: Look) -> list[tuple[Drift, str, bool]]:
    return [(one.kind, one.subject, one.ours) for one in found.found]


def test_all_right_is_no_drift_and_is_remembered() -> None:
    found = look(world(), owned_all())
    assert found.found == ()
    assert f"mx {D} MX" in found.stood
    assert len(found.stood - SERVED) == len({(one.name, one.type) for one in RIGHT})


LOST = [
    (f"{D} MX", Drift.MX_GONE),
    (f"_dmarc.{D} TXT", Drift.MISSING),
    (f"k._domainkey.{D} TXT", Drift.MISSING),
    (f"autoconfig.{D} CNAME", Drift.MISSING),
    (f"{D} TXT", Drift.MISSING),  # SPF
]


@pytest.mark.parametrize(("gone", "kind"), LOST)
def test_what_is_gone_is_ours_to_put_back_where_we_made_it_and_told_where_it_only_stood(gone: str, kind: Drift) -> None:
    assert kinds(look(world(without=gone), owned_all())) == [(kind, gone, True)]
    assert kinds(look(world(without=gone), [], STOOD)) == [(kind, gone, False)]
    # What never stood is the plan's to tell.
    assert look(world(without=gone), []).found == ()


def test_what_nobody_answered_about_is_neither_gone_nor_there() -> None:
    found = look(world(without=f"{D} MX", silent=(f"{D} MX",)), owned_all())
    assert found.found == ()
    case = Case(Drift.MX_GONE, f"{D} MX", "", NOW, NOW)
    assert drift.follow([case], found, NOW + 1000) == [case]
    assert drift.remembered([f"mx {D} MX", "mx old.test MX"], found, [planned(world(), [])]) >= {f"mx {D} MX"}
    # What stands in the place of an alias is asked for as addresses.
    aliased = look(world(without=f"autoconfig.{D} CNAME", silent=(f"autoconfig.{D} A",)), owned_all())
    assert aliased.found == ()


def test_a_new_value_that_waits_to_be_put_in_is_no_drift() -> None:
    stricter = replace(FACTS, dmarc="reject", mta_sts_id="2")
    assert look(world(), owned_all(), STOOD, stricter).found == ()
    # A selector that comes.
    assert look(world(), owned_all(), STOOD, replace(FACTS, keys=(*FACTS.keys, ("n", "v=DKIM1; p=BB")))).found == ()
    # One of the two addresses that a name had is gone; and a change of the certificate's TLSA record is none.
    facts = Facts(D, f"mail.{D}", tlsa=(("3 1 1 bb", "why"),), kinds=frozenset({Kind.TLSA}))
    old = Record(f"_25._tcp.mail.{D}", "TLSA", "3 1 1 aa")
    assert look(Snapshot(D, D, (), (old,)), [Owned(old, Kind.TLSA)], frozenset(), facts).found == ()
    assert look(Snapshot(D, D, (), (old,)), [], frozenset({f"tlsa {old.name} TLSA"}), facts).found == ()


def test_a_ttl_that_somebody_changed() -> None:
    mx = Record(D, "MX", f"10 {HOST}.", 60)
    found = look(world(without=f"{D} MX", plus=(mx,)), owned_all())
    assert found.found == (Found(Drift.CHANGED, f"{D} MX", "TTL 60", ours=True),)


def test_foreign_mx_beside_ours_and_in_its_place() -> None:
    other = Record(D, "MX", "5 mx.old.test.")
    for snapshot in (world(plus=(other,)), world(without=f"{D} MX", plus=(other,))):
        [one] = look(snapshot, owned_all()).found
        assert (one.kind, one.ours) == (Drift.MX_FOREIGN, False)
        assert "5 mx.old.test." in one.data
    # Before it ever named us: its life tells of that. A hardened one's mail is ours, whatever was seen.
    gone = world(without=f"{D} MX", plus=(other,))
    assert look(gone, []).found == ()
    assert [one.kind for one in look(gone, [], facts=replace(FACTS, state=State.HARDENED)).found] == [Drift.MX_FOREIGN]


def test_an_altered_key_and_an_alias_in_the_place_of_a_record() -> None:
    name = f"k._domainkey.{D}"
    [one] = look(world(without=f"{name} TXT", plus=(text(name, "v=DKIM1; p="),)), owned_all()).found
    assert (one.kind, one.subject, one.data, one.ours) == (Drift.CHANGED, f"{name} TXT", "TXT v=DKIM1; p=", False)
    alias = Record(f"autoconfig.{D}", "CNAME", "elsewhere.test.")
    [one] = look(world(without=f"autoconfig.{D} CNAME", plus=(alias,)), owned_all()).found
    assert (one.kind, one.ours) == (Drift.CHANGED, False)


def test_a_foreign_policy_in_the_place_of_ours_does_what_is_needed() -> None:
    theirs = text(f"_dmarc.{D}", "v=DMARC1; p=reject")
    assert look(world(without=f"_dmarc.{D} TXT", plus=(theirs,)), owned_all(), STOOD).found == ()


SPF_TABLE = [
    # what stands, our words in it (None: all of it was ours), finding, ours
    (["v=spf1 mx -all", "v=spf1 a -all"], None, Drift.SPF_TWO, False),
    (["v=spf1 a -all"], None, Drift.CHANGED, True),
    (["v=spf1 a -all"], ("mx",), Drift.CHANGED, True),
    (["v=spf1 a mx -all"], ("mx",), None, False),
    (["v=spf1 ipp4:1 -all"], ("mx",), Drift.CHANGED, False),  # cannot be read: nobody can put a word in
    ([], ("mx",), Drift.MISSING, True),
]


@pytest.mark.parametrize(("texts", "words", "kind", "ours"), SPF_TABLE)
def test_spf(texts: list[str], words: tuple[str, ...] | None, kind: Drift | None, ours: bool) -> None:
    standing = tuple(text(D, one) for one in texts)
    own = Owned(text(D, "v=spf1 mx -all"), Kind.SPF, words or ())
    owned = [*(one for one in owned_all() if one.kind is not Kind.SPF), own]
    found = look(world(without=f"{D} TXT", plus=standing), owned)
    assert kinds(found) == ([(kind, f"{D} TXT", ours)] if kind else [])


def test_an_spf_record_that_asks_too_much_and_one_that_could_not_be_counted() -> None:
    standing = text(D, "v=spf1 include:a.test mx -all")
    snapshot = world(without=f"{D} TXT", plus=(standing,))
    for count, expected in (
        (spf.Count(11, 0), [Drift.SPF_OVER]),
        (spf.Count(2, 0, failed="SERVFAIL"), []),
    ):
        merged = spf.Merged("conflict", "v=spf1 include:a.test mx -all", ("mx",), count, problem="too much")
        plan = planned(snapshot, [], merged=merged)
        found = drift.see(FACTS, plan, snapshot, [], STOOD, merged=merged)
        assert [one.kind for one in found.found] == expected


def test_a_delegation_that_is_taken_back() -> None:
    facts = replace(FACTS, delegation="dns.host.test", kinds=frozenset({Kind.DKIM, Kind.ACME}))
    wanted = [one.record for one in desired(facts)]
    stood = look(Snapshot(D, D, (), tuple(wanted)), [], frozenset(), facts).stood
    assert len(stood) == 2
    found = look(Snapshot(D, D, (), tuple(wanted[1:])), [], stood, facts)
    assert [one.kind for one in found.found] == [Drift.CNAME_REMOVED]
    elsewhere = Record(wanted[0].name, "CNAME", "k.other.test.")
    found = look(Snapshot(D, D, (), (*wanted[1:], elsewhere)), [], stood, facts)
    assert [one.kind for one in found.found] == [Drift.CNAME_REMOVED]


def trouble(finding: Finding, subject: str = "", why: str = "", *, silent: bool = False) -> Trouble:
    return Trouble(finding, f"{subject} {why}", (), subject, why, silent)


SILENCE = Snapshot(
    D,
    trouble=(trouble(Finding.UNASKED),),
    unanswered=tuple(unanswered(f"{one.name} {'A' if one.type == 'CNAME' else one.type}") for one in RIGHT),
)


def test_servers() -> None:
    lame = trouble(Finding.LAME, "ns1.x.test", "does not serve the zone (REFUSED)")
    quiet = trouble(Finding.LAME, "ns1.x.test", "does not answer", silent=True)
    other = trouble(Finding.LAME, "ns2.x.test", "does not answer", silent=True)
    dnssec = trouble(Finding.DNSSEC, why="no key fits")
    for told, expected in (
        ((lame,), [Drift.LAME]),
        ((quiet,), [Drift.SILENT]),
        ((quiet, other), [Drift.UNREACHABLE, Drift.SILENT, Drift.SILENT]),
        ((dnssec,), [Drift.DNSSEC_BROKEN]),
        ((trouble(Finding.ELSEWHERE),), [Drift.ELSEWHERE]),
        ((trouble(Finding.WILDCARD_MX),), []),
    ):
        assert [one.kind for one in look(world(trouble=told), owned_all(), SERVED).found] == expected


def test_of_a_domain_that_has_run_out_and_of_one_that_nobody_answers_for_nothing_else_is_told() -> None:
    gone = Snapshot(D, trouble=(trouble(Finding.UNREGISTERED),))
    found = look(gone, owned_all(), STOOD)
    assert [one.kind for one in found.found] == [Drift.EXPIRED]
    assert drift.remembered(STOOD, found, [planned(gone, owned_all())]) == STOOD
    found = look(SILENCE, owned_all(), STOOD)
    assert [one.kind for one in found.found] == [Drift.UNREACHABLE]
    cases = [Case(Drift.MX_GONE, f"{D} MX", "", NOW, NOW), Case(Drift.LAME, "ns1.x.test", "", NOW, NOW, 2, 2)]
    assert drift.follow(cases, found, NOW + 100)[:2] == cases


def test_a_domain_that_was_never_served_the_right_way_is_being_set_up() -> None:
    elsewhere = world(trouble=(trouble(Finding.ELSEWHERE),))
    gone = Snapshot(D, trouble=(trouble(Finding.UNREGISTERED),))
    for snapshot in (elsewhere, gone, SILENCE):
        found = look(snapshot, owned_all())
        assert found.found == ()
        assert not SERVED & found.stood
        hardened = look(snapshot, owned_all(), facts=replace(FACTS, state=State.HARDENED))
        assert len(hardened.found) == 1
        # Once it was, that is not forgotten.
        assert drift.remembered(SERVED, found, []) >= SERVED
    assert SERVED


def test_what_only_a_person_can_put_in_is_not_ours_to_put_back() -> None:
    snapshot = world(without=f"{D} MX")
    found = drift.see(FACTS, planned(snapshot, owned_all()), snapshot, owned_all(), STOOD, writable=False)
    assert kinds(found) == [(Drift.MX_GONE, f"{D} MX", False)]


# -- from look to look -------------------------------------------------------------------------------------------------

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


def test_only_what_is_ours_is_mended_and_not_for_ever() -> None:
    snapshot = world(without=f"_dmarc.{D} TXT", plus=(Record(D, "MX", "5 mx.old.test."),))
    snapshot = replace(snapshot, records=tuple(one for one in snapshot.records if one.name != f"autoconfig.{D}"))
    owned = [one for one in owned_all() if one.record.name != f"autoconfig.{D}"]
    plan = planned(snapshot, owned)
    cases = drift.follow([], drift.see(FACTS, plan, snapshot, owned, STOOD), NOW)
    assert {case.kind for case in cases} == {Drift.MISSING, Drift.MX_FOREIGN}
    made = drift.mend(plan, cases)
    assert made is not None
    assert [one.name for one in made.add] == [f"_dmarc.{D}"]  # not autoconfig, which somebody else had made
    assert made.remove == ()
    assert made.before == ()
    # Not even where the operator has taken the MX once: that was another word.
    taking = planned(snapshot, owned, take=(Kind.MX,))
    assert taking.of(Action.CHANGE)
    mended = drift.mend(taking, cases)
    assert mended is not None
    assert [one.name for one in mended.add] == [f"_dmarc.{D}"]
    assert taking.before
    assert mended.before == ()  # what it does not touch may change meanwhile
    for number in range(1, 5):
        subject = f"_dmarc.{D} TXT"
        cases = drift.mended([case for case in cases if case.ours], [subject], NOW + number * 100)
        [case] = cases
        assert (case.repairs, case.ended_at is not None) == (min(number, 3), number < 4)
        if number < 4:
            cases = drift.follow(cases, GONE, NOW + number * 100 + 50)
    assert drift.mend(plan, cases) is None
    # A day later it is mended again.
    fresh = drift.follow([replace(case, ended_at=NOW)], GONE, NOW + 2 * DAY)
    assert drift.mend(plan, fresh) is not None


def test_two_spf_records_become_one_by_the_operators_word_alone() -> None:
    snapshot = world(plus=(text(D, "v=spf1 a -all"),))
    plan = planned(snapshot, owned_all())
    cases = drift.follow([], drift.see(FACTS, plan, snapshot, owned_all(), STOOD), NOW)
    assert [case.kind for case in cases] == [Drift.SPF_TWO]
    assert drift.mend(plan, cases) is None
    made = drift.mend(plan, cases, word=True)
    assert made is not None
    assert [one.data for one in made.add] == ['"v=spf1 a mx -all"']


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


def test_certificates_and_reverse_names() -> None:
    assert drift.ending(NOW + 11 * DAY, 10, NOW, D) == []
    assert drift.ending(NOW + 9.5 * DAY, 10, NOW, D) == [Found(Drift.CERTIFICATE_ENDING, D, "9")]
    assert drift.ending(NOW - DAY, 10, NOW, D) == [Found(Drift.CERTIFICATE_ENDING, D, "0")]
    facts = replace(FACTS, reverse=(("192.0.2.1", (HOST,)), ("192.0.2.2", ("x.test",)), ("192.0.2.3", None)))
    found = drift.reverse(facts)
    assert (found.found, found.deaf) == ((Found(Drift.REVERSE_WRONG, "192.0.2.2", "x.test"),), True)
