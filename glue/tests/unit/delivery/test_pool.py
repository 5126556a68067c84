from __future__ import annotations

import asyncio

from postane.delivery.pool import Pool


class Fake:
    def __init__(self) -> None:
        self.usable = True
        self.gone = False

    def discard(self) -> None:
        self.gone = True


def test_last_in_is_first_out_and_broken_ones_are_let_go() -> None:
    async def main() -> None:
        pool: Pool[Fake] = Pool(60)
        first, second, broken = Fake(), Fake(), Fake()
        pool.put("a", first)
        pool.put("a", second)
        pool.put("a", broken)
        broken.usable = False
        assert pool.take("b") is None
        assert pool.take("a") is second
        assert broken.gone
        pool.close()
        assert first.gone
        assert pool.take("a") is None

    asyncio.run(main())


def test_unused_connection_is_closed() -> None:
    async def main() -> None:
        pool: Pool[Fake] = Pool(0.01)
        fake = Fake()
        pool.put("a", fake)
        await asyncio.sleep(0.05)
        assert fake.gone
        assert len(pool) == 0

    asyncio.run(main())
