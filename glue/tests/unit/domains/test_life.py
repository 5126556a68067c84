"""A domain's life, its clock turned by hand: what opens each gate, what holds, and that no way leads around a proof."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.domains.life import (
    BACK,
    DAY,
    FORWARD,
    LATE,
    LOW_TTL,
    SOON,
    Action,
    Life,
    Observation,
    OldMx,
    Proof,
    State,
    moved,
    remember,
    rollback,
    step,
    taken_back,
)

NOW = 1_000_000.0
OLD = ("mx.old.test",)
OURS = ("mail.host.test",)
# All that could be wished for, with the MX still elsewhere.
READY = Observation(Proof.TXT, 2, 2, 1, OLD, False, 300, 2, 0, True)
MOVED = replace(READY, mx=OURS, mx_ours=True, mx_ours_at=2)


def at(state: State, **more: object) -> Life:
    proof = Proof.NONE if state is State.CLAIMED else Proof.TXT
    return replace(Life(state, NOW - 10, proof), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "seen", "holds"),
    [
        (State.CLAIMED, Observation(trouble="ns1 is silent"), "cannot be known now: ns1 is silent"),
        (State.CLAIMED, replace(READY, proof=Proof.NONE), "do not show yet"),
        (State.CLAIMED, replace(READY, resolvers=3, resolvers_agree=1), "1 of 3 resolvers"),
        (State.CLAIMED, replace(READY, resolvers=2, resolvers_agree=1), "1 of 2 resolvers"),
        (State.VERIFIED, replace(READY, accounts=0), "first account"),
        (State.SHADOW, replace(READY, accounts=0), "no account"),
        (State.SHADOW, Observation(accounts=1, trouble="ns1 is silent"), "cannot be known now: ns1 is silent"),
        (State.SHADOW, replace(READY, mx=(), trouble="it does not exist"), "it does not exist"),
        (State.SHADOW, replace(READY, mx_ttl=3600), "TTL of its MX is 3600 s: lower it to 600 s"),
        (State.SHADOW, replace(READY, mx_ttl=None), "TTL of its MX is not known"),
        (State.SHADOW, replace(READY, path=None), "has not been tried"),
        (State.SHADOW, replace(READY, path=False, path_why="550 no"), "would not be taken: 550 no"),
        (State.CUTOVER, replace(READY, mx=None, mx_ours=None), "cannot be known now"),
        (State.CUTOVER, READY, "its MX is still mx.old.test"),
        (State.CUTOVER, replace(READY, mx=(*OURS, *OLD)), "its MX is still mail.host.test, mx.old.test"),
        (State.CUTOVER, replace(READY, mx=()), "it has no MX"),
        (State.CUTOVER, replace(READY, mx=(), trouble="it is an alias"), "it is an alias"),
        (State.CUTOVER, replace(MOVED, mx_ours_at=1), "1 of 2 resolvers still see another"),
        (State.HARDENED, MOVED, "DMARC stays at none until there are reports; MTA-STS stays in testing"),
        (State.HARDENED, replace(MOVED, aligned=0.9, report_days=90.0), "10.0% of its mail is not authentic"),
        (State.HARDENED, replace(MOVED, aligned=1.0, report_days=3.0), "reports of 3 of 14 days"),
        (State.HARDENED, READY, "its MX has gone elsewhere: mx.old.test"),
        (State.SUSPENDED, MOVED, "suspended"),
        (State.LEAVING, MOVED, "export has not been taken"),
        (State.LEAVING, replace(MOVED, exported=True), "its MX is still ours"),
        (State.LEAVING, replace(READY, exported=True, mx_ours_at=1), "1 of 2 resolvers still see our MX"),
        (State.REMOVED, MOVED, "it has left"),
    ],
)
def test_what_holds_it(state: State, seen: Observation, holds: str) -> None:
    """The operator's word opens no gate."""
    for word in (False, True):
        found = step(at(state), seen, NOW, word=word)
        assert found.to is None
        assert holds in found.holds
        assert "\n" not in found.holds


