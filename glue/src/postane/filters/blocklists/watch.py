"""The lists that a process asks: one channel for each list and kind of question, tested in the background.

All filters of a process share them. The first question to a list starts its tests; they end with the last filter.
A list that is set aside is not asked, so nobody waits for it; an event in the log and a metric tell of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import SystemRandom

from postane.core.question import Answer, Ask, Question
from postane.filters.begun import until
from postane.filters.blocklists.codes import Codes
from postane.filters.blocklists.health import Health, State, Trial, judge
from postane.filters.blocklists.names import Kind, Points, control
from postane.filters.blocklists.news import EVERY, News
from postane.observe.log import get_logger
from postane.observe.metrics import Metrics
from postane.observe.tasks import Tasks

log = get_logger("filters")

_TEST_SECONDS = 5.0

_NEVER = "has not been tested yet"


@dataclass(frozen=True, slots=True)
class Named:
    """Which list a channel leads to. `name` is what is said of it; `codes` are the texts of its codes."""

    name: str
    zone: str
    kind: Kind
    points: Points
    codes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """What a list said about a name. Without codes and reason: it does not list it.

    `reason` says why what it said, or did not say, counts for nothing.
    """

    codes: tuple[str, ...] = ()
    weight: float = 0.0
    reason: str = ""


class Channel:
    """Asks one list, and knows how it is. `clock` counts seconds; `draw(n)` gives 0 to n - 1."""

    def __init__(
        self,
        named: Named,
        ask: Ask,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[int], int] | None = None,
        told: Callable[[str, float], None] = lambda reason, rest: None,
    ) -> None:
        """`told` hears when the list is set aside by what is seen here, and for how long; or is back: no reason."""
        self.named = named
        self.health = Health(clock())
        self.tested = asyncio.Event()  # for the first time
        self._ask = ask
        self._metrics = metrics
        self._clock = clock
        self._draw = draw or SystemRandom().randrange
        self._told = told
        self._codes = Codes(dict.fromkeys(named.codes, 1.0), 1.0)
        self._control: asyncio.Task[bool] | None = None
        self._changed = asyncio.Event()

    async def look(self, name: str, codes: Codes, end: float, tasks: Tasks) -> Said:
        """Asks about a name (without the zone) until `end`, on the loop's clock. Raises nothing."""
        if self.health.state is State.ASIDE:
            return self._said("aside", Said(reason=f"is set aside: {self.health.reason}"))
        try:
            answer = await until(end, self._ask(Question(f"{name}.{self.named.zone}", "A")))
        except TimeoutError:
            answer = Answer(failed="no answer in time")
        if answer.failed:
            self._note(lambda: self.health.silent(f"is silent: {answer.failed}", self._clock()))
            return self._said("silent", Said(reason=f"is silent: {answer.failed}"))
        reading = codes.read(answer.records)
        if reading.fault:
            self._note(lambda: self.health.set_aside(reading.fault, self._clock()))
            return self._said("fault", Said(reason=reading.fault))
        if not answer.records:
            self.health.unlisted()
            return self._said("unlisted", Said())
        if not reading.codes:
            unknown = ", ".join(reading.unknown)
            self._note(lambda: self.health.unknown(unknown, self._clock()))
            return self._said("unknown", Said(reason=f"answers {unknown}, which is none of the codes given for it"))
        self.health.hit()
        doubt = await self._doubt(end, tasks)
        if doubt:
            return self._said("unconfirmed", Said(reason=doubt))
        return self._said("listed", Said(reading.codes, reading.weight))

    async def text(self, name: str, end: float) -> str:
        """What the list wants the one who is listed to read (RFC 5782 section 2.1); "" without an answer in time."""
        try:
            answer = await until(end, self._ask(Question(f"{name}.{self.named.zone}", "TXT")))
        except TimeoutError:
            return ""
        return answer.records[0] if answer.records else ""

    async def test(self) -> Trial:
        """Asks for what must be listed, for what must not be, and for something that was never asked before."""
        points = self.named.points
        drawn = control(self.named.kind, self._draw)
        listed, unlisted, controlled = await asyncio.gather(*map(self._fresh, (points.listed, points.unlisted, drawn)))
        trial = judge(listed, unlisted, controlled, self._codes)
        self._note(lambda: self.health.tested(trial, self._clock()))
        self.tested.set()
        return trial

    async def watch(self) -> None:
        """Tests for ever."""
        while True:
            await self.test()
            begun = self._clock()
            while (left := begun + self.health.pause(self._draw(1000) / 1000) - self._clock()) > 0:
                self._changed.clear()
                try:
                    async with asyncio.timeout(left):
                        await self._changed.wait()
                    begun = self._clock()
                except TimeoutError:
                    break

    async def _fresh(self, name: str) -> Answer:
        try:
            async with asyncio.timeout(_TEST_SECONDS):
                return await self._ask(Question(f"{name}.{self.named.zone}", "A", fresh=True))
        except TimeoutError:
            return Answer(failed=f"no answer within {_TEST_SECONDS:g} s")

    async def _doubt(self, end: float, tasks: Tasks) -> str:
        """Why a hit that has just come is not believed, or ""."""
        try:
            async with asyncio.timeout_at(end):
                await self.tested.wait()
                if self.health.state is State.WELL and self.health.needs_control(self._clock()):
                    if self._control is None:
                        self._control = tasks.start("blocklist control", self._controlled())
                    if not await asyncio.shield(self._control):
                        return f"is not believed: {self.health.reason or 'a control had no answer'}"
        except TimeoutError:
            return f"is not believed: {'a control had no answer in time' if self.tested.is_set() else _NEVER}"
        return "" if self.health.state is State.WELL else f"is set aside: {self.health.reason}"

    async def _controlled(self) -> bool:
        """True if something that cannot be listed is not."""
        try:
            answer = await self._fresh(control(self.named.kind, self._draw))
        finally:
            self._control = None
        if answer.failed:
            self._note(lambda: self.health.silent(f"is silent: {answer.failed}", self._clock()))
            return False
        if answer.records:
            fault = self._codes.read(answer.records).fault or "lists everything"
            self._note(lambda: self.health.set_aside(fault, self._clock()))
            return False
        self.health.controlled()
        return True

    def hear(self, reason: str) -> None:
        """Another worker has set the list aside; this one tests it soon by itself."""
        if self.health.state is not State.ASIDE:
            self._note(lambda: self.health.set_aside(reason, self._clock()), pass_on=False)

    def _note(self, change: Callable[[], None], *, pass_on: bool = True) -> None:
        """Tells of a list that is set aside or back by this."""
        before, since = self.health.state, self.health.since
        change()
        after = self.health.state
        if after is before:
            return
        self._changed.set()
        names = {"list": self.named.name, "kind": self.named.kind}
        if after is State.ASIDE:
            log.error("dnsbl_list_set_aside", **names, reason=self.health.reason)
        elif before is State.ASIDE:
            log.warning("dnsbl_list_back", **names, after=round(self._clock() - since, 1))
        if pass_on and State.ASIDE in (before, after):
            self._told(self.health.reason, self.health.rest)

    def _said(self, answer: str, said: Said) -> Said:
        self._metrics.count(
            "postane_dnsbl_answers_total", "What lists in the DNS said", zone=self.named.name, answer=answer
        )
        return said


