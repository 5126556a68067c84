from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from postane.admin import quarantine
from postane.config.model import Config, Quarantine
from postane.core.errors import AddressError, ConfigError, NotFoundError, PermanentError, ServiceMissingError
from postane.quarantine.items import Selection
from postane.quarantine.store import FOLDER, Store
from support.quarantine import make_fresh

TEXT = "From: x\r\nSubject: \x1b[31mred\r\n\r\nmerhaba \u202edünya\r\n".encode()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    store = Store(tmp_path / FOLDER)
    for number, mailbox in ((1, "ayse@demo.test"), (2, "ali@demo.test"), (2, "ayse@demo.test")):
        fresh = make_fresh(number, mailbox, size=len(TEXT))
        store.check_room()
        assert store.write_texts([(fresh.spool_id, [TEXT])]) == [None]
        store.index.add([fresh], most_octets=1 << 40, most_items=100)
    store.close()
    return Config(
        host="mail.demo.test",
        state=str(tmp_path),
        runtime=str(tmp_path),
        quarantine=Quarantine(learn_url="http://127.0.0.1:1"),
    )


def states(config: Config) -> list[str]:
    return [item.state for item in quarantine.every(config, Selection()).items]


def test_names_are_meant_in_any_spelling() -> None:
    wanted = quarantine.selection(account="Çiğdem@DEMO.test", domain="Şişli.test")
    assert (wanted.account, wanted.domain) == ("çiğdem@demo.test", "xn--ili-rzab.test")
    with pytest.raises(AddressError):
        quarantine.selection(account="nobody")


def test_list_counts_all_and_shows_some(config: Config) -> None:
    found = quarantine.every(config, quarantine.selection(account="ayse@demo.test"), 1)
    assert (found.count, len(found.items)) == (2, 1)


def test_nothing_was_ever_kept(tmp_path: Path) -> None:
    empty = Config(host="mail.demo.test", state=str(tmp_path))
    assert quarantine.every(empty, Selection()).count == 0


def test_show_is_safe_for_a_terminal(config: Config) -> None:
    view = quarantine.show(config, "1")
    assert view.headers == "From: x\nSubject: [31mred"
    assert view.preview == "merhaba dünya"
    with pytest.raises(NotFoundError, match="99"):
        quarantine.show(config, "99")
    next(Path(config.state).glob(f"{FOLDER}/texts/*/{1:026}")).unlink()
    assert "gone" in quarantine.show(config, "1").trouble


def test_delete_and_restore(config: Config) -> None:
    wanted = quarantine.selection(account="ayse@demo.test")
    assert quarantine.delete(config, wanted, by="ali", now=lambda: 5.0, dry_run=True).count == 2
    assert states(config) == ["held"] * 3
    assert quarantine.delete(config, wanted, by="ali", now=lambda: 5.0).count == 2
    assert sorted(states(config)) == ["deleted", "deleted", "held"]
    with pytest.raises(NotFoundError, match="1 is deleted"):
        quarantine.delete(config, quarantine.selection(["1"]), by="ali", now=lambda: 5.0)
    assert quarantine.restore(config, wanted, by="ali", now=lambda: 6.0).count == 2
    with pytest.raises(NotFoundError, match="nothing of that is deleted"):
        quarantine.restore(config, quarantine.selection(["1"]), by="ali", now=lambda: 6.0)


def test_each_text_is_taught_once(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    taught: list[tuple[str, bytes]] = []

    def learn(url: str, password: str, kind: str, pieces: Sequence[bytes], *, recipient: str) -> bool:
        if len(taught) == 1:
            taught.append(("", b""))
            raise PermanentError("refused")
        taught.append((kind, b"".join(pieces)))
        return True

    monkeypatch.setattr(quarantine, "learn", learn)
    assert quarantine.teach(config, Selection(), "spam", dry_run=True).count == 2
    assert not taught
    done = quarantine.teach(config, Selection(), "spam")
    assert (done.count, done.failed) == (1, ("3: not learned: refused",))
    assert taught[0] == ("spam", TEXT)
    assert [item.learned for item in quarantine.every(config, Selection()).items] == ["spam", "", ""]


def test_without_a_teacher_nothing_is_sent(config: Config) -> None:
    alone = Config(host="mail.demo.test", state=config.state, runtime=config.runtime)
    with pytest.raises(ConfigError, match="learn_url"):
        quarantine.teach(alone, Selection(), "spam")
    with pytest.raises(ConfigError, match="learn_url"):
        quarantine.release(alone, Selection(), by="ali", teach=True)


def test_without_the_queue_it_says_so(config: Config) -> None:
    with pytest.raises(ServiceMissingError, match=r"queue\.sock"):
        quarantine.release(config, Selection(), by="ali")
    with pytest.raises(ServiceMissingError):
        quarantine.digest(config, "ayse@demo.test")
    with pytest.raises(ServiceMissingError):
        quarantine.sweep(config)
