from __future__ import annotations

from postane.core.reply import Reply
from postane.delivery.words import reply_of, silence


def test_enhanced_code_is_kept_once() -> None:
    assert reply_of(550, ["5.7.1 No", "5.7.1 see https://x"]) == Reply(550, "5.7.1", "No\nsee https://x")
    assert reply_of(250, ["plain", "2.0.0 odd"]) == Reply(250, "", "plain\n2.0.0 odd")
    assert reply_of(250, []) == Reply(250, "", "")


def test_silence_has_words() -> None:
    assert silence(TimeoutError(), "no answer") == "no answer"
    assert silence(ConnectionRefusedError(111, "Connection refused"), "x") == "Connection refused"
    assert silence(ValueError(), "x") == "ValueError"
