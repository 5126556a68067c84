"""What a filter is: one file, one class, at most one method a phase, and a Verdict as its answer.

A filter overrides the phases it knows; the pipeline calls no other. It may raise and it may be late: the pipeline
turns that into the verdict that the filter's failure policy names, never into an accident.
"""

from __future__ import annotations

from typing import ClassVar

from postane.core.address import Address
from postane.core.envelope import Envelope
from postane.core.peer import Peer
from postane.core.ports import Body
from postane.core.verdict import ACCEPT, Decision, Verdict

PHASES = ("connect", "mail", "rcpt", "data")


class Filter:
    """Base of all filters."""

    name: ClassVar[str] = ""
    timeout: float = 10.0  # seconds for one call
    on_failure: Decision = Decision.DEFER

    async def connect(self, peer: Peer) -> Verdict:
        return ACCEPT

    async def mail(self, peer: Peer, sender: str) -> Verdict:
        return ACCEPT

    async def rcpt(self, peer: Peer, sender: str, recipient: Address) -> Verdict:
        return ACCEPT

    async def data(self, peer: Peer, envelope: Envelope, body: Body) -> Verdict:
        return ACCEPT

    def phases(self) -> frozenset[str]:
        """The phases that this class overrides."""
        return frozenset(phase for phase in PHASES if getattr(type(self), phase) is not getattr(Filter, phase))
