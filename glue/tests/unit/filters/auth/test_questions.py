from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from postane.core.errors import TemporaryError
from postane.filters.auth.questions import within


def test_all_questions_together_have_one_time() -> None:
    asked: list[str] = []

    async def slow(name: str) -> Sequence[str]:
        asked.append(name)
        await asyncio.sleep(0 if name == "quick" else 10)
        return [name]

    async def run() -> None:
        txt = within(slow, 0.1)
        assert await txt("quick") == ["quick"]
        for name in ("a", "b", "c"):
            with pytest.raises(TemporaryError):
                await txt(name)

    began = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - began < 2
