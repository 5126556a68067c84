"""Against a real HTTPS server."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from postane.admin.suffixes import show, update
from postane.config.model import Config
from postane.core.errors import PermanentError, PostaneError, ServiceMissingError, UsageError
from postane.filters.auth.public_suffix import FILE, by_list
from support.https import Answer, HttpsServer

REAL = files("publicsuffixlist").joinpath("public_suffix_list.dat").read_bytes()
NEWER = REAL.replace(b"VERSION: 20", b"VERSION: 29", 1).replace(b"\ncom.ac\n", b"\ncom.ac\nhosting.example\n")


class Lists:
    """What the server has."""

    def __init__(self) -> None:
        self.octets = NEWER
        self.etag = '"one"'
        self.date = "Thu, 01 Oct 2026 10:00:00 GMT"
        self.said: Answer | None = None
        self.moved: dict[str, str] = {}

    def __call__(self, path: str, headers: dict[str, str]) -> Answer:
        if path in self.moved:
            return Answer(302, {"Location": self.moved[path]})
        if self.said is not None:
            return self.said
        if headers.get("If-None-Match") == self.etag and headers.get("If-Modified-Since") == self.date:
            return Answer(304, {"ETag": self.etag})
        return Answer(200, {"ETag": self.etag, "Last-Modified": self.date}, self.octets)


@pytest.fixture
def lists() -> Lists:
    return Lists()


@pytest.fixture
def server(tmp_path: Path, lists: Lists, monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpsServer]:
    running = HttpsServer(tmp_path, lists)
    monkeypatch.setenv("SSL_CERT_FILE", str(running.ca))
    yield running
    running.close()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    state = tmp_path / "state"
    state.mkdir()
    return Config(host="mx.test", state=str(state))


def names(config: Config) -> list[str]:
    return [one.name for one in Path(config.state).iterdir()]


def test_a_list_is_fetched_once_and_used_at_once(server: HttpsServer, lists: Lists, config: Config) -> None:
    assert show(config).file == ""
    url = f"{server.url}/list.dat"
    changed, found = update(config, url)
    assert changed
    assert (found.source, found.days, found.version[:2]) == (url, 0, "29")
    assert by_list(config.state)("a.hosting.example") == "a.hosting.example"
    file = Path(config.state) / FILE
    before = file.read_bytes()
    os.utime(file, (1, 1))
    assert not update(config, url)[0]
    assert "If-None-Match" in server.asked[-1][1]
    assert file.read_bytes() == before
    assert time.time() - file.stat().st_mtime < 60  # it is known to be the newest
    lists.octets, lists.etag = NEWER.replace(b"hosting.example", b"a.hosting.example"), '"two"'
    assert update(config, url)[0]
    assert by_list(config.state)("a.hosting.example") == ""
    assert names(config) == [FILE]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_server_without_conditions_has_nothing_new(server: HttpsServer, lists: Lists, config: Config) -> None:
    lists.said = Answer(200, {}, NEWER)
    assert update(config, server.url)[0]
    assert not update(config, server.url)[0]
    assert "If-None-Match" not in server.asked[-1][1]


def test_another_server_is_not_asked_by_what_the_first_said(server: HttpsServer, lists: Lists, config: Config) -> None:
    assert update(config, f"{server.url}/one")[0]
    assert not update(config, f"{server.url}/two")[0]
    assert "If-None-Match" not in server.asked[-1][1]


def test_it_follows_to_another_place_by_https_alone(server: HttpsServer, lists: Lists, config: Config) -> None:
    lists.moved = {"/": "/there", "/circle": "/circle", "/plain": "http://127.0.0.1:1/list", "/file": "file:///etc/x"}
    assert update(config, f"{server.url}/")[0]
    with pytest.raises(ServiceMissingError, match="again and again"):
        update(config, f"{server.url}/circle")
    for path in ("/plain", "/file"):
        with pytest.raises(UsageError, match="https"):
            update(config, server.url + path)


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        (Answer(503), ServiceMissingError, "answers 503"),
        (Answer(304), ServiceMissingError, "answers 304"),
        (Answer(404, {}, b"no"), ServiceMissingError, "answers 404"),
        (Answer(200, {}, b"<html>the proxy wants a login</html>"), PermanentError, "octets"),
        (Answer(200, {}, NEWER[:200_000]), PermanentError, "END"),
        (Answer(200, {}, NEWER[:200_000], len(NEWER)), ServiceMissingError, "breaks off"),
        (Answer(200, {}, b"x" * (5 * 1024 * 1024)), ServiceMissingError, "more than"),
        (Answer(200, {"Content-Encoding": "gzip"}, NEWER), ServiceMissingError, "gzip"),
        (Answer(200, {}, NEWER.replace(b"VERSION: 29", b"VERSION: 20")), PermanentError, "older"),
        (
            Answer(200, {}, b"".join(NEWER.splitlines(True)[:200] + NEWER.splitlines(True)[3000:])),
            PermanentError,
            "lacks rules|a tenth less",
        ),
    ],
)
def test_whatever_goes_wrong_the_list_before_stays(
    server: HttpsServer, lists: Lists, config: Config, said: Answer, error: type[PostaneError], words: str
) -> None:
    update(config, f"{server.url}/first")
    file = Path(config.state) / FILE
    before, stood = file.read_bytes(), file.stat().st_mtime_ns
    lists.said = said
    with pytest.raises(error, match=words):
        update(config, f"{server.url}/second")
    assert (file.read_bytes(), file.stat().st_mtime_ns) == (before, stood)
    assert names(config) == [FILE]
    assert by_list(config.state)("a.hosting.example") == "a.hosting.example"


def test_a_certificate_of_nobody_is_not_believed(
    server: HttpsServer, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(ServiceMissingError, match=r"(?i)certificate"):
        update(config, server.url)
    with pytest.raises(ServiceMissingError):
        update(config, "https://127.0.0.1:1/list")
    with pytest.raises(UsageError):
        update(config, server.url.replace("https", "http"))
    assert names(config) == []


def test_from_a_file(server: HttpsServer, config: Config, tmp_path: Path) -> None:
    given = tmp_path / "given.dat"
    given.write_bytes(NEWER)
    changed, found = update(config, str(given))
    assert changed
    assert (found.source, found.file) == (str(given), str(Path(config.state) / FILE))
    other = tmp_path / "other"
    other.mkdir()
    assert update(Config(host="mx.test", state=str(other)), found.file)[0]  # from one host to the next
    assert (other / FILE).read_bytes().count(b"// Postane from") == 1
    with pytest.raises(FileNotFoundError):
        update(config, str(tmp_path / "missing"))
