from __future__ import annotations

from postane.bounce.status import remote_name, unxtext, words
from postane.core.outcome import Outcome
from postane.core.reply import Reply


def test_words_are_one_line_of_bounded_length() -> None:
    outcome = Outcome.from_reply("a@b.test", Reply(550, "5.7.1", "a\nb\tç" + "x" * 5000))
    assert words(outcome).startswith("550 5.7.1 a b ç")
    assert words(outcome, utf8=False).startswith("550 5.7.1 a b ?")
    assert len(words(outcome)) == 700


def test_remote_name_without_its_address() -> None:
    assert remote_name(Outcome.from_reply("a", Reply(250, "", ""), "mx.x.test[192.0.2.1]")) == "mx.x.test"
    assert remote_name(Outcome.from_reply("a", Reply(250, "", ""), "lmtp")) == "lmtp"


def test_unxtext() -> None:
    assert unxtext("a+2Bb+3Dc") == "a+b=c"
