"""Where a domain stands in its life, what holds it there, and what may come next. Pure: no clock, no network, no disk.

    claimed → verified → shadow → cutover → hardened;  suspended and leaving from all but claimed;  leaving → removed

A step is made when all its gates are open. What opens a gate is an Observation, which says what the world answered and
what it did not: what is not known never opens one. Two steps want the operator's word besides, because people notice
them: shadow → cutover, which moves the mail, and leaving → removed. Every step but the last can be taken back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

LOW_TTL = 600  # seconds: an MX that may be switched is forgotten this soon
MOVING_TTL = 300  # that of an MX which we lower, switch or bring back
SOON, LATE = 60.0, 3600.0  # seconds between looks at what is waited for: the first, and the longest
DAY = 86400.0
REPORT_DAYS = 14  # how long a DMARC policy, or MTA-STS in testing, is watched before the next one
ALIGNED = 0.98  # share of mail in the reports that has to be authentic before receivers are asked for more
TLS_FAILED = 0.01  # share of sessions that may lack valid TLS when senders are told to insist on it


class State(StrEnum):
    CLAIMED = "claimed"
    VERIFIED = "verified"
    SHADOW = "shadow"
    CUTOVER = "cutover"
    HARDENED = "hardened"
    SUSPENDED = "suspended"
    LEAVING = "leaving"
    REMOVED = "removed"


class Proof(StrEnum):
    """By what a domain was proved to be its tenant's."""

    NONE = ""
    OPERATOR = "operator"  # whose word it is
    TXT = "txt"
    DELEGATION = "delegation"


class Action(StrEnum):
    """What a step, or a state, asks of those who carry it out."""

    PUBLISH = "publish"  # the records of the new state: plan and apply
    LOWER_TTL = "lower-ttl"  # of the MX that stands now
    SWITCH_MX = "switch-mx"
    RESTORE_MX = "restore-mx"  # those of before
    QUARANTINE = "dmarc-quarantine"
    REJECT = "dmarc-reject"
    ENFORCE = "mta-sts-enforce"
    DELETE = "delete"


# Values of `mail_state` of domains that have all their mail here: all of their records may stand, the MX too.
OURS = frozenset({State.CUTOVER, State.HARDENED, State.SUSPENDED, State.LEAVING})
FORWARD = {
    State.CLAIMED: State.VERIFIED,
    State.VERIFIED: State.SHADOW,
    State.SHADOW: State.CUTOVER,
    State.CUTOVER: State.HARDENED,
    State.LEAVING: State.REMOVED,
}
BACK = {
    State.VERIFIED: State.CLAIMED,
    State.SHADOW: State.VERIFIED,
    State.CUTOVER: State.SHADOW,
    State.HARDENED: State.CUTOVER,
}
BEFORE = frozenset({State.CLAIMED, State.VERIFIED, State.SHADOW, State.CUTOVER})  # the MX may still be the old one
ASIDE = (State.SUSPENDED, State.LEAVING)  # left to where they were come to from
WORD = frozenset({State.SHADOW, State.LEAVING})  # whose next step wants the operator's word
_ACTIONS = {
    State.SHADOW: (Action.PUBLISH,),
    State.CUTOVER: (Action.PUBLISH, Action.SWITCH_MX),
    State.HARDENED: (Action.PUBLISH,),
    State.REMOVED: (Action.DELETE,),
}


@dataclass(frozen=True, slots=True)
class OldMx:
    """What is remembered of the MX from before the cutover; times are seconds since the epoch.

    `data` is the records' (preference and name). `ttl`: the longest that may still be in caches. `low_since`: when
    its TTL was first seen to be low. `ours_since`: when the domain's servers were first seen to name only us.
    """

    hosts: tuple[str, ...] = ()
    ttl: int = 0
    low_since: float | None = None
    ours_since: float | None = None
    data: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Life:
    """What is kept of a domain from look to look. `came_from`: the states to go back to, the next one last; only the
    suspended and the leaving have any.
    """

    state: State
    since: float
    proof: Proof = Proof.NONE
    came_from: tuple[State, ...] = ()
    old_mx: OldMx = OldMx()