@pytest.mark.parametrize(
    ("state", "seen", "to"),
    [
        (State.CLAIMED, READY, State.VERIFIED),
        (State.CLAIMED, Observation(Proof.OPERATOR), State.VERIFIED),
        (State.CLAIMED, replace(READY, resolvers=0, resolvers_agree=0), State.VERIFIED),
        (State.CLAIMED, replace(READY, resolvers=3, resolvers_agree=2), State.VERIFIED),
        (State.VERIFIED, READY, State.SHADOW),
        (State.SHADOW, READY, State.CUTOVER),
        (State.SHADOW, replace(READY, mx=(), mx_ttl=None), State.CUTOVER),
        (State.SHADOW, MOVED, State.CUTOVER),
        (State.CUTOVER, MOVED, State.HARDENED),
        (State.LEAVING, replace(READY, exported=True), State.REMOVED),
    ],
)
def test_open_gates_let_it_on(state: State, seen: Observation, to: State) -> None:
    found = step(at(state), seen, NOW, word=True)
    assert (found.to, found.holds) == (to, "")
    if state in (State.SHADOW, State.LEAVING):
        alone = step(at(state), seen, NOW)
        assert (alone.to, "waits for the operator's word" in alone.holds) == (None, True)
    else:
        assert step(at(state), seen, NOW) == found


def test_the_old_ttl_has_to_pass_twice() -> None:
    """Once after it was lowered, so that the switch is seen soon; once more after the switch."""
    seen = replace(READY, mx_ttl=3600)
    life = remember(at(State.SHADOW), seen, NOW)
    assert life.old_mx == OldMx(OLD, 3600)
    assert step(life, seen, NOW, word=True).actions == (Action.LOWER_TTL,)

    lowered, seen = NOW + 100, replace(READY, mx_ttl=300)
    life = remember(life, seen, lowered)
    found = step(life, seen, lowered, word=True)
    assert (found.to, found.check_again_at) == (None, lowered + 3600)
    assert "another 1 h 0 min" in found.holds
    life = remember(life, seen, lowered + 3599)
    assert "another 1 min" in step(life, seen, lowered + 3599, word=True).holds
    life = remember(life, seen, lowered + 3600)
    found = step(life, seen, lowered + 3600, word=True)
    assert (found.to, found.actions) == (State.CUTOVER, (Action.PUBLISH, Action.SWITCH_MX))
    life = moved(life, State.CUTOVER, lowered + 3600)
    assert life.old_mx.ttl == 300  # what caches may keep now

    switched = lowered + 4000
    life = remember(life, MOVED, switched)
    found = step(life, MOVED, switched)
    assert (found.to, found.check_again_at) == (None, switched + 300)
    life = remember(life, MOVED, switched + 300)
    assert step(life, MOVED, switched + 300).to is State.HARDENED
    assert life.old_mx == OldMx(OLD, 300, lowered, switched)  # for the way back


def test_a_ttl_that_was_raised_again_counts_again() -> None:
    life = remember(at(State.SHADOW), replace(READY, mx_ttl=300), NOW)
    life = remember(life, replace(READY, mx_ttl=7200), NOW + 50)
    assert life.old_mx == OldMx(OLD, 7200)
    life = remember(life, READY, NOW + 60)
    assert step(life, READY, NOW + 60, word=True).check_again_at == NOW + 60 + 7200


def test_what_is_not_known_is_not_remembered() -> None:
    life = at(State.CUTOVER, old_mx=OldMx(OLD, 300, NOW, NOW))
    assert remember(life, Observation(), NOW + 1) == life
    assert remember(replace(life, state=State.HARDENED), READY, NOW + 1).old_mx == life.old_mx


def test_dmarc_and_mta_sts_follow_the_reports() -> None:
    seen = replace(MOVED, aligned=0.999, report_days=14.0)
    assert step(at(State.HARDENED), seen, NOW).actions == (Action.QUARANTINE, Action.ENFORCE)
    seen = replace(seen, dmarc="quarantine", mta_sts="enforce")
    assert step(at(State.HARDENED), seen, NOW).actions == (Action.REJECT,)
    done = step(at(State.HARDENED), replace(seen, dmarc="reject"), NOW)
    assert (done.actions, done.holds, done.check_again_at) == ((), "all is as it should be", NOW + DAY)
    # Where the mail goes elsewhere nothing is made stricter.
    assert step(at(State.HARDENED), replace(seen, mx=OLD, mx_ours=False), NOW).actions == ()


def test_what_comes_soon_is_looked_for_soon() -> None:
    waits = [
        (step(Life(State.CLAIMED, NOW), Observation(Proof.NONE), NOW + age).check_again_at or 0) - NOW - age
        for age in (0, 400, 4000, DAY, 30 * DAY)
    ]
    assert waits == [SOON, 100, 1000, LATE, LATE]


