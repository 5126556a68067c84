from __future__ import annotations

from postane.core.outcome import Fate, Outcome, Progress, Tried
from postane.core.reply import Reply
from postane.queue import shared
from postane.queue.shared import Shared


def progress(number: int, text: str = "come back later") -> Progress:
    address = f"{number}@x.test"
    outcome = Outcome(f"{number}@x.test", Fate.DELAYED, Reply(451, "4.7.1", "".join(text)), f"mx.x.{'test'}")
    return Progress({address: Tried(outcome, 3, 77.5)}, warned=True)


def test_equal_words_are_one_object_and_nothing_is_changed() -> None:
    one = Shared()
    first, second = (one.progress(progress(n), {}) for n in (1, 2))
    assert (first, second) == (progress(1), progress(2))
    a, b = first.recipients["1@x.test"].outcome, second.recipients["2@x.test"].outcome
    assert a.reply is b.reply
    assert a.remote is b.remote


def test_address_is_the_envelopes_own() -> None:
    own = "".join(["1@x", ".test"])
    found = Shared().progress(progress(1), {own: own})
    ((key, tried),) = found.recipients.items()
    assert key is own
    assert tried.outcome.recipient is own


def test_servers_that_never_say_the_same_twice_fill_nothing() -> None:
    one = Shared()
    for number in range(shared._KEPT + 10):
        one.progress(progress(number, f"ticket {number}"), {})
    assert len(one._replies) <= shared._KEPT
