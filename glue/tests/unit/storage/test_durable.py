"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from postane.storage.durable import write_file


def test_content_and_name_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content before the name, the name before anybody is told."""
    file = tmp_path / "key.pem"
    steps: list[str] = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        what = Path(f"/proc/self/fd/{fd}").readlink()
        steps.append("folder" if what == tmp_path else "content")
        assert file.exists() == (what == tmp_path)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noted)
    write_file(file, b"octets", tmp_path)
    assert steps == ["content", "folder"]
    assert file.read_bytes() == b"octets"
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_failure_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(b"old")

    def broken(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output"):
        write_file(file, b"new")
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]
