"""What a filter thinks of a message, as a value; verdicts are combined in one place, `combine`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from postane.core.envelope import Recipient
from postane.core.reply import Reply


class Decision(IntEnum):
    """In rising order of strength: the strongest of several wins."""

    ACCEPT = 0
    QUARANTINE = 1
    DEFER = 2
    REJECT = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """`why` is one sentence for the operator; `reply` what the peer reads where the decision is DEFER or REJECT.

    `headers` are put on top of the message in order, each a (name, value) pair of text without line ends
    other than folded ones. `patches` are octets that take the place of as many others of the message, each with the
    offset where they begin: what claims to be ours and is not is made unreadable.
    `opinion`: it is said about spam, and a sender who is wanted is spared it; `trust`: the sender is wanted.
    `provisional` with trust: only as far as the text does not speak against it; without trust: it does.
    `at_once`: a refusal at connect or MAIL that is said there and then; others are kept until RCPT, where they count
    by the recipient's own policy. `copies` are addresses that get an accepted message too, as a message of its own with
    the null sender and `copy_headers` on top. `wrap` is put directly above and behind the text, before it is signed.
    `by` is the filter's name where it does not accept; the pipeline sets it.
    """

    decision: Decision = Decision.ACCEPT
    why: str = ""
    reply: Reply | None = None
    headers: tuple[tuple[str, str], ...] = ()
    score: float = 0.0
    patches: tuple[tuple[int, bytes], ...] = ()
    opinion: bool = False
    trust: bool = False
    provisional: bool = False
    at_once: bool = False
    copies: tuple[str, ...] = ()
    copy_headers: tuple[tuple[str, str], ...] = ()
    wrap: tuple[bytes, bytes] | None = None
    by: str = ""


ACCEPT = Verdict()

Suspect = Literal["junk", "quarantine", "mark"]
"""Where a suspect message (QUARANTINE) goes: the Junk folder, the quarantine, or marked into the inbox."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """The verdict for those recipients of a message who have the same policy; `suspect` is what that one wants."""

    recipients: tuple[Recipient, ...]
    verdict: Verdict
    suspect: Suspect = "junk"


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """The strongest decision with its reason and reply; headers, patches and copies of all in order; the sum of scores.

    Opinions decide nothing where any of the verdicts trusts the sender; what they put on the message stays.
    """
    every = [verdict for verdict in verdicts if verdict is not ACCEPT]
    if not every:
        return ACCEPT
    trust = any(verdict.trust and not verdict.provisional for verdict in every) or (
        any(verdict.trust for verdict in every)
        and not any(verdict.provisional and not verdict.trust for verdict in every)
    )
    strongest = ACCEPT
    for verdict in every:
        if verdict.decision > strongest.decision and not (trust and verdict.opinion):
            strongest = verdict
    return Verdict(
        strongest.decision,
        strongest.why,
        strongest.reply,
        tuple(header for verdict in every for header in verdict.headers),
        sum(verdict.score for verdict in every),
        tuple(patch for verdict in every for patch in verdict.patches),
        strongest.opinion,
        trust,
        False,
        strongest.at_once,
        tuple(dict.fromkeys(address for verdict in every for address in verdict.copies)),
        tuple(dict.fromkeys(header for verdict in every for header in verdict.copy_headers)),
        next((verdict.wrap for verdict in every if verdict.wrap is not None), None),
        strongest.by,
    )
