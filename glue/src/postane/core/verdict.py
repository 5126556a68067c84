"""What a filter thinks of a message, as a value; verdicts are combined in one place, `combine`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

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
    """

    decision: Decision = Decision.ACCEPT
    why: str = ""
    reply: Reply | None = None
    headers: tuple[tuple[str, str], ...] = ()
    score: float = 0.0
    patches: tuple[tuple[int, bytes], ...] = ()


ACCEPT = Verdict()


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """The strongest decision with its reason and reply; headers and patches of all in order; the sum of the scores."""
    strongest = ACCEPT
    headers: list[tuple[str, str]] = []
    patches: list[tuple[int, bytes]] = []
    score = 0.0
    for verdict in verdicts:
        headers.extend(verdict.headers)
        patches.extend(verdict.patches)
        score += verdict.score
        if verdict.decision > strongest.decision:
            strongest = verdict
    return Verdict(strongest.decision, strongest.why, strongest.reply, tuple(headers), score, tuple(patches))
