"""Which store is made, and that nothing is loaded for one that nobody uses."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from postane.config.load import WrongValueError
from postane.config.model import Config, Filters
from postane.filters.store.make import make_store
from postane.filters.store.sqlite import FILE, SqliteStore


def test_the_same_each_time_and_nothing_before_the_first_question(tmp_path: Path) -> None:
    store = make_store(Config(host="mx.test", state=str(tmp_path)))
    assert isinstance(store(), SqliteStore)
    assert store() is store()
    assert not (tmp_path / FILE).exists()

    async def work() -> None:
        await store().put("a", "1", 60)
        await store().close()

    asyncio.run(work())
    assert (tmp_path / FILE).exists()


def test_a_url_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(WrongValueError, match=r"^filters\.store: "):
        make_store(Config(host="mx.test", filters=Filters(store="redis")))


@pytest.mark.parametrize(("url", "loaded"), [("", ["sqlite3"]), ("redis://127.0.0.1:1", ["redis"])])
def test_drivers_are_loaded_by_who_asks(url: str, loaded: list[str]) -> None:
    code = f"""
import sys
from postane.config.model import Config, Filters
from postane.filters.store.make import make_store
store = make_store(Config(host="mx.test", filters=Filters(store={url!r})))
before = {{"redis", "sqlite3"}} & set(sys.modules)
store()
print(*before, "|", *({{"redis", "sqlite3"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, _, after = done.stdout.partition("|")
    assert (before.split(), after.split()) == ([], loaded)
