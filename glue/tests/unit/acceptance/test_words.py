from __future__ import annotations

import ast
import datetime
import inspect
import re
from pathlib import Path
from string import Formatter

import pytest

from postane import acceptance
from postane.acceptance.checks import NAMES
from postane.acceptance.words import LANGUAGES, WORDS, Words

SOURCES = sorted(Path(inspect.getfile(acceptance)).parent.glob("*.py"))


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
            assert _values(text) == _values(english[key]), key


def test_languages_differ() -> None:
    same = {key for key, text in WORDS["en"].items() if WORDS["tr"][key] == text}
    assert same == {"reason.said"}


def test_turkish_is_turkish() -> None:
    assert set("çğıöşüİ") <= set(" ".join(WORDS["tr"].values()))


def test_each_check_has_its_words_and_no_other() -> None:
    for start in ("check.", "did."):
        assert {key.removeprefix(start) for key in WORDS["en"] if key.startswith(start)} == set(NAMES)
    assert {name.partition(".")[0] for name in NAMES} == {k[6:] for k in WORDS["en"] if k.startswith("group.")}


def _raised() -> dict[str, set[str]]:
    """Reasons in the code, with the values that are given to them."""
    found: dict[str, set[str]] = {}
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in ("FailedError", "SkippedError", "__init__", "_refused"):
                for one in ast.walk(node.args[-1]):
                    if isinstance(one, ast.Constant) and isinstance(one.value, str) and one.value.isidentifier():
                        given = {"said"} if name == "_refused" else {word.arg or "" for word in node.keywords}
                        found.setdefault(one.value, set()).update(given)
    return found


def test_each_reason_has_its_words_and_its_values() -> None:
    raised = _raised()
    told = {
        key.removeprefix("reason."): _values(text) for key, text in WORDS["en"].items() if key.startswith("reason.")
    }
    assert raised.keys() == told.keys()
    for key, values in told.items():
        assert values <= raised[key], key


def test_a_reason_of_a_later_version_is_told_all_the_same() -> None:
    assert Words("tr").reason("new_one", {"a": "x", "b": "y"}) == "new_one x y"
    assert Words("tr").reason("", {}) == ""


@pytest.mark.parametrize(
    ("language", "at", "seconds"), [("en", "2026-01-02 03:04 UTC", "1.2 s"), ("tr", "02.01.2026 03:04 UTC", "1,2 sn")]
)
def test_times(language: str, at: str, seconds: str) -> None:
    words = Words(next(one for one in LANGUAGES if one == language))
    moment = datetime.datetime(2026, 1, 2, 4, 4, tzinfo=datetime.timezone(datetime.timedelta(hours=1)))
    assert (words.time(moment), words.seconds(1234)) == (at, seconds)


def test_no_text_is_wider_than_its_gap() -> None:
    for language in LANGUAGES:
        assert all(len(text) < 60 for key, text in WORDS[language].items() if key.startswith("check."))
        assert not any(re.search(r"\s{2}", text) for text in WORDS[language].values())
