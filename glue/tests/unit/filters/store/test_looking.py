"""A trial leaves no trace."""

from __future__ import annotations

import asyncio
from pathlib import Path

from postane.config.model import Config
from postane.filters.store.make import make_store


def test_what_would_be_granted_is_told_and_not_taken(tmp_path: Path) -> None:
    config = Config(host="mx.test", state=str(tmp_path))
    real, trial = make_store(config)(), make_store(config, keep=False)()

    async def work() -> None:
        for _ in range(3):
            assert await trial.take("a", 2, 0.01, 3) == 0.0
        assert await real.take("a", 2, 0.01, 3) == 0.0
        assert await trial.take("a", 2, 0.01, 3) > 90
        await real.put("b", "1", 60)
        await trial.put("b", "2", 60)
        assert await trial.get("b") == "1"
        await real.add("c", 4, 60)
        assert await trial.add("c", 1, 60) == 5
        assert await trial.add("d", 1, 60) == 1
        assert await real.get("c") == "4"
        await trial.close()
        await real.close()

    asyncio.run(work())
