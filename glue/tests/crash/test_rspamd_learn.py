"""A real Rspamd is taught through its controller's socket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.peers import rspamd as peer

from postane.core.errors import PermanentError
from postane.filters.scoring.learn import learn
from support.dev import free_port
from support.redis import RedisServer

STORE = Path(__file__).parents[3] / ".cache" / "bench"  # where `make bench` has unpacked Rspamd

CONTROLLER = """
bind_socket = "{folder}/run/learn.sock mode=0666"; bind_socket = "127.0.0.1:PORT"; count = 1;
secure_ip = ["192.0.2.1"]; password = "of-the-test"; enable_password = "of-the-test";
"""


@pytest.fixture
def controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """Its socket, where no password is asked, and its port, where one is."""
    if os.geteuid() != 0 or not (STORE / "rspamd" / ".whole").exists():
        pytest.skip("no Rspamd here")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)  # it runs as a user of its own
    redis = RedisServer(tmp_path)
    redis.start()
    port = free_port()
    monkeypatch.setitem(peer.LOCAL, "worker-controller.inc", CONTROLLER.replace("PORT", str(port)))
    monkeypatch.setitem(peer.LOCAL, "redis.conf", f'servers = "127.0.0.1:{redis.port}";\n')
    monkeypatch.setitem(peer.LOCAL, "classifier-bayes.conf", 'backend = "redis"; min_learns = 1;\n')
    service = peer.Rspamd(tmp_path / "rspamd", STORE)
    try:
        service.start()
        yield str(tmp_path / "rspamd" / "run" / "learn.sock"), f"http://127.0.0.1:{port}"
    finally:
        service.stop()
        redis.stop()


def test_spam_and_ham_are_learned_once(controller: tuple[str, str]) -> None:
    socket, url = controller
    words = " ".join(f"word{number} pills casino" for number in range(100)).encode()
    text = b"From: x@far.test\r\nSubject: cheap\r\nMessage-ID: <1@far.test>\r\n\r\n" + words + b"\r\n"
    assert learn(socket, "", "spam", [text[:50], memoryview(text)[50:]], recipient="ayse@demo.test")
    assert not learn(socket, "", "spam", [text], recipient="ayse@demo.test")
    assert learn(socket, "", "ham", [text])
    other = text.replace(b"pills", b"bills")
    with pytest.raises(PermanentError, match=r"40[13]"):
        learn(url, "wrong", "spam", [other])
    assert learn(url, "of-the-test", "spam", [other])
