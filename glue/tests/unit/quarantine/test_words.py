from __future__ import annotations

import re
from string import Formatter

import pytest

from postane.quarantine.words import LANGUAGES, WORDS, Words, choose


def _values(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_every_language_says_everything_with_the_same_values() -> None:
    english = WORDS["en"]
    for language in LANGUAGES:
        words = WORDS[language]
        assert words.keys() == english.keys()
        for key, text in words.items():
            assert text.strip() == text, key
            assert text, key
            # "One" may be said in words.
            assert _values(text) == _values(english[key]), key


def test_languages_differ() -> None:
    same = {key for key, text in WORDS["en"].items() if WORDS["tr"][key] == text}
    assert not same


def test_turkish_is_turkish() -> None:
    whole = " ".join(WORDS["tr"].values())
    assert set("çğıöşüİ") <= set(whole)
    assert not re.search(r"[\ufffd\u0307]", whole)


def test_one_and_many() -> None:
    words = Words("en")
    assert words("digest.subject", count=1) == "1 message waits in your quarantine"
    assert words("digest.subject", count=2) == "2 messages wait in your quarantine"
    assert Words("tr")("digest.subject", count=2) == "Karantinanızda 2 ileti bekliyor"
    assert Words("xx").language == "en"


@pytest.mark.parametrize(
    ("octets", "en", "tr"),
    [(0, "1 KiB", "1 KiB"), (1025, "2 KiB", "2 KiB"), (1_572_864, "1.5 MiB", "1,5 MiB")],
)
def test_sizes(octets: int, en: str, tr: str) -> None:
    assert (Words("en").size(octets), Words("tr").size(octets)) == (en, tr)


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("tr", "tr"),
        ("tr-TR,tr;q=0.9,en;q=0.8", "tr"),
        ("en;q=0.5, TR;q=0.7", "tr"),
        ("de, fr;q=0.9, en;q=0.1", "en"),
        ("de", "en"),
        ("tr;q=0", "en"),
        ("tr;q=rubbish", "en"),
        ("*;q=0.5,tr;q=0.1", "tr"),
        (",;,;q=", "en"),
    ],
)
def test_the_language_of_a_browser(accepted: str, language: str) -> None:
    assert choose(accepted) == language
