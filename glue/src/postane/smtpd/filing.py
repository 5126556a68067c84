"""Decides what becomes of a message after its filters: refused, or accepted as one parcel or several.

All recipients have one text but each may have a policy of its own, and the peer hears one reply. So:

* one group that is to wait makes all wait: nobody gets the message twice;
* the message is refused only if every group refuses it;
* where some take it, those who refuse it have it withheld in their quarantine: a bounce to whoever the envelope names
  would hit bystanders, and dropping it would lose a mail that got its 250;
* what one of our users sends away is never withheld: nobody out there would hear of it, and the user reads the refusal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from postane.core.envelope import Recipient
from postane.core.reply import Reply
from postane.core.verdict import Decision, Ruling, Verdict

DEFERRED = Reply(451, "4.7.1", "Not now; try again later")
REFUSED = Reply(554, "5.7.1", "Refused by policy")

NOT_SENT = Reply(554, "5.7.1", "The message is suspect and is not sent")

SPAM = ("X-Spam", "Yes")  # files a message into Junk (roles/dovecot)
SUSPECT = "X-Postane-Suspect"

_PARCELS = 32  # of one message: each is a copy of its text in the spool
_HEADERS = 200  # of a parcel of those who are left over

Headers = tuple[tuple[str, str], ...]
_Key = tuple[Headers, tuple[tuple[str, str], ...]]  # headers and extra


@dataclass(frozen=True, slots=True)
class Refusal:
    reply: Reply
    why: str


@dataclass(frozen=True, slots=True)
class Parcel:
    """Recipients who get the same octets. `extra` goes into the envelope; see quarantine. `sender` None: as it came."""

    recipients: tuple[Recipient, ...]
    headers: Headers = ()
    extra: Mapping[str, str] = field(default_factory=dict)
    sender: str | None = None


def file(rulings: Sequence[Ruling], *, own: bool) -> Refusal | list[Parcel]:
    """`own`: the message comes from one of our users; what is suspect leaves the host without our mark on it."""
    verdicts = [ruling.verdict for ruling in rulings]
    for decision in (Decision.DEFER, Decision.REJECT):
        refusing = [verdict for verdict in verdicts if verdict.decision is decision]
        if refusing and (decision is Decision.DEFER or len(refusing) == len(verdicts)):
            return Refusal(reply_of(refusing[0]) or DEFERRED, refusing[0].why)
    for ruling in rulings:
        if own and _is_withheld(ruling) and any(one.kind != "local" for one in ruling.recipients):
            return Refusal(reply_of(ruling.verdict) or NOT_SENT, ruling.verdict.why)
    parcels: dict[_Key, list[Recipient]] = {}
    for ruling in rulings:
        for parcel in _parcels(ruling, own):
            key = (parcel.headers, tuple(parcel.extra.items()))
            parcels.setdefault(key, []).extend(parcel.recipients)
    bounded = parcels if len(parcels) <= _PARCELS else _bounded(parcels)
    return [Parcel(tuple(to), headers, dict(extra)) for (headers, extra), to in bounded.items()]


def reply_of(verdict: Verdict) -> Reply | None:
    """What the peer hears if the verdict refuses; a refusal without words gets ours."""
    if verdict.decision is Decision.REJECT:
        return verdict.reply or REFUSED
    if verdict.decision is Decision.DEFER:
        return verdict.reply or DEFERRED
    return None


def _bounded(parcels: Mapping[_Key, Sequence[Recipient]]) -> dict[_Key, Sequence[Recipient]]:
    """One parcel for all whose message goes to the same place (inbox, marked, Junk, quarantine), with the headers of
    each of them. Their reasons differ and nothing else: a sender who reaches many has no many copies made.
    """
    places: dict[tuple[bool, bool, bool], list[_Key]] = {}
    for headers, extra in parcels:
        place = (bool(extra), SPAM in headers, any(name == SUSPECT for name, _ in headers))
        places.setdefault(place, []).append((headers, extra))
    bounded: dict[_Key, Sequence[Recipient]] = {}
    for keys in places.values():
        every = tuple(dict.fromkeys(header for headers, _ in keys for header in headers))[:_HEADERS]
        bounded[every, keys[0][1]] = [recipient for key in keys for recipient in parcels[key]]
    return bounded


def _parcels(ruling: Ruling, own: bool) -> Iterable[Parcel]:
    verdict, recipients = ruling.verdict, ruling.recipients
    if verdict.decision is Decision.ACCEPT:
        return [Parcel(recipients, verdict.headers)]
    if _is_withheld(ruling):
        return [_withheld(recipients, verdict)]
    marks: Headers = ((SUSPECT, _one_line(verdict.why)),)
    if ruling.suspect == "junk":
        marks = (SPAM, *marks)
    here = tuple(one for one in recipients if one.kind == "local" or not own)
    away = tuple(one for one in recipients if one.kind != "local" and own)
    found = [Parcel(here, (*marks, *verdict.headers)), Parcel(away, verdict.headers)]
    return [parcel for parcel in found if parcel.recipients]


def _is_withheld(ruling: Ruling) -> bool:
    """What is said of a message that somebody takes."""
    suspect = ruling.verdict.decision is Decision.QUARANTINE and ruling.suspect == "quarantine"
    return suspect or ruling.verdict.decision is Decision.REJECT


def _withheld(recipients: Iterable[Recipient], verdict: Verdict) -> Parcel:
    """The quarantine knows a message by whom the peer wanted to reach, where the address only leads elsewhere."""
    kept = tuple(
        replace(one, kind="quarantine", address=one.address if one.kind == "local" else one.original or one.address)
        for one in recipients
    )
    extra = {"quarantine": _one_line(verdict.why), "score": f"{verdict.score:g}", "filter": verdict.by}
    return Parcel(kept, verdict.headers, extra)


def _one_line(why: str) -> str:
    """Fit for a header: visible ASCII, of a bounded length."""
    return "".join(c if " " <= c <= "~" else "?" for c in why)[:400] or "suspect"
