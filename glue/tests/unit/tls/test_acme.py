"""The talk with an authority: tried on Debian's pebble, and on another what that does not do."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import ssl
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest
from cryptography import x509

from postane.core.errors import ConfigError, PermanentError, ServiceMissingError, TemporaryError
from postane.tls.acme import (
    HTTP,
    Authority,
    NamesRefusedError,
    Place,
    RateLimitedError,
    RefusedError,
    certificate_id,
    external_account,
)
from postane.tls.request import check_answer, make_request
from support import pebble
from support.dns import NameServer, name_server
from support.pebble import HMAC, KID, PEBBLE, RunningPebble

needs_pebble = pytest.mark.skipif(PEBBLE is None, reason="pebble is not installed")


@pytest.fixture(scope="module")
def world() -> Iterator[tuple[NameServer, str]]:
    with name_server() as (server, address):
        server.zones["here.test"] = ["127.0.0.1"]
        yield server, address


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory, world: tuple[NameServer, str]) -> Iterator[RunningPebble]:
    with pebble.running(tmp_path_factory.mktemp("pebble"), world[1]) as running:
        yield running


def place(authority: RunningPebble, **more: object) -> Place:
    return Place(authority.directory, bundle=str(authority.bundle), seconds=20, **more)  # type: ignore[arg-type]


def issue(one: Authority, webroot: Path, *names: str) -> tuple[bytes, bytes]:
    key, csr = make_request(names)
    order = one.order(names, csr)
    for proof in order.proofs:
        assert proof.http is not None
        token, text = proof.http
        (webroot / token).write_text(text)
        one.answer(order, proof, HTTP)
    one.wait(order)
    chain = one.finish(order)
    check_answer(chain, key, names, time.time())
    return chain, key


@needs_pebble
def test_an_account_is_made_once_and_its_key_is_nobody_elses(tmp_path: Path, authority: RunningPebble) -> None:
    chain, _ = issue(Authority(place(authority), tmp_path), authority.webroot, "mail.here.test", "auto.here.test")
    assert len(x509.load_pem_x509_certificates(chain)) >= 2
    [file] = (tmp_path / "keys").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    before = file.read_bytes()
    issue(Authority(place(authority), tmp_path), authority.webroot, "mail.here.test")
    assert file.read_bytes() == before


@needs_pebble
def test_an_account_whose_address_was_lost_is_found_by_its_key(tmp_path: Path, authority: RunningPebble) -> None:
    Authority(place(authority), tmp_path)
    [file] = (tmp_path / "keys").iterdir()
    kept = json.loads(file.read_bytes())
    file.write_text(json.dumps({**kept, "account": ""}))
    issue(Authority(place(authority), tmp_path), authority.webroot, "mail.here.test")
    assert json.loads(file.read_bytes()) == kept


@needs_pebble
def test_an_authority_that_has_forgotten_us_gets_to_know_us_again(tmp_path: Path, authority: RunningPebble) -> None:
    Authority(place(authority), tmp_path)
    [file] = (tmp_path / "keys").iterdir()
    kept = json.loads(file.read_bytes())
    file.write_text(json.dumps({**kept, "account": kept["account"] + "0"}))
    issue(Authority(place(authority), tmp_path), authority.webroot, "mail.here.test")
    assert json.loads(file.read_bytes()) == kept


@needs_pebble
def test_nonces_that_are_refused_are_asked_for_anew(tmp_path: Path, world: tuple[NameServer, str]) -> None:
    with pebble.running(tmp_path / "ca", world[1], environment={"PEBBLE_WFE_NONCEREJECT": "50"}) as authority:
        one = Authority(place(authority), tmp_path)
        for _ in range(4):
            issue(one, authority.webroot, "mail.here.test")
        # Each answer brings the next nonce, unless it was a refusal.
        assert (tmp_path / "ca/log").read_text().count("HEAD /nonce-plz") > 2


@needs_pebble
def test_a_name_that_cannot_be_proved_is_told_with_the_authoritys_words(
    tmp_path: Path, authority: RunningPebble
) -> None:
    one = Authority(place(authority), tmp_path)
    names = ["mail.here.test", "mail.nowhere.test", "bad.here.test"]
    _, csr = make_request(names)
    order = one.order(names, csr)
    for proof in order.proofs:
        assert proof.http is not None
        text = "wrong" if proof.name == "bad.here.test" else proof.http[1]
        (authority.webroot / proof.http[0]).write_text(text)
        one.answer(order, proof, HTTP)
    with pytest.raises(NamesRefusedError) as caught:
        one.wait(order)
    assert set(caught.value.names) == {"mail.nowhere.test", "bad.here.test"}
    assert "unauthorized" in caught.value.names["bad.here.test"]
    with pytest.raises(RefusedError):
        one.finish(order)


@needs_pebble
def test_an_external_account_is_bound_and_a_wrong_one_refused(tmp_path: Path, world: tuple[NameServer, str]) -> None:
    with pebble.running(tmp_path / "ca", world[1], external=True) as authority:
        with pytest.raises(ConfigError, match="wants an external account"):
            Authority(place(authority), tmp_path / "a")
        file = tmp_path / "external"
        file.write_text(f"{KID}\n{base64.urlsafe_b64encode(b'x' * 48).decode()}\n")
        with pytest.raises(RefusedError):
            Authority(place(authority, external_account=str(file)), tmp_path / "b")
        assert not list((tmp_path / "b").glob("keys/*"))
        file.write_text(f"{KID}\n{HMAC}\n")
        one = Authority(place(authority, external_account=str(file)), tmp_path / "c")
        issue(one, authority.webroot, "mail.here.test")


def test_a_file_of_an_external_account_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"external_account: .*No such file"):
        external_account(tmp_path / "nothing")
    (tmp_path / "bad").write_text("one word and more\n")
    with pytest.raises(ConfigError, match="not a key id and an HMAC key"):
        external_account(tmp_path / "bad")


@needs_pebble
def test_an_authority_whose_root_is_not_known_is_not_trusted(
    tmp_path: Path, authority: RunningPebble, world: tuple[NameServer, str]
) -> None:
    pebble.make_server_certificate(tmp_path, stem="other")
    wrong = Place(authority.directory, bundle=str(tmp_path / "other.pem"), seconds=5)
    with pytest.raises(ServiceMissingError, match="not to be trusted") as caught:
        Authority(wrong, tmp_path)
    assert "ca_bundle" in caught.value.hint
    with pytest.raises(ConfigError, match="ca_bundle"):
        Authority(Place(authority.directory, bundle=str(tmp_path / "none.pem")), tmp_path)
    assert not (tmp_path / "keys").exists()


def test_an_authority_that_is_away_is_a_passing_trouble(tmp_path: Path) -> None:
    with pytest.raises(ServiceMissingError, match="does not answer"):
        Authority(Place("https://127.0.0.1:1/dir", seconds=2), tmp_path)


def test_a_damaged_account_is_said_and_not_replaced(tmp_path: Path) -> None:
    with contextlib.suppress(ServiceMissingError), small(tmp_path) as (url, _):
        Authority(Place(url, bundle=str(tmp_path / "server.pem"), seconds=5), tmp_path)
    [file] = (tmp_path / "keys").iterdir()
    file.write_text("{")
    with pytest.raises(PermanentError, match="is damaged"):
        Authority(Place(url, bundle=str(tmp_path / "server.pem")), tmp_path)
    assert file.read_text() == "{"


# -- a small authority of our own: what pebble does not do ------------------------------------------------------------


class Small(http.server.BaseHTTPRequestHandler):
    """Gives a directory, nonces, an account, and what a test puts into `answers` by path: (status, headers, body)."""

    answers: dict[str, tuple[int, dict[str, str], object]]
    clock: float

    def do_GET(self) -> None:
        self._say(*self.answers.get(self.path, (404, {}, {"type": "urn:ietf:params:acme:error:malformed"})))

    def do_HEAD(self) -> None:
        self._say(200, {}, None)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._say(*self.answers.get(self.path, (201, {"Location": "https://127.0.0.1/account/1"}, {"status": "valid"})))

    def date_time_string(self, timestamp: float | None = None) -> str:
        return formatdate(time.time() + self.clock, usegmt=True)

    def _say(self, status: int, headers: dict[str, str], body: object) -> None:
        octets = b"" if body is None else json.dumps(body).encode() if not isinstance(body, bytes) else body
        self.send_response(status)
        problem = "application/problem+json" if status >= 400 else "application/json"
        for name, value in {"Content-Type": problem, "Replay-Nonce": "AAAA", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(octets)))
        self.end_headers()
        self.wfile.write(octets)

    def log_message(self, *_: object) -> None: ...


@contextlib.contextmanager
def small(folder: Path, clock: float = 0.0) -> Iterator[tuple[str, dict[str, tuple[int, dict[str, str], object]]]]:
    """Its directory's URL, and its answers."""
    pebble.make_server_certificate(folder)

    class Handler(Small):
        answers = {}  # noqa: RUF012

    Handler.clock = clock
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    base = f"https://127.0.0.1:{server.server_address[1]}"
    names = ("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange", "renewalInfo")
    directory: dict[str, object] = {name: f"{base}/{name}" for name in names}
    Handler.answers["/dir"] = (200, {}, {**directory, "meta": {"caaIdentities": ["ca.test"]}})
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{base}/dir", Handler.answers
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(("clock", "words"), [(5 * 3600, "5.0 h behind"), (-86_400, "24.0 h ahead of")])
def test_by_a_clock_that_is_wrong_nothing_is_ordered(tmp_path: Path, clock: float, words: str) -> None:
    with (
        small(tmp_path, clock) as (url, _),
        pytest.raises(TemporaryError, match=f"this host's clock is {words}") as caught,
    ):
        Authority(Place(url, bundle=str(tmp_path / "server.pem"), seconds=5), tmp_path)
    assert "timedatectl" in caught.value.hint
    assert not (tmp_path / "keys").exists()


