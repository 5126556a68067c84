"""What the evaluators ask of the outside: TXT records, by an injected function, so that they do no I/O themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from postane.core.errors import TemporaryError

Txt = Callable[[str], Awaitable[Sequence[str]]]
"""The TXT records of a name, strings joined; empty: the name has none.

Raises NotFoundError where the name does not exist, TemporaryError where that cannot be known now.
"""


def within(txt: Txt, seconds: float) -> Txt:
    """The same questions, with one time for all of them together: after it each raises TemporaryError at once."""
    end: list[float] = []

    async def ask(name: str) -> Sequence[str]:
        clock = asyncio.get_running_loop().time
        if not end:
            end.append(clock() + seconds)
        try:
            async with asyncio.timeout_at(end[0]):
                return await txt(name)
        except TimeoutError as error:
            raise TemporaryError(f"DNS: no answer about {name} within the time for all questions") from error

    return ask