@dataclass(frozen=True, slots=True)
class Observation:
    """What a look has seen. None always means: not known.

    `proof` is what the domain's own servers show; `resolvers` that were asked for it too have answered, and
    `resolvers_agree` of them saw it. `mx` are the names that the servers give, `mx_data` their records, `mx_ours` if
    there are no others than ours, `mx_ttl` in seconds; of the `mx_asked` resolvers `mx_ours_at` name us. `path`: a mail
    would be taken at our own door, else `path_why` not. `aligned` is the authentic share of the mail in the reports of
    `report_days`, `tls_failed` that of sessions without the TLS that was asked for in those of `tls_days`; both since
    the domain's policies were changed last.
    `trouble`: why what is not known is not known, or why there is no MX and can be none.
    """

    proof: Proof | None = None
    resolvers: int = 0
    resolvers_agree: int = 0
    accounts: int = 0
    mx: tuple[str, ...] | None = None
    mx_ours: bool | None = None
    mx_ttl: int | None = None
    mx_asked: int = 0
    mx_ours_at: int = 0
    path: bool | None = None
    path_why: str = ""
    dmarc: str = "none"
    mta_sts: str = "testing"
    aligned: float | None = None
    report_days: float = 0.0
    tls_failed: float | None = None
    tls_days: float = 0.0
    exported: bool = False
    trouble: str = ""
    mx_data: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """`to` None: it stays, and `holds` says why in a line for a person. `check_again_at` None: nothing is waited for.

    `proof` goes with a step to verified.
    """

    to: State | None
    holds: str
    check_again_at: float | None = None
    actions: tuple[Action, ...] = ()
    proof: Proof = Proof.NONE


@dataclass(frozen=True, slots=True)
class _Gate:
    """One that is shut. `at`: when it will open by itself, None: nobody knows."""

    why: str
    at: float | None = None
    actions: tuple[Action, ...] = ()


def step(life: Life, seen: Observation, now: float, *, word: bool = False) -> Step:
    """What comes next. `life` is as `remember` left it; `word`: the operator wants the step."""
    if life.state is State.SUSPENDED:
        return Step(None, "the operator has suspended it: `resume` lets its mail in again")
    if life.state is State.REMOVED:
        return Step(None, "it has left")
    if life.state is State.HARDENED:
        return _harden(seen, now)
    if life.state not in (State.CLAIMED, State.LEAVING) and life.proof is Proof.NONE:
        return Step(None, "nobody has proved that it is theirs: take it back to claimed", now + LATE)
    gates = list(_GATES[life.state](life, seen, now))
    to = FORWARD[life.state]
    if not gates and life.state in WORD and not word:
        return Step(None, f"everything is ready for {to}: it waits for the operator's word")
    if not gates:
        proof = seen.proof if to is State.VERIFIED else None
        return Step(to, "", now + SOON, _ACTIONS.get(to, ()), proof or Proof.NONE)
    known = [gate.at for gate in gates if gate.at is not None]
    again = max(known) if len(known) == len(gates) else _again(life, now)
    return Step(None, gates[0].why, again, gates[0].actions)


def remember(life: Life, seen: Observation, now: float) -> Life:
    """The life with what this look adds to what is known of the MX from before."""
    old = life.old_mx
    if seen.mx is None:
        return life
    if seen.mx_ours:
        old = replace(old, ours_since=now if old.ours_since is None else old.ours_since)
    elif life.state in BEFORE:
        ttl = seen.mx_ttl or 0
        low = ttl <= LOW_TTL
        since = (now if old.low_since is None else old.low_since) if low else None
        # The longest TTL counts until it is out of every cache.
        gone = low and old.low_since is not None and now >= old.low_since + old.ttl
        old = OldMx(seen.mx, ttl if gone else max(old.ttl, ttl), since, None, seen.mx_data)
    return replace(life, old_mx=old)


