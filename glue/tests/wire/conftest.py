"""One service for all dialogues of a file, and a fresh connection for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support import clamd
from support.wire import Line, Wire


@pytest.fixture(scope="session")
def scanner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[clamd.Clamd]:
    """A real clamd."""
    if clamd.installed() is None:
        pytest.skip(clamd.MISSING)
    service = clamd.Clamd(tmp_path_factory.mktemp("clamd"))
    yield service
    service.stop()


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    service = Wire(tmp_path_factory.mktemp("wire"))
    yield service
    service.close()


@pytest.fixture
def line(wire: Wire) -> Iterator[Line]:
    wire.mail()
    connection = Line(wire)
    yield connection
    connection.close()