class Watch:
    """The channels of a process; what one finds out about a list, the other workers of the host hear by `news`."""

    def __init__(self, ask: Ask, metrics: Metrics, news: News, clock: Callable[[], float] = time.monotonic) -> None:
        self.tasks = Tasks()
        self._news = news
        self._ask = ask
        self._metrics = metrics
        self._clock = clock
        self._channels: dict[Named, Channel] = {}
        self._users = 0
        metrics.watch(self._show)

    def join(self) -> None:
        self._users += 1

    async def leave(self) -> None:
        """The last one ends the tests."""
        self._users -= 1
        if not self._users:
            self._channels.clear()
            await self.tasks.close()
            await self._news.close()

    def channel(self, named: Named) -> Channel:
        """In the loop: the first who asks for it starts its tests."""
        found = self._channels.get(named)
        if found is None:
            told = partial(self._tell, named)
            found = self._channels[named] = Channel(named, self._ask, self._metrics, self._clock, told=told)
            self.tasks.start(f"blocklist {named.name} {named.kind}", found.watch())
            if len(self._channels) == 1:
                self.tasks.start("blocklist news", self._listen())
        return found

    def _tell(self, named: Named, reason: str, rest: float) -> None:
        self.tasks.start("blocklist news", self._news.tell(named.zone, named.kind, reason, rest))

    async def _listen(self) -> None:
        while True:
            for named, channel in list(self._channels.items()):
                if reason := await self._news.heard(named.zone, named.kind):
                    channel.hear(reason)
            await asyncio.sleep(EVERY)

    def _show(self) -> None:
        aside: dict[tuple[str, str], bool] = {}
        for named, channel in self._channels.items():
            key = (named.name, named.kind)
            aside[key] = aside.get(key, False) or channel.health.state is State.ASIDE
        for (name, kind), is_aside in aside.items():
            self._metrics.gauge(
                "postane_dnsbl_list_set_aside",
                "1: the list is not believed, and not asked",
                is_aside,
                zone=name,
                kind=kind,
            )