def moved(life: Life, to: State, now: float, proof: Proof | None = None) -> Life:
    """The life after a step. Raises ValueError for a way that there is not, such as one around the proof."""
    # Whoever has proved nothing is never let near the mail, and a claim needs no leaving.
    open_aside = bool(life.proof) and life.state not in (State.CLAIMED, State.REMOVED)
    aside = to in ASIDE and open_aside and to not in (life.state, *life.came_from)
    if FORWARD.get(life.state) is not to and not aside:
        raise ValueError(f"no step leads from {life.state} to {to}")
    if to is State.VERIFIED:
        if not proof:
            raise ValueError("nothing is verified without a proof")
        return replace(life, state=to, since=now, proof=proof)
    if aside:
        return replace(life, state=to, since=now, came_from=(*life.came_from, life.state))
    return replace(life, state=to, since=now)


def rollback(life: Life, now: float) -> Life | None:
    """The life one step back; None where there is none. Back to claimed the proof is gone, and is asked for anew."""
    if life.state in ASIDE:
        *rest, before = life.came_from or (State.CLAIMED,)
        return replace(life, state=before, since=now, came_from=tuple(rest))
    if life.state not in BACK:
        return None
    proof = Proof.NONE if BACK[life.state] is State.CLAIMED else life.proof
    return replace(life, state=BACK[life.state], since=now, proof=proof)


def mail_state(state: str, came_from: str = "") -> State:
    """The state that says who has the mail: of the suspended and the leaving the one that they came from first.

    `came_from`: states, by spaces.
    """
    return State((came_from.split() or [state])[0])


def taken_back(state: State) -> tuple[Action, ...]:
    """What has to be done when `state` is left backwards."""
    if state is State.CUTOVER:
        return (Action.RESTORE_MX, Action.PUBLISH)
    return (Action.PUBLISH,) if state in (State.SHADOW, State.HARDENED) else ()


# -- gates: each yields why the next step cannot be made yet ----------------------------------------------------------


def _claimed(life: Life, seen: Observation, now: float) -> Iterator[_Gate]:
    if seen.proof is Proof.OPERATOR:
        return
    if seen.proof is None:
        yield _Gate(
            f"whether its owner has proved it cannot be known now: {seen.trouble or 'its servers were not asked'}"
        )
    elif seen.proof is Proof.NONE:
        yield _Gate("it waits for its owner's proof, which its name servers do not show yet")
    elif seen.resolvers and 2 * seen.resolvers_agree <= seen.resolvers:
        yield _Gate(
            f"its name servers show the proof, but only {seen.resolvers_agree} of {seen.resolvers} resolvers see it"
        )


def _verified(life: Life, seen: Observation, now: float) -> Iterator[_Gate]:
    if not seen.accounts:
        yield _Gate("it waits for its first account")


def _shadow(life: Life, seen: Observation, now: float) -> Iterator[_Gate]:
    if not seen.accounts:
        yield _Gate("it has no account that could take mail")
    old = life.old_mx
    if seen.mx is None:
        yield _Gate(f"where its mail goes cannot be known now: {seen.trouble or 'its servers were not asked'}")
    elif not seen.mx and seen.trouble:
        yield _Gate(seen.trouble)
    elif seen.mx and not seen.mx_ours:
        if seen.mx_ttl is None or seen.mx_ttl > LOW_TTL:
            ttl = f"{seen.mx_ttl} s" if seen.mx_ttl is not None else "not known"
            yield _Gate(f"the TTL of its MX is {ttl}: lower it to {LOW_TTL} s or less", actions=(Action.LOWER_TTL,))
        elif old.low_since is not None and now < old.low_since + old.ttl:
            at = old.low_since + old.ttl
            yield _Gate(f"caches may keep its MX with the old TTL for another {_span(at - now)}", at)
    if seen.path is None:
        yield _Gate("the way of a mail to one of its accounts has not been tried yet")
    elif not seen.path:
        yield _Gate(f"a mail to one of its accounts would not be taken: {seen.path_why or 'our door is shut'}")


