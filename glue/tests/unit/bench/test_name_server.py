"""The name server of the benchmark: one answer to every question, and a well-formed one."""

from __future__ import annotations

import contextlib
import socket

import pytest
from bench.name_server import NXDOMAIN, SERVFAIL, NameServer


@pytest.mark.parametrize("rcode", [SERVFAIL, NXDOMAIN])
def test_it_answers_with_its_code_to_the_question_it_was_asked(rcode: int) -> None:
    question = b"\x12\x34\x01\0\0\1\0\0\0\0\0\1\3far\4test\0\0\x0f\0\1\0\0\x29\4\xd0\0\0\0\0\0\0"
    with (
        contextlib.closing(NameServer(rcode)) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
    ):
        one.settimeout(5)
        one.sendto(question, ("127.0.0.1", server.port))
        answer = one.recv(512)
    flags = bytes((0x81, 0x80 | rcode))
    assert answer == b"\x12\x34" + flags + b"\0\1\0\0\0\0\0\0\3far\4test\0\0\x0f\0\1"
