"""Each language has all words, with the same values in them."""

from __future__ import annotations

import re

from postane.clients.words import LANGUAGES, WORDS


def test_the_languages_are_equal() -> None:
    holes = [{key: set(re.findall(r"{\w+}", text)) for key, text in WORDS[one].items()} for one in LANGUAGES]
    assert all(one == holes[0] for one in holes)
