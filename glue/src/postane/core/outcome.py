"""What became of one recipient in one attempt at delivery."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from postane.core.reply import Reply


class Fate(StrEnum):
    """DELIVERED and FAILED are final; DELAYED is tried again; RELAYED: handed to a server without DSN support."""

    DELIVERED = "delivered"
    RELAYED = "relayed"
    DELAYED = "delayed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The fate of one recipient. `reply` holds the peer's real words, or ours where no peer spoke.

    `remote` names who said it ("mx.example.net", "lmtp"), "" if it was this host.
    """

    recipient: str
    fate: Fate
    reply: Reply
    remote: str = ""

    @property
    def final(self) -> bool:
        return self.fate is not Fate.DELAYED

    @classmethod
    def from_reply(cls, recipient: str, reply: Reply, remote: str = "") -> Outcome:
        """2xx is delivered, 4xx delayed, anything else failed."""
        fate = Fate.DELIVERED if reply.ok else Fate.DELAYED if reply.temporary else Fate.FAILED
        return cls(recipient, fate, reply, remote)
