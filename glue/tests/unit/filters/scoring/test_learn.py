from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import UnixStreamServer
from typing import Any

import pytest

from postane.core.errors import ConfigError, PermanentError, ServiceMissingError
from postane.filters.scoring.learn import learn, password_in


class Controller(BaseHTTPRequestHandler):
    """Answers as Rspamd's controller does."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server: Any = self.server
        server.heard.append((self.path, body, self.headers["Password"], self.headers["Deliver-To"]))
        status, said = server.say
        self.send_response(status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def address_string(self) -> str:
        return "test"

    def log_message(self, *_: object) -> None:
        pass


class UnixServer(UnixStreamServer):
    pass


@pytest.fixture(params=["tcp", "unix"])
def controller(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    server: Any
    if request.param == "tcp":
        server = HTTPServer(("127.0.0.1", 0), Controller)
        server.url = f"http://127.0.0.1:{server.server_address[1]}"
    else:
        server = UnixServer(str(tmp_path / "controller.sock"), Controller)
        server.url = str(tmp_path / "controller.sock")
    server.heard, server.say = [], (200, b'{"success":true}')
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_message_is_taught_whole(controller: Any) -> None:
    assert learn(controller.url, "secret", "spam", [b"Subject: x\r\n", memoryview(b"\r\nbody")], recipient="a@b.test")
    assert learn(controller.url, "", "ham", [b"x"], recipient="çiğdem@b.test")
    assert controller.heard == [
        ("/learnspam", b"Subject: x\r\n\r\nbody", "secret", "a@b.test"),
        ("/learnham", b"x", None, None),
    ]


@pytest.mark.parametrize(
    "say", [(204, b""), (208, b"{}"), (404, b'{"error":"<id> has been already learned as spam, ignore it"}')]
)
def test_what_is_known_already_is_no_error(controller: Any, say: tuple[int, bytes]) -> None:
    controller.say = say
    assert not learn(controller.url, "", "spam", [b"x"])


def test_a_refusal_is_told_in_the_controllers_words(controller: Any) -> None:
    controller.say = (403, b'{"error":"Unauthorized"}')
    with pytest.raises(PermanentError, match=r"403.*Unauthorized"):
        learn(controller.url, "wrong", "spam", [b"x"])


def test_nobody_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    for place in (url, str(tmp_path / "none.sock")):
        with pytest.raises(ServiceMissingError):
            learn(place, "", "spam", [b"x"])
    for wrong in ("", "https://x", "localhost:11334"):
        with pytest.raises(ConfigError):
            learn(wrong, "", "spam", [b"x"])


def test_the_password_is_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(" q1\n")
    assert password_in(str(tmp_path / "secret")) == "q1"
    assert password_in("") == ""
    with pytest.raises(ConfigError, match="learn_secret_file"):
        password_in(str(tmp_path / "none"))
