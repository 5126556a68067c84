"""A plan: what is kept, added, changed, removed, in conflict or told; nothing foreign is ever touched."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.core.errors import PermanentError
from postane.dns.records import Record, canonical, text_data, text_of
from postane.domains import spf
from postane.domains.desired import Facts, Wanted, desired
from postane.domains.kinds import ALL, Kind
from postane.domains.plan import Action, Line, Owned, Plan, decode, encode, foreign_spf, make_plan, owned_after
from postane.domains.snapshot import Finding, Snapshot, Trouble, Unanswered

D = "shop.test"
FACTS = Facts(
    D,
    "mail.host.test",
    keys=(("p-rsa-1", "v=DKIM1; k=rsa; p=" + "A" * 392),),
    addresses=("192.0.2.1",),
    mta_sts_id="1",
)
MX = Record(D, "MX", "10 mail.host.test.")
OLD_MX = Record(D, "MX", "10 mx.old.test.", 300)
SPF = Record(D, "TXT", '"v=spf1 mx -all"')
SITE = Record(D, "TXT", '"site-verification=1"', 60)
DMARC = Record(f"_dmarc.{D}", "TXT", '"v=DMARC1; p=none; rua=mailto:postmaster@shop.test"')


def text(value: str, ttl: int = 3600) -> Record:
    return Record(D, "TXT", text_data(value), ttl)


def world(*records: Record, trouble: Sequence[Trouble] = (), unanswered: Sequence[Unanswered] = ()) -> Snapshot:
    return Snapshot(D, D, ("ns.test",), tuple(records), tuple(unanswered), tuple(trouble))


def owned(*records: Record, kind: Kind = Kind.MX, words: tuple[str, ...] = ()) -> list[Owned]:
    return [Owned(one, kind, words) for one in records]


def plan(
    now: Snapshot,
    ours: Collection[Owned] = (),
    *kinds: Kind,
    facts: Facts = FACTS,
    take: Collection[Kind] = (),
    text_limit: int = 0,
) -> Plan:
    wanted = desired(replace(facts, kinds=frozenset(kinds) or ALL))
    return make_plan(wanted, now, ours, take=take, text_limit=text_limit)


def only(found: Plan) -> Line:
    assert len(found.lines) == 1, found.lines
    return found.lines[0]


def applied(found: Plan, now: Snapshot) -> Snapshot:
    gone = set(map(canonical, found.remove))
    kept = [one for one in now.records if canonical(one) not in gone]
    return replace(now, records=tuple(dict.fromkeys([*kept, *found.add])))


def test_an_empty_domain_gets_everything() -> None:
    found = plan(world())
    assert {line.action for line in found.lines} == {Action.ADD}
    assert found.remove == ()
    assert len(found.add) == len(desired(FACTS)) - 1  # CAA only beside others
    assert Kind.CAA not in {line.kind for line in found.lines}
    assert str(found) == "14 add"


def test_what_stands_is_kept_and_is_ours_only_if_we_made_it() -> None:
    line = only(plan(world(MX), [], Kind.MX))
    assert (line.action, line.foreign) == (Action.KEEP, True)
    line = only(plan(world(MX), owned(MX), Kind.MX))
    assert (line.action, line.foreign) == (Action.KEEP, False)


def test_our_own_is_changed() -> None:
    now, ours = world(OLD_MX, SITE), owned(OLD_MX)
    found = plan(now, ours, Kind.MX)
    assert (only(found).action, found.remove, found.add) == (Action.CHANGE, (OLD_MX,), (MX,))
    assert found.before == (OLD_MX,)
    assert owned_after(found, ours, now) == owned(MX)


def test_our_ttl_is_changed_and_a_foreign_one_is_not() -> None:
    short = replace(MX, ttl=60)
    found = plan(world(short), owned(short), Kind.MX)
    assert (found.remove, found.add) == ((short,), (MX,))
    assert not plan(world(short), [], Kind.MX).changes
    # Beside a foreign record of the same set ours has its TTL.
    assert plan(world(SITE), [], Kind.SPF).add == (replace(SPF, ttl=60),)


def test_what_is_not_wanted_any_more_goes_if_it_is_ours() -> None:
    token = Record(f"_postane-challenge.{D}", "TXT", '"postane-verification=x"')
    other = Record(f"_postane-challenge.{D}", "TXT", '"postane-verification=y"')
    found = plan(world(MX, token, other), owned(token, kind=Kind.VERIFICATION), Kind.MX, Kind.VERIFICATION)
    assert found.remove == (token,)
    assert owned_after(found, owned(token, kind=Kind.VERIFICATION), world(MX, token, other)) == []


def test_a_kind_that_is_not_kept_any_more_is_let_go() -> None:
    ours = owned(MX)
    wanted = desired(replace(FACTS, kinds=frozenset({Kind.DMARC})))
    found = make_plan(wanted, world(MX, DMARC), ours, kinds={Kind.DMARC})
    assert not found.changes
    assert owned_after(found, ours, world(MX, DMARC)) == []


def test_what_somebody_took_away_is_put_back_and_told() -> None:
    line = only(plan(world(), owned(MX), Kind.MX))
    assert line.action is Action.ADD
    assert "took it away" in line.notes[0]


def test_a_foreign_mx_is_a_conflict_until_it_is_taken() -> None:
    line = only(plan(world(OLD_MX), [], Kind.MX))
    assert (line.action, line.replaces) == (Action.CONFLICT, (OLD_MX,))
    assert "--take mx" in line.ways_out[0]
    found = plan(world(OLD_MX), [], Kind.MX, take=[Kind.MX])
    assert (found.remove, found.add) == ((OLD_MX,), (MX,))
    found = plan(world(OLD_MX, MX), [], Kind.MX, take=[Kind.MX])
    assert (found.remove, found.add) == ((OLD_MX,), ())


def test_a_foreign_mx_beside_ours_is_a_conflict() -> None:
    assert only(plan(world(OLD_MX, MX), owned(MX), Kind.MX)).action is Action.CONFLICT


def test_an_alias_at_the_apex_leaves_no_room_and_cannot_be_taken() -> None:
    alias = Record(D, "CNAME", "web.test.")
    found = plan(world(alias), [], Kind.MX, Kind.SPF, take=[Kind.MX, Kind.SPF])
    assert [line.action for line in found.lines] == [Action.CONFLICT] * 2
    assert all("ALIAS" in line.ways_out[0] for line in found.lines)


def test_a_foreign_policy_stays_as_it_is() -> None:
    strict = replace(DMARC, data='"v=DMARC1; p=reject"')
    line = only(plan(world(strict), [], Kind.DMARC))
    assert (line.action, line.record, line.foreign) == (Action.KEEP, strict, True)
    found = plan(world(strict), owned(strict, kind=Kind.DMARC), Kind.DMARC)
    assert (found.remove, found.add) == ((strict,), (DMARC,))


def test_an_alias_takes_the_place_of_an_address_only_if_that_was_ours() -> None:
    address = Record(f"autoconfig.{D}", "A", "192.0.2.9")
    assert only(plan(world(address), [], Kind.AUTOCONFIG)).action is Action.CONFLICT
    found = plan(world(address), owned(address, kind=Kind.AUTOCONFIG), Kind.AUTOCONFIG)
    assert (only(found).action, found.remove) == (Action.CHANGE, (address,))


def test_spf_takes_our_word_in_and_gives_it_back() -> None:
    theirs = text("v=spf1 include:_spf.old.test ~all", 60)
    now = world(theirs, SITE)
    found = plan(now, [], Kind.SPF)
    merged = text("v=spf1 include:_spf.old.test mx ~all", 60)
    assert (found.remove, found.add, only(found).words) == ((theirs,), (merged,), ("mx",))
    ours = owned_after(found, [], now)
    assert ours == [Owned(merged, Kind.SPF, ("mx",))]
    now = applied(found, now)
    assert not plan(now, ours, Kind.SPF).changes
    leaving = make_plan([], now, ours)
    assert (leaving.remove, leaving.add) == ((merged,), (theirs,))
    assert owned_after(leaving, ours, now) == []


def test_spf_that_others_wrote_on_in_still_has_our_word() -> None:
    ours = [Owned(SPF, Kind.SPF)]
    now = world(text("v=spf1 mx include:_spf.shop.test -all"))
    found = plan(now, ours, Kind.SPF)
    assert not found.changes
    after = owned_after(found, ours, now)
    assert [one.words for one in after] == [("mx",)]
    assert make_plan([], now, after).add == (text("v=spf1 include:_spf.shop.test -all"),)


def test_our_own_spf_is_changed_as_a_whole() -> None:
    early = text("v=spf1 a:mail.host.test -all")
    found = plan(world(early), [Owned(early, Kind.SPF)], Kind.SPF)
    assert (found.remove, found.add, only(found).words) == ((early,), (SPF,), ())


def test_a_second_spf_record_is_a_conflict_unless_the_other_is_ours() -> None:
    theirs = text("v=spf1 include:_spf.old.test -all")
    line = only(plan(world(theirs, text("v=spf1 -all")), [], Kind.SPF))
    assert line.action is Action.CONFLICT
    assert len(line.replaces) == 2
    found = plan(world(theirs, SPF), [Owned(SPF, Kind.SPF)], Kind.SPF)
    assert set(found.remove) == {theirs, SPF}
    assert [text_of(one.data) for one in found.add] == ["v=spf1 include:_spf.old.test mx -all"]


def test_a_counted_spf_shows_its_figures() -> None:
    merged = spf.Merged("new", "v=spf1 mx -all", ("mx",), spf.Count(1, 0))
    found = make_plan(desired(replace(FACTS, kinds=frozenset({Kind.SPF}))), world(), [], merged=merged)
    assert only(found).notes == ("1 of 10 look-ups, 0 of 2 empty answers",)
    refused = spf.Merged("conflict", "v=spf1 x", (), None, (), "too many", ("fewer",))
    found = make_plan(desired(replace(FACTS, kinds=frozenset({Kind.SPF}))), world(), [], merged=refused)
    assert (only(found).action, only(found).ways_out, found.changes) == (Action.CONFLICT, ("fewer",), False)


def test_caa_is_added_beside_others_and_goes_with_them() -> None:
    theirs = Record(D, "CAA", '0 issue "other.test"', 60)
    ours = Record(D, "CAA", '0 issue "letsencrypt.org"', 60)
    found = plan(world(theirs), [], Kind.CAA)
    assert (found.remove, found.add) == ((), (ours,))
    mine = [Owned(ours, Kind.CAA)]
    assert not plan(world(theirs, ours), mine, Kind.CAA).changes
    assert plan(world(ours), mine, Kind.CAA).remove == (ours,)  # alone it would shut out others
    limited = Record(D, "CAA", '0 issue "letsencrypt.org; validationmethods=dns-01"')
    assert not plan(world(theirs, limited), [], Kind.CAA).changes


def test_what_was_not_answered_is_left_alone_and_stays_ours() -> None:
    now = world(unanswered=[Unanswered(D, "MX", "no answer within 5 s")])
    found = plan(now, owned(OLD_MX), Kind.MX)
    line = only(found)
    assert (line.action, "no answer" in line.reason) == (Action.CONFLICT, True)
    assert owned_after(found, owned(OLD_MX), now) == owned(OLD_MX)


def test_a_text_too_long_for_the_target_is_a_conflict_with_ways_out() -> None:
    line = only(plan(world(), [], Kind.DKIM, text_limit=255))
    assert line.action is Action.CONFLICT
    assert "delegated" in line.ways_out[0]
    assert "Ed25519" in line.ways_out[1]


def test_what_only_the_operator_can_do_is_told() -> None:
    facts = replace(FACTS, reverse=(("192.0.2.1", ("old.test",)),))
    line = only(plan(world(), [], Kind.REVERSE, facts=facts))
    assert line.action is Action.TOLD
    found = plan(world(MX, trouble=[Trouble(Finding.LAME, "ns.test is lame", ("repair",))]), [], Kind.MX)
    assert [(one.action, one.ways_out) for one in found.lines] == [(Action.KEEP, ()), (Action.TOLD, ("repair",))]


def test_a_public_suffix_gets_nothing() -> None:
    found = plan(world(trouble=[Trouble(Finding.SUFFIX, "is a public suffix")]))
    assert (only(found).action, found.changes) == (Action.CONFLICT, False)


def test_the_digest_is_of_the_records_that_matter() -> None:
    first = plan(world(OLD_MX, SITE))
    assert plan(world(SITE, replace(OLD_MX, ttl=1), Record(f"www.{D}", "A", "192.0.2.3"))).digest == first.digest
    assert plan(world(OLD_MX)).digest != first.digest
    assert plan(world(replace(OLD_MX, data="20 mx.old.test."), SITE)).digest != first.digest


def test_a_plan_survives_its_file() -> None:
    found = plan(world(OLD_MX, SITE, text("v=spf1 -all")), owned(SITE, kind=Kind.DMARC))
    assert decode(encode([found, found])) == [found, found]
    for bad in (b"", b"{}", b"[1]", encode([found]).replace(b'"add"', b'"destroy"')):
        with pytest.raises(PermanentError, match="no file of plans"):
            decode(bad)
    with pytest.raises(PermanentError, match="format 9"):
        decode(encode([found]).replace(b'"format": 1', b'"format": 9'))


_NAMES = st.sampled_from(
    [D, D, D, f"_dmarc.{D}", f"autoconfig.{D}", f"p-rsa-1._domainkey.{D}", f"www.{D}", f"_mta-sts.{D}"]
)
_TEXTS = st.sampled_from(
    [
        "v=spf1 -all",
        "v=spf1 include:x.test ~all",
        "v=spf1 mx a redirect=y.test",
        "v=DMARC1; p=reject",
        "v=STSv1; id=9;",
        "v=DKIM1; p=B",
        "hello",
    ]
)
_DATA = st.one_of(
    st.tuples(st.just("TXT"), _TEXTS.map(text_data)),
    st.sampled_from(
        [("MX", "10 mx.old.test."), ("MX", "5 mail.host.test."), ("CNAME", "other.test."), ("A", "192.0.2.7")]
    ),
    st.sampled_from([("CAA", '0 issue "other.test"'), ("CAA", '0 issue ";"')]),
)
_TTLS = st.sampled_from([60, 3600])
_RECORDS = st.builds(lambda name, data, ttl: Record(name, data[0], data[1], ttl), _NAMES, _DATA, _TTLS)
_KIND_OF = {"MX": Kind.MX, "CNAME": Kind.AUTOCONFIG, "A": Kind.ADDRESS, "CAA": Kind.CAA}


def _kind(record: Record) -> Kind:
    return _KIND_OF.get(record.type) or (Kind.SPF if "spf1" in record.data else Kind.DMARC)


_WANTED = st.one_of(st.just(ALL), st.sets(st.sampled_from(sorted(ALL)))).map(
    lambda kinds: desired(replace(FACTS, kinds=frozenset(kinds)))
)


@given(st.lists(_RECORDS, max_size=8, unique_by=canonical), st.data(), _WANTED)
def test_foreign_records_survive_whatever_is_wanted(
    records: list[Record], data: st.DataObject, wanted: list[Wanted]
) -> None:
    ours = [Owned(one, _kind(one)) for one in records if data.draw(st.booleans())]
    now = world(*records)
    found = make_plan(wanted, now, ours)
    mine = {canonical(one.record) for one in ours}
    lost = [one for one in found.remove if canonical(one) not in mine]
    assert all(spf.is_record(text_of(one.data)) for one in lost)  # nothing but a merge touches them
    assert len(lost) <= 1
    after = applied(found, now)
    if lost:
        words = next(line.words for line in found.lines if lost[0] in line.replaces)
        rest = [spf.without(D, one, words) for one in foreign_spf(D, after, ()) if spf.is_record(one)]
        assert rest == [text_of(lost[0].data)]
    # And the next run has nothing to do.
    later = owned_after(found, ours, now)
    again = make_plan(wanted, after, later)
    assert not again.changes, again.lines
    # Leaving gives everything back: what was foreign stands as it stood.
    left = applied(make_plan([], after, owned_after(again, later, after)), after)
    kept = [one for one in records if canonical(one) not in mine]
    assert {canonical(one) for one in kept} <= {canonical(one) for one in left.records}


@given(st.lists(_RECORDS, max_size=8, unique_by=canonical), _WANTED, st.data())
def test_a_run_that_was_killed_in_the_middle_is_healed_by_the_next(
    records: list[Record], wanted: list[Wanted], data: st.DataObject
) -> None:
    """Rows of what will be ours are written first; any part of the change may have reached the target."""
    now = world(*records)
    found = make_plan(wanted, now, [])
    rows = owned_after(found, [], now)
    gone = {canonical(one) for one in found.remove if data.draw(st.booleans())}
    come = [one for one in found.add if data.draw(st.booleans())]
    middle = replace(now, records=(*(one for one in records if canonical(one) not in gone), *come))
    second = make_plan(wanted, middle, rows)
    healed = applied(second, middle)
    third = make_plan(wanted, healed, owned_after(second, rows, middle))
    assert not third.changes
    lost = {canonical(one) for one in records} - {canonical(one) for one in healed.records}
    assert all(spf.is_record(key[2]) for key in lost)
