"""Where a domain's DMARC policy stands, and which organisation it belongs to.

By the DNS tree walk of RFC 9989 section 4.10, or by a public suffix list as RFC 7489 did it. Each name is asked for
once a message, however many walks pass it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from postane.core.errors import TemporaryError
from postane.core.question import Ask, Question
from postane.filters.auth.dmarc_record import Record, only

_MAX_LABELS = 8  # section 4.10: more of them do not cost more than eight questions

Suffixes = Callable[[str], str]
"""The domain below the public suffix ("a.b.example.co.uk" → "example.co.uk"), or "" for a public suffix itself."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found for an author domain. `at` is the name that has the record.

    `organizational` is "" where it cannot be known now; that is only so if the author domain has its own record.
    """

    record: Record | None
    at: str
    organizational: str


class Discovery:
    """The questions of one message. With `suffixes` by that list, else by the tree walk."""

    def __init__(self, ask: Ask, suffixes: Suffixes | None = None) -> None:
        self._ask = ask
        self._suffixes = suffixes
        self._answers: dict[str, Record | TemporaryError | None] = {}

    async def policy(self, author: str) -> Found:
        """Section 4.10.1: the record of the author domain, its organisational domain, its public suffix domain.

        Raises TemporaryError where the DNS gives no answer that decides.
        """
        own = await self._record(author)
        try:
            walked = await self._walk(author)
            organizational = self._select(author, walked)
        except TemporaryError:
            if own is None:
                raise
            return Found(own, author, "")
        if own is not None:
            return Found(own, author, organizational)
        if organizational in walked:
            return Found(walked[organizational], organizational, organizational)
        suffix = next((name for name, record in walked.items() if record.psd == "y"), "")
        return Found(walked[suffix] if suffix else None, suffix or author, organizational)

    async def organizational(self, domain: str) -> str:
        """Section 4.10.2. Raises TemporaryError."""
        return self._select(domain, {} if self._suffixes else await self._walk(domain))

    async def exists(self, domain: str) -> bool:
        """False if the answer for the name is NXDOMAIN (section 3.2.13). Raises TemporaryError."""
        answer = await self._ask(Question(domain, "TXT"))
        if answer.failed:
            raise TemporaryError(answer.failed)
        return answer.exists

    async def _walk(self, domain: str) -> dict[str, Record]:
        """The names with a record, longest first."""
        found: dict[str, Record] = {}
        for name in self._names(domain):
            try:
                record = await self._record(name)
            except TemporaryError:
                # A top-level domain could only make the organisation larger than what was found below it. Without its
                # answer less aligns, never more; and its failure does not stop the mail of all that have a policy.
                if not found or "." in name:
                    raise
                break
            if record is not None:
                found[name] = record
                if record.psd != "u" and not self._suffixes:
                    break
        return found

    def _names(self, domain: str) -> list[str]:
        if self._suffixes:
            return list(dict.fromkeys([domain, self._suffixes(domain) or domain]))
        labels = domain.split(".")
        first = 1 if len(labels) <= _MAX_LABELS else len(labels) - _MAX_LABELS + 1
        return [domain, *(".".join(labels[at:]) for at in range(first, len(labels)))]

    def _select(self, domain: str, walked: dict[str, Record]) -> str:
        if self._suffixes:
            return self._suffixes(domain) or domain
        if not walked:
            return domain
        # The walk stops at a psd tag: the last name is the one with it, else the one with the fewest labels.
        name, record = list(walked.items())[-1]
        if record.psd == "y":
            return ".".join(domain.split(".")[-len(name.split(".")) - 1 :])  # of the start itself: no more than it has
        return name

    async def _record(self, name: str) -> Record | None:
        if name not in self._answers:
            said = await self._ask(Question(f"_dmarc.{name}", "TXT"))
            self._answers[name] = TemporaryError(said.failed) if said.failed else only(said.records)
        answer = self._answers[name]
        if isinstance(answer, TemporaryError):
            raise answer
        return answer
