from __future__ import annotations

import msgspec
import pytest

from postane.core.outcome import Fate, Outcome, Progress, Tried
from postane.core.reply import Reply


@pytest.mark.parametrize(
    ("code", "fate"), [(250, Fate.DELIVERED), (451, Fate.DELAYED), (550, Fate.FAILED), (600, Fate.FAILED)]
)
def test_reply_decides_the_fate(code: int, fate: Fate) -> None:
    assert Outcome.from_reply("a@b.test", Reply(code, "", "x")).fate is fate


def tried(address: str, code: int, **more: object) -> Tried:
    return Tried(Outcome.from_reply(address, Reply(code, "", "x")), **more)  # type: ignore[arg-type]


def test_state_is_the_fold_of_updates() -> None:
    first = Progress({"a@b.test": tried("a@b.test", 451, next_attempt=9.0)}, held=True)
    second = Progress({"a@b.test": tried("a@b.test", 250, attempts=2), "c@b.test": tried("c@b.test", 550)})
    state = Progress().merged(first).merged(second).merged(Progress(warned=True)).merged(Progress(held=False))
    assert state.recipients["a@b.test"].attempts == 2
    assert state.recipients["c@b.test"].outcome.fate is Fate.FAILED
    assert state.warned is True
    assert state.held is False
    assert state.merged(second) == state, "an update read twice does no harm"


def test_progress_goes_through_json() -> None:
    state = Progress({"ç@b.test": tried("ç@b.test", 451, next_attempt=9.5)}, warned=True)
    assert msgspec.json.decode(msgspec.json.encode(state), type=Progress) == state