def test_advice_is_asked_for_by_the_certificates_own_mark(tmp_path: Path) -> None:
    """RFC 9773 section 4.2, with its example of a mark from section 4.1."""
    with small(tmp_path) as (url, answers):
        one = Authority(Place(url, bundle=str(tmp_path / "server.pem"), seconds=5), tmp_path)
        assert one.names_of_caa == ("ca.test",)
        window = {"start": "2027-01-02T04:00:00Z", "end": "2027-01-03T04:00:00Z"}
        mark = certificate_id(EXAMPLE)
        assert mark == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
        answers[f"/renewalInfo/{mark}"] = (200, {"Retry-After": "21600"}, {"suggestedWindow": window})
        found, wait = one.advice(EXAMPLE)
        assert found is not None
        assert (found.end - found.start, wait) == (86_400, 21_600)
        assert time.gmtime(found.start)[:4] == (2027, 1, 2, 4)
        answers[f"/renewalInfo/{mark}"] = (200, {}, {"suggestedWindow": "soon"})
        with pytest.raises(ServiceMissingError, match="no answer that can be read"):
            one.advice(EXAMPLE)


@pytest.mark.parametrize(("header", "least", "most"), [("7200", 7200, 7200), ("date", 3500, 3700), ("soon", 0, 0)])
def test_an_authority_that_has_had_enough_says_how_long_to_wait(
    tmp_path: Path, header: str, least: float, most: float
) -> None:
    with small(tmp_path) as (url, answers):
        one = Authority(Place(url, bundle=str(tmp_path / "server.pem"), seconds=5), tmp_path)
        said = formatdate(time.time() + 3600, usegmt=True) if header == "date" else header
        problem = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many\ncertificates"}
        answers["/newOrder"] = (429, {"Retry-After": said}, problem)
        with pytest.raises(RateLimitedError, match=r"too many certificates \(rateLimited\)") as caught:
            one.order(["a.test"], make_request(["a.test"])[1])
        assert least <= caught.value.wait <= most


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (500, {"type": "urn:ietf:params:acme:error:serverInternal", "detail": "oh"}, ServiceMissingError, "oh"),
        (502, b"<html>Bad gateway</html>", ServiceMissingError, "no answer that can be read"),
        (200, b"<html>Please log in</html>", ServiceMissingError, "no answer that can be read"),
        (403, {"type": "urn:ietf:params:acme:error:caa", "detail": "CAA forbids"}, RefusedError, "CAA forbids"),
        (400, {"type": "urn:ietf:params:acme:error:new", "detail": "something new"}, RefusedError, "something new"),
        (
            403,
            {
                "type": "urn:ietf:params:acme:error:rejectedIdentifier",
                "detail": "no",
                "subproblems": [
                    {
                        "type": "urn:ietf:params:acme:error:rejectedIdentifier",
                        "detail": "a name of high risk",
                        "identifier": {"type": "dns", "value": "b.test"},
                    }
                ],
            },
            NamesRefusedError,
            "b.test: a name of high risk",
        ),
    ],
    ids=["internal", "gateway", "portal", "caa", "unknown", "names"],
)
def test_what_an_authority_may_say_instead(
    tmp_path: Path, status: int, body: object, error: type[Exception], words: str
) -> None:
    with small(tmp_path) as (url, answers):
        one = Authority(Place(url, bundle=str(tmp_path / "server.pem"), seconds=5), tmp_path)
        answers["/newOrder"] = (status, {}, body)
        with pytest.raises(error, match=words):
            one.order(["a.test", "b.test"], make_request(["a.test", "b.test"])[1])


# RFC 9773 appendix A.
EXAMPLE = b"""-----BEGIN CERTIFICATE-----
MIIBQzCB66ADAgECAgUAh2VDITAKBggqhkjOPQQDAjAVMRMwEQYDVQQDEwpFeGFt
cGxlIENBMCIYDzAwMDEwMTAxMDAwMDAwWhgPMDAwMTAxMDEwMDAwMDBaMBYxFDAS
BgNVBAMTC2V4YW1wbGUuY29tMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEeBZu
7cbpAYNXZLbbh8rNIzuOoqOOtmxA1v7cRm//AwyMwWxyHz4zfwmBhcSrf47NUAFf
qzLQ2PPQxdTXREYEnKMjMCEwHwYDVR0jBBgwFoAUaYhba4dGQEHhs3uEe6CuLN4B
yNQwCgYIKoZIzj0EAwIDRwAwRAIge09+S5TZAlw5tgtiVvuERV6cT4mfutXIlwTb
+FYN/8oCIClDsqBklhB9KAelFiYt9+6FDj3z4KGVelYM5MdsO3pK
-----END CERTIFICATE-----
"""
