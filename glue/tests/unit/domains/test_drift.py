"""Drift by tables: what a look makes of a plan and of the snapshot that it was made from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postane.dns.records import Record, text_data
from postane.domains import drift, drift_cases, spf
from postane.domains.desired import Facts, Wanted, desired
from postane.domains.drift import DAY, Drift, Found, Look
from postane.domains.drift_cases import Case
from postane.domains.kinds import Kind
from postane.domains.life import State
from postane.domains.plan import Owned, Plan, make_plan
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
    assert drift_cases.follow([case], found, NOW + 1000) == [case]
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
    assert drift_cases.follow(cases, found, NOW + 100)[:2] == cases


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


def test_certificates_and_reverse_names() -> None:
    assert drift.ending(NOW + 11 * DAY, 10, NOW, D) == []
    assert drift.ending(NOW + 9.5 * DAY, 10, NOW, D) == [Found(Drift.CERTIFICATE_ENDING, D, "9")]
    assert drift.ending(NOW - DAY, 10, NOW, D) == [Found(Drift.CERTIFICATE_ENDING, D, "0")]
    facts = replace(FACTS, reverse=(("192.0.2.1", (HOST,)), ("192.0.2.2", ("x.test",)), ("192.0.2.3", None)))
    found = drift.reverse(facts)
    assert (found.found, found.deaf) == ((Found(Drift.REVERSE_WRONG, "192.0.2.2", "x.test"),), True)
