"""A target that is a person: nothing is written, everything is shown (as a zone file, a table, a letter)."""

from __future__ import annotations

from collections.abc import Sequence

from postane.core.errors import NotAllowedError
from postane.dns.records import Record


class Manual:
    """The customer's DNS keeper. What stands there is read from the domain's own servers instead."""

    writable = False
    whole_zones = False
    types = None

    def __init__(self, name: str = "manual", text_limit: int = 0, least_ttl: int = 0) -> None:
        self.name = name
        self.text_limit = text_limit
        self.least_ttl = least_ttl

    async def read(self, zone: str) -> list[Record] | None:
        return None

    async def apply(
        self, zone: str, remove: Sequence[Record], add: Sequence[Record], before: Sequence[Record] | None = None
    ) -> None:
        """Raises NotAllowedError, always."""
        raise NotAllowedError(
            f"the records of {zone} are put in by hand", hint=f"`postane domain letter {zone}` says what and where"
        )
