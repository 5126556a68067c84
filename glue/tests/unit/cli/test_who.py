"""Who types."""

from __future__ import annotations

import pytest

from postane.cli.who import who


def test_who_did_it_is_known_behind_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ali")
    assert who() == "ali"
    monkeypatch.delenv("SUDO_USER")
    assert who()
