"""How attempts ended, told to log and metrics: one line a recipient, all of one turn of the loop together."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

from postane.core.outcome import Fate, Outcome
from postane.observe.log import get_logger, info_many
from postane.observe.metrics import Metrics
from postane.queue.job import Job

log = get_logger("queue")


class Ends:
    """Gathers what ended; `write` is called by itself at the end of the turn."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lines: list[dict[str, Any]] = []
        self._counts: Counter[tuple[str, str]] = Counter()

    def tell(self, job: Job, outcomes: Sequence[Outcome], *, seconds: float, age: float, when: float) -> None:
        """`seconds` is what the attempt took, `age` the message's, `when` (Unix seconds) the time of the next one."""
        if not self._lines:
            asyncio.get_running_loop().call_soon(self.write)
        door = "local" if job.local else "remote"
        age, seconds = round(age, 3), round(seconds, 3)
        for outcome in outcomes:
            fate = outcome.fate.value
            facts = {
                "trace_id": job.entry.id,
                "to": outcome.recipient,
                "destination": job.destination,
                "remote": outcome.remote,
                "reply": str(outcome.reply),
                "attempts": job.attempts,
                "seconds": seconds,
                "age": age,
            }
            if not outcome.final:
                facts["next_attempt"] = round(when)
            facts["event"] = fate
            self._lines.append(facts)
            self._counts[door, fate] += 1
        if job.entry.message.doubtful:
            given = sum(outcome.fate in (Fate.DELIVERED, Fate.RELAYED) for outcome in outcomes)
            text = "Deliveries of what was in flight when an earlier run ended"
            self._metrics.count("postane_repeated_deliveries", text, given, door=door)

    def write(self) -> None:
        lines, self._lines = self._lines, []
        info_many("queue", lines)
        counts, self._counts = self._counts, Counter()
        for (door, fate), count in counts.items():
            self._metrics.count("postane_deliveries", "Attempts at delivery", count, door=door, fate=fate)

    def count_doubts(self, doubtful: int) -> None:
        """At the start: what an earlier run had under way when it was killed is the only mail that may come twice."""
        text = "Messages whose delivery was under way when the last run ended"
        self._metrics.gauge("postane_in_flight_at_start", text, doubtful)
        if doubtful:
            log.warning("messages were in flight when the last run ended; they may come twice", messages=doubtful)
