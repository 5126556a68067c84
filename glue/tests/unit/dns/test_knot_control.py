"""Knot's control protocol, octet by octet as Knot 3.2 spoke it with its own client; and a peer that speaks another."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from postane.core.errors import ServiceMissingError
from postane.dns.knot_control import Control, Unit

BEGIN = b"\x01\x10\x00\nzone-begin\x11\x00\x00\x16\x00\x10catalog.postane.\x03"
SET = (
    b"\x01\x10\x00\x08zone-set\x11\x00\x00\x16\x00\x10catalog.postane.\x17\x00\x12x.catalog.postane."
    b"\x18\x00\x010\x19\x00\x03TXT\x1a\x00\x03a b\x03"
)
COMMIT = b"\x01\x10\x00\x0bzone-commit\x11\x00\x01B\x16\x00\x10catalog.postane.\x03"
RECORDS = (
    b"\x01\x16\x00\x07a.test.\x17\x00\x07a.test.\x18\x00\x0260\x19\x00\x02NS\x1a\x00\x03ns."
    b'\x01\x16\x00\x07a.test.\x17\x00\x09b.a.test.\x18\x00\x010\x19\x00\x03TXT\x1a\x00\x03"2"\x03'
)
MISSING = b"\x01\x10\x00\tzone-read\x11\x00\x00\x12\x00\x12no such zone found\x16\x00\x07nozone.\x03"


@contextmanager
def peer(path: Path, *answers: bytes) -> Iterator[list[bytes]]:
    """Answers each command with the next of `answers`; what it was told is the list, once the connection has ended."""
    told: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(1)

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                waiting = list(answers)
                while octets := connection.recv(65_536):
                    told.append(octets)
                    for _ in range(octets.count(b"\x01\x10\x00")):  # blocks that begin
                        if not waiting:
                            return
                        connection.sendall(waiting.pop(0))

        thread = threading.Thread(target=serve)
        thread.start()
        yield told
        thread.join(5)


def test_commands_go_out_as_its_own_client_writes_them(tmp_path: Path) -> None:
    with peer(tmp_path / "s", b"\x03", b"\x03", b"\x03") as told:
        control = Control(str(tmp_path / "s"), 5)
        zone = "catalog.postane."
        assert control.run([("zone-begin", zone), ("zone-set", zone, f"x.{zone}", "0", "TXT", "a b")]) == [[], []]
        assert control.run([("zone-commit", zone)], blocking=True) == [[]]
        control.close()
    assert b"".join(told) == BEGIN + SET + COMMIT + b"\x00"


def test_records_and_errors_come_back(tmp_path: Path) -> None:
    with peer(tmp_path / "s", RECORDS, MISSING):
        control = Control(str(tmp_path / "s"), 5)
        records, missing = control.run([("zone-read", "a.test."), ("zone-read", "nozone.")])
        control.close()
    assert records == [Unit("a.test.", "a.test.", "60", "NS", "ns."), Unit("a.test.", "b.a.test.", "0", "TXT", '"2"')]
    assert missing == [Unit("nozone.", error="no such zone found")]


def test_an_answer_in_single_octets_is_read_too(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen(1)
        control = Control(str(tmp_path / "s"), 5)
        connection, _ = server.accept()

        def drip() -> None:
            for octet in RECORDS:
                connection.sendall(bytes([octet]))

        thread = threading.Thread(target=drip)
        thread.start()
        assert len(control.run([("zone-read", "a.test.")])[0]) == 2
        thread.join()
        control.close()
        connection.close()


def test_more_commands_than_fit_into_the_buffers_do_not_wait_for_ever(tmp_path: Path) -> None:
    with peer(tmp_path / "s", *[b"\x03"] * 5000):
        control = Control(str(tmp_path / "s"), 5)
        assert len(control.run([("zone-begin", f"d{n}.test.") for n in range(5000)])) == 5000
        control.close()


@pytest.mark.parametrize("answer", [b"", b"\x00", b"\x16\x00\x01a\x03", b"\x09"])
def test_a_peer_that_speaks_otherwise_is_a_missing_service(tmp_path: Path, answer: bytes) -> None:
    with peer(tmp_path / "s", answer):
        control = Control(str(tmp_path / "s"), 0.5)
        with pytest.raises(ServiceMissingError, match="Knot"):
            control.run([("zone-read", "a.test.")])
        control.close()
