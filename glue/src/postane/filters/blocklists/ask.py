"""Asks all lists about one mail at once, within one budget of questions and seconds, and adds up what they say."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from postane.filters.begun import Begun
from postane.filters.blocklists.codes import Codes
from postane.filters.blocklists.watch import Channel, Said
from postane.observe.tasks import Tasks

_TEXT = 300  # characters of a list's own words: they go into a reply line (RFC 5321 section 4.5.3.1.5)

_UNHEARD = "was not waited for"


@dataclass(frozen=True, slots=True)
class Inquiry:
    """One question to one list. `subject` is what is asked about, `name` the same in the form in which it is asked."""

    channel: Channel
    codes: Codes
    subject: str
    name: str
    allow: bool = False
    trust: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """An inquiry and its outcome; `weight` is negative for allow lists."""

    inquiry: Inquiry
    said: Said

    @property
    def listed(self) -> bool:
        return bool(self.said.codes)

    @property
    def weight(self) -> float:
        return -abs(self.said.weight) if self.inquiry.allow else self.said.weight

    @property
    def words(self) -> str:
        codes = ", ".join(self.said.codes)
        return f"{self.inquiry.subject} by {self.inquiry.channel.named.name} ({codes}, {self.weight:+g})"


async def inquire(inquiries: Sequence[Inquiry], end: float, tasks: Tasks, enough: float = 0.0) -> list[Found]:
    """All at once; a list that is late by `end`, on the loop's clock, has said nothing.

    Once the score is at least `enough`, unless that is 0, and no allow list can change it any more, nobody waits.
    """
    loop = asyncio.get_running_loop()
    asked: dict[asyncio.Task[None], tuple[Inquiry, Begun]] = {}
    for one in inquiries:
        question = Begun(one.channel.look(one.name, one.codes, end, tasks))
        asked[question.begin(loop)] = one, question
    pending = {task for task, (_, question) in asked.items() if not question.ended}
    try:
        while pending and not _decided(list(asked.values()), enough):
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in pending:
            task.cancel()
    return [Found(one, _said(question)) for one, question in asked.values()]


def _decided(asked: Sequence[tuple[Inquiry, Begun]], enough: float) -> bool:
    """Whatever those say who have not answered yet."""
    total = score(Found(one, _said(question)) for one, question in asked if question.ended)
    open_ones = [one for one, question in asked if not question.ended]
    taken = sum(one.codes.most for one in open_ones if one.allow)
    return 0 < enough <= total - taken and not any(one.trust for one in open_ones)


def _said(question: Begun) -> Said:
    if question.error is not None:
        raise question.error
    return question.answer if isinstance(question.answer, Said) else Said(reason=_UNHEARD)


def score(found: Iterable[Found]) -> float:
    return sum(one.weight for one in found if one.listed)


def strongest(found: Iterable[Found]) -> Found | None:
    """The list that speaks most against the sender."""
    return max((one for one in found if one.listed and one.weight > 0), key=lambda one: one.weight, default=None)


def line(text: str) -> str:
    """A list's words as one line of visible ASCII."""
    return " ".join("".join(c if " " <= c <= "~" else " " for c in text).split())[:_TEXT].rstrip()
