"""Which store the configuration names, made in the process that uses it and at its first use."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

from postane.config.model import Config
from postane.core.ports import Now, Store
from postane.filters.store.looking import Looking
from postane.filters.store.place import parse
from postane.observe.metrics import Metrics


def make_store(
    config: Config, metrics: Metrics | None = None, *, now: Now = time.time, keep: bool = True
) -> Callable[[], Store]:
    """What is returned gives the same store each time; only then its driver is loaded, and nothing is connected yet.

    Not to be called before a fork. `keep=False`: nothing is taken and nothing kept, for a trial on the desk.
    Raises WrongValueError.
    """
    server = parse(config.filters.store)
    password = Path(config.filters.store_password) if config.filters.store_password else None
    counted = metrics or Metrics()

    @cache
    def store() -> Store:
        if server is None:
            from postane.filters.store.sqlite import SqliteStore

            made: Store = SqliteStore(Path(config.state), now, counted)
        else:
            from postane.filters.store.redis import RedisStore

            made = RedisStore(server, password, counted)
        return made if keep else Looking(made)

    return store
