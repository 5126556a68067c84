"""Certificates on the disk: whoever reads meanwhile finds a whole one, whatever befalls the one who writes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from postane.core.errors import PermanentError, TemporaryError
from postane.tls.layout import version_of
from postane.tls.store import Store, held_at
from support.pebble import make_server_certificate

NAMES = ("mail.a.test", "autoconfig.a.test")


def pair(folder: Path, *names: str) -> tuple[bytes, bytes]:
    """Chain and key."""
    make_server_certificate(folder, *(names or NAMES), stem="made")
    return (folder / "made.pem").read_bytes(), (folder / "made.key").read_bytes()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


def test_what_is_put_is_found_by_each_of_its_names(store: Store, tmp_path: Path) -> None:
    held = store.put("a.test", NAMES, *pair(tmp_path))
    assert held.names == tuple(sorted(NAMES))
    assert store.read("a.test") == held
    assert store.places() == dict.fromkeys(NAMES, held.folder)
    assert [version_of(store.folder, name) for name in NAMES] == [store.folder / ".kept/a.test" / held.folder.name] * 2
    assert store.domains() == ["a.test"]
    assert (held.folder / "privkey.pem").stat().st_mode & 0o777 == 0o640
    assert (store.folder / ".kept").stat().st_mode & 0o007 == 0


def test_the_next_one_takes_its_place_for_all_names_in_one_step(store: Store, tmp_path: Path) -> None:
    first = store.put("a.test", NAMES, *pair(tmp_path))
    told = (store.folder / ".changed").read_bytes()
    second = store.put("a.test", NAMES[:1], *pair(tmp_path, NAMES[0]))
    assert store.places() == {NAMES[0]: second.folder}
    assert (store.folder / ".changed").read_bytes() != told
    assert held_at(first.folder) == first, "who is just reading the one before can go on"
    third = store.put("a.test", NAMES, *pair(tmp_path))
    assert not first.folder.exists()
    assert second.folder.exists()
    assert set(store.places().values()) == {third.folder}


def test_a_key_of_another_certificate_changes_nothing(store: Store, tmp_path: Path) -> None:
    held = store.put("a.test", NAMES, *pair(tmp_path))
    chain, _ = pair(tmp_path)
    _, key = pair(tmp_path)
    with pytest.raises(PermanentError, match="not of this key"):
        store.put("a.test", NAMES, chain, key)
    with pytest.raises(PermanentError, match="cannot be used"):
        store.put("a.test", NAMES, b"an error page", key)
    assert store.read("a.test") == held
    assert len([one for one in held.folder.parent.iterdir() if one.is_dir() and not one.is_symlink()]) == 1


@pytest.mark.parametrize("step", range(1, 22))
def test_whoever_is_killed_at_any_step_leaves_a_whole_certificate(
    store: Store, tmp_path: Path, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call that changes the disk is the last one once; the next run ends what was begun."""
    old = store.put("a.test", NAMES, *pair(tmp_path))
    chain, key = pair(tmp_path)
    left = step

    class KilledError(BaseException): ...

    def dies(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left <= 0:
                raise KilledError  # and nothing is tidied up any more: a process that is killed does not
            return real(*args, **more)

        return call

    with monkeypatch.context() as patch:
        for place, name in ((os, "fsync"), (Path, "rename"), (Path, "symlink_to"), (Path, "unlink"), (os, "open")):
            patch.setattr(place, name, dies(getattr(place, name)))
        patch.setattr("shutil.rmtree", dies(lambda *args, **more: None))
        try:
            store.put("a.test", NAMES, chain, key)
            whole = True
        except KilledError:
            whole = False
    found = store.read("a.test")
    assert found is not None
    assert whole is (left > 0)
    for name in NAMES:
        version = version_of(store.folder, name)
        assert version is not None
        assert held_at(version).serial in (old.serial, found.serial)
    again = store.put("a.test", NAMES, chain, key)
    store.settle({"a.test": NAMES})
    assert set(store.places().values()) == {again.folder}
    leftovers = [one.name for one in again.folder.parent.iterdir() if one.name.startswith(".new-")]
    assert [one for one in leftovers if (again.folder.parent / one).is_dir()] == []


def test_readers_never_meet_a_key_that_does_not_match(store: Store, tmp_path: Path) -> None:
    pairs = [pair(tmp_path) for _ in range(3)]
    store.put("a.test", NAMES, *pairs[0])
    stop, wrong, count = threading.Event(), [], 0

    def read() -> None:
        nonlocal count
        while not stop.is_set():
            version = version_of(store.folder, NAMES[0])
            try:
                assert version is not None
                held_at(version)
            except FileNotFoundError:
                continue  # two have taken its place meanwhile: a slow reader looks again
            except (OSError, ValueError, AssertionError) as error:
                wrong.append(repr(error))
            count += 1

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(30):
        store.put("a.test", NAMES, *pairs[number % 3])
    stop.set()
    reader.join()
    assert wrong == []
    assert count > 0


def test_one_run_at_a_time(store: Store) -> None:
    with (
        store.locked(),
        pytest.raises(TemporaryError, match="another process"),
        Store(store.folder.parents[1]).locked(),
    ):
        pass
    with store.locked():
        pass


def test_what_is_forgotten_leaves_nothing(store: Store, tmp_path: Path) -> None:
    store.put("a.test", NAMES, *pair(tmp_path))
    store.put("b.test", ("mail.b.test",), *pair(tmp_path, "mail.b.test"))
    assert store.forget("a.test")
    assert not store.forget("a.test")
    assert list(store.places()) == ["mail.b.test"]
    assert store.read("a.test") is None
    assert store.domains() == ["b.test"]


def test_names_are_put_right_in_one_go(store: Store, tmp_path: Path) -> None:
    held = {name: store.put(name, [f"mail.{name}"], *pair(tmp_path, f"mail.{name}")) for name in ("a.test", "b.test")}
    (store.folder / "mail.a.test").unlink()
    (store.folder / "webmail.b.test").symlink_to(".kept/b.test/current")
    told = (store.folder / ".changed").read_bytes()
    store.settle({"a.test": ["mail.a.test"], "b.test": ["mail.b.test"]})
    assert store.places() == {f"mail.{name}": one.folder for name, one in held.items()}
    assert (store.folder / ".changed").read_bytes() != told
    told = (store.folder / ".changed").read_bytes()
    store.settle({"a.test": ["mail.a.test"]})
    assert (store.folder / ".changed").read_bytes() == told, "nothing was wrong"
    assert len(store.places()) == 2


@pytest.mark.parametrize("name", ["../x.test", "/etc", ".kept", "a", "", "a/b.test", "A.test", "a..test", "a\0.test"])
def test_a_name_that_is_none_is_no_path(store: Store, tmp_path: Path, name: str) -> None:
    with pytest.raises(PermanentError, match="no domain name"):
        store.put(name, NAMES, *pair(tmp_path))
    if name != "a":
        assert version_of(store.folder, name) is None
