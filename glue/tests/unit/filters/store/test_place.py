"""The URL of the store."""

from __future__ import annotations

import pytest

from postane.config.load import WrongValueError
from postane.filters.store.place import Server, parse


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("", None),
        ("redis://cache.test", Server("cache.test")),
        ("redis://cache.test:7000/2", Server("cache.test", 7000, db=2)),
        ("rediss://mail@[2001:db8::1]:7000", Server("2001:db8::1", 7000, tls=True, user="mail")),
        ("unix:///run/redis/redis.sock", Server(path="/run/redis/redis.sock")),
        ("unix:///run/redis.sock?db=4", Server(path="/run/redis.sock", db=4)),
    ],
)
def test_what_is_read(url: str, server: Server | None) -> None:
    assert parse(url) == server


@pytest.mark.parametrize(
    "url",
    [
        "cache.test",
        "http://cache.test",
        "redis://",
        "redis://cache.test:port",
        "redis://cache.test:99999",
        "redis://cache.test/one",
        "redis://cache.test/-1",
        "redis://cache.test?db=1",
        "unix://relative.sock",
        "unix:///a?x=1",
        "redis://:secret@cache.test",
        "redis://mail:secret@cache.test",
        "unix:///a?password=secret",
    ],
)
def test_what_is_refused(url: str) -> None:
    with pytest.raises(WrongValueError) as caught:
        parse(url)
    assert "secret" not in str(caught.value)
