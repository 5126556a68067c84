"""Greylisting by real workers: who is sent away by one passes at another, after a restart, and at another host."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from bench.name_server import NXDOMAIN, NameServer

from support.dev import Dev
from support.filtered import Session, mailbox
from support.redis import RedisServer

WAIT = 2.0
TEXT = b"Subject: x\r\n\r\nbody\r\n"
OPTIONS = {"greylist": {"wait": WAIT, "header": True, "trusted_peers": ["127.0.0.9/32"]}}


@pytest.fixture(scope="module")
def nameserver() -> Iterator[str]:
    server = NameServer(NXDOMAIN, 0)
    yield f"127.0.0.1:{server.port}"
    server.close()


@contextmanager
def host(folder: Path, nameserver: str, workers: int, **settings: Any) -> Iterator[Dev]:
    file = folder.with_suffix(".yml")
    file.write_text(yaml.safe_dump({"filters": {"use": ["greylist"], "options": OPTIONS, **settings}}))
    more = [f"--filters-file={file}", f"--nameserver={nameserver}"]
    dev = Dev(folder, workers=workers, accounts=1, more=more)
    dev.start()
    try:
        yield dev
    finally:
        dev.close()


def mail(dev: Dev, sender: str, source: str = "127.0.0.1") -> tuple[str, str]:
    session = Session(dev, source)
    said = session.mail(sender, TEXT)
    session.close()
    return said


def test_two_workers_and_a_restart(tmp_path: Path, nameserver: str) -> None:
    with host(tmp_path / "dev", nameserver, 2) as dev:
        begun = time.monotonic()
        where, said = mail(dev, "a@far.test")
        assert (where, said) == ("rcpt", "451 4.7.1 Greylisted: you are new here; try again in 2 seconds")
        assert mail(dev, "", "127.0.0.9")[1].startswith("250")
        assert dev.stop() == 0
        dev.start()
        answers: list[str] = []
        while not answers or answers[-1].startswith("451"):
            answers.append(mail(dev, "a@far.test")[1])
            assert time.monotonic() < begun + 15
            time.sleep(0.1)
        assert time.monotonic() - begun >= WAIT
        assert answers[-1].startswith("250")
        for _ in range(8):  # by whichever worker
            assert mail(dev, "a@far.test", "127.0.0.77")[1].startswith("250")
        assert mail(dev, "b@far.test")[0] == "rcpt"
        text = b"".join(mailbox(dev, 10))
    assert text.count(b"\r\nX-Greylist: delayed ") == 1
    assert b" seconds by mail.demo.test\r\n" in text


def test_two_hosts_share_a_redis_server_and_wait_for_one_that_is_away(tmp_path: Path, nameserver: str) -> None:
    redis = RedisServer(tmp_path)
    redis.start()
    try:
        with (
            host(tmp_path / "one", nameserver, 1, store=redis.url) as one,
            host(tmp_path / "other", nameserver, 1, store=f"unix://{redis.socket}") as other,
        ):
            assert mail(one, "a@far.test")[0] == "rcpt"
            assert mail(other, "a@far.test")[0] == "rcpt"
            time.sleep(WAIT)
            assert mail(other, "a@far.test")[1].startswith("250")
            assert mail(one, "a@far.test")[1].startswith("250")
            redis.stop()
            for dev in (one, other):
                assert mail(dev, "a@far.test") == ("rcpt", "451 4.7.1 A check could not be made; try again later")
            redis.start()
            time.sleep(1.1)
            assert mail(one, "a@far.test")[1].endswith("you are new here; try again in 2 seconds")
            assert not (one.folder / "filters.sqlite3").exists()
    finally:
        redis.stop()