def _cutover(life: Life, seen: Observation, now: float) -> Iterator[_Gate]:
    old = life.old_mx
    if seen.mx is None:
        yield _Gate(f"where its mail goes cannot be known now: {seen.trouble or 'its servers were not asked'}")
    elif not seen.mx:
        yield _Gate(seen.trouble or "it has no MX: nobody can send to it", actions=(Action.SWITCH_MX,))
    elif not seen.mx_ours:
        yield _Gate(f"its MX is still {', '.join(seen.mx)}", actions=(Action.SWITCH_MX,))
    elif old.ours_since is not None and now < old.ours_since + old.ttl:
        at = old.ours_since + old.ttl
        yield _Gate(f"caches may keep the old MX for another {_span(at - now)}", at)
    elif seen.mx_ours_at < seen.mx_asked:
        late = seen.mx_asked - seen.mx_ours_at
        yield _Gate(f"{late} of {seen.mx_asked} resolvers still see another MX")


def _leaving(life: Life, seen: Observation, now: float) -> Iterator[_Gate]:
    if not seen.exported:
        yield _Gate("its export has not been taken yet")
    if seen.mx is None:
        yield _Gate(f"where its mail goes cannot be known now: {seen.trouble or 'its servers were not asked'}")
    elif seen.mx_ours:
        yield _Gate("its MX is still ours")
    elif seen.mx_ours_at:
        yield _Gate(f"{seen.mx_ours_at} of {seen.mx_asked} resolvers still see our MX")


_GATES = {
    State.CLAIMED: _claimed,
    State.VERIFIED: _verified,
    State.SHADOW: _shadow,
    State.CUTOVER: _cutover,
    State.LEAVING: _leaving,
}


def _harden(seen: Observation, now: float) -> Step:
    """The last state has steps of its own, each taken only when reports show that it harms nobody."""
    actions: list[Action] = []
    holds: list[str] = []
    watched = seen.report_days >= REPORT_DAYS
    following = {"none": Action.QUARANTINE, "quarantine": Action.REJECT}.get(seen.dmarc)
    if following is not None:
        if seen.aligned is None:
            holds.append(f"DMARC stays at {seen.dmarc} until there are reports")
        elif seen.aligned < ALIGNED:
            holds.append(f"DMARC stays at {seen.dmarc}: {1 - seen.aligned:.1%} of its mail is not authentic")
        elif not watched:
            holds.append(
                f"DMARC stays at {seen.dmarc}: reports of {seen.report_days:.0f} of {REPORT_DAYS} days are there"
            )
        else:
            actions.append(following)
    if seen.mta_sts == "testing":
        if seen.tls_failed is not None and seen.tls_failed > TLS_FAILED:
            holds.append(f"MTA-STS stays in testing: {seen.tls_failed:.1%} of sessions had no valid TLS")
        elif watched or seen.tls_days >= REPORT_DAYS:
            actions.append(Action.ENFORCE)
        else:
            holds.append(f"MTA-STS stays in testing for {REPORT_DAYS} days of reports")
    if seen.mx is not None and not seen.mx_ours:
        holds.insert(0, f"its MX has gone elsewhere: {', '.join(seen.mx) or 'there is none'}")
        actions.clear()
    return Step(None, "; ".join(holds) or "all is as it should be", now + DAY, tuple(actions))


def _again(life: Life, now: float) -> float:
    """After a quarter of the time that it has been so: what comes soon is seen soon, and what does not costs little."""
    return now + min(max(SOON, (now - life.since) / 4), LATE)


def _span(seconds: float) -> str:
    minutes = max(1, -(-int(seconds) // 60))
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
