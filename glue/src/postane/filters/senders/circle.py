"""Who may write to an address: anyone, its own domain, the members of its tenant, whoever entries name. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from postane.core.address import Address
from postane.filters.senders.entries import Entries, entries, host

Who = Literal["anyone", "domain", "members"]


class Circle:
    """Those who may write. Raises AddressError for entries that are none."""

    def __init__(self, who: str | Sequence[str], members: Entries) -> None:
        """`who` is one of the words, or a list of entries with the words domain and members among them; `members` has
        the domains of the tenant.
        """
        self.words = (who,) if isinstance(who, str) else tuple(who)
        self.open = who == "anyone"
        self._named = entries(tuple(one for one in self.words if one not in ("anyone", "domain", "members")))
        self._near = "domain" in self.words or "members" in self.words
        self._members = members if "members" in self.words else entries(())

    def __str__(self) -> str:
        return ", ".join(self.words)

    def holds(self, name: Address, recipient: Address) -> bool:
        """Whether an address is one of those who may write to the recipient."""
        if self._near and name.key_domain == recipient.key_domain:
            return True
        return bool(self._members.naming(name) or self._named.naming(name))

    def holds_all_of(self, peer: str) -> bool:
        """Whether everything that comes from an IP address may."""
        return self.open or bool(self._named.holding(host(peer)))