def test_there_is_no_way_around_the_proof() -> None:
    for proof in (None, Proof.NONE):
        with pytest.raises(ValueError, match="proof"):
            moved(Life(State.CLAIMED, NOW), State.VERIFIED, NOW, proof)
    for state in (State.VERIFIED, State.SHADOW, State.CUTOVER):  # such as a row that somebody wrote by hand
        found = step(Life(state, NOW), READY, NOW, word=True)
        assert (found.to, "nobody has proved" in found.holds) == (None, True)


@pytest.mark.parametrize("state", [State.VERIFIED, State.SHADOW, State.HARDENED])
def test_the_suspended_go_back_to_where_they_were(state: State) -> None:
    life = at(state)
    suspended = moved(life, State.SUSPENDED, NOW)
    leaving = moved(suspended, State.LEAVING, NOW)
    assert leaving.came_from == (state, State.SUSPENDED)
    assert rollback(leaving, NOW) == suspended
    assert rollback(suspended, NOW) == replace(life, since=NOW)
    with pytest.raises(ValueError, match="no step"):
        moved(leaving, State.SUSPENDED, NOW)
    for unproven in (Life(State.CLAIMED, NOW), Life(State.SHADOW, NOW), at(State.REMOVED)):
        with pytest.raises(ValueError, match="no step"):
            moved(unproven, State.SUSPENDED, NOW)


def test_back_at_the_start_the_proof_is_gone() -> None:
    assert rollback(at(State.VERIFIED), NOW) == Life(State.CLAIMED, NOW)
    assert rollback(at(State.SHADOW), NOW) == replace(at(State.VERIFIED), since=NOW)


def test_what_is_done_on_the_way_back() -> None:
    assert taken_back(State.CUTOVER) == (Action.RESTORE_MX, Action.PUBLISH)
    assert taken_back(State.VERIFIED) == ()


# -- whatever the world answers ---------------------------------------------------------------------------------------

OBSERVATIONS = st.builds(
    Observation,
    proof=st.sampled_from([None, Proof.NONE, Proof.TXT, Proof.DELEGATION]),
    resolvers=st.integers(0, 3),
    resolvers_agree=st.integers(0, 3),
    accounts=st.integers(0, 2),
    mx=st.sampled_from([None, (), OLD, OURS]),
    mx_ours=st.sampled_from([None, False, True]),
    mx_ttl=st.sampled_from([None, 60, LOW_TTL, 86400]),
    mx_asked=st.just(2),
    mx_ours_at=st.integers(0, 2),
    path=st.sampled_from([None, False, True]),
    dmarc=st.sampled_from(["none", "quarantine", "reject"]),
    aligned=st.sampled_from([None, 0.5, 1.0]),
    report_days=st.sampled_from([0.0, 30.0]),
    exported=st.booleans(),
)
DEEDS = st.tuples(
    st.sampled_from(["look", "look", "look", "rollback", "suspend", "leave"]),
    st.booleans(),
    OBSERVATIONS,
    st.floats(0, 100_000),
)


@given(st.lists(DEEDS, max_size=40))
def test_no_sequence_leads_around_the_proof_and_every_step_can_be_taken_back(
    deeds: list[tuple[str, bool, Observation, float]],
) -> None:
    life, now, proved = Life(State.CLAIMED, 0.0), 0.0, False
    for deed, word, seen, later in deeds:
        now += later
        before = life
        if deed == "look":
            life = before = remember(life, seen, now)
            found = step(life, seen, now, word=word)
            assert found.check_again_at is None or found.check_again_at > now
            assert bool(found.holds) == (found.to is None)
            if found.to is not None:
                life = moved(life, found.to, now, found.proof)
                proved = proved or (before.state is State.CLAIMED and bool(seen.proof))
        elif deed == "rollback":
            life = rollback(life, now) or life
            proved = proved and life.state is not State.CLAIMED
        else:
            to = State.SUSPENDED if deed == "suspend" else State.LEAVING
            with suppress(ValueError):
                life = moved(life, to, now)
        if life.state is not State.CLAIMED:  # all others have to do with mail
            assert proved
            assert life.proof
        back = rollback(life, now)
        if deed not in ("look", "rollback") or life.state is before.state:
            continue
        if deed == "look" and life.state is not State.REMOVED:
            assert back is not None
            assert back.state is before.state
            assert back.old_mx == before.old_mx
    assert (rollback(life, now) is None) == (life.state in (State.CLAIMED, State.REMOVED))
    assert len(life.came_from) <= 2


def test_every_state_has_its_ways() -> None:
    assert {FORWARD[before]: before for before in (State.CLAIMED, State.VERIFIED, State.SHADOW, State.CUTOVER)} == BACK
