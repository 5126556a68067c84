"""Every finding has its words, in each language, and says what to do."""

from __future__ import annotations

import re

import pytest

from postane.domains.drift import Drift
from postane.domains.drift_cases import MOST_REPAIRS, Case
from postane.domains.drift_words import Language, todo, what

LANGUAGES: tuple[Language, ...] = ("en", "tr")


@pytest.mark.parametrize("kind", list(Drift))
def test_each_kind_is_told_in_each_language_with_what_it_is_about(kind: Drift) -> None:
    case = Case(kind, "SUBJECT", "DATA", 0, 0)
    told = [what(case, language) for language in LANGUAGES]
    assert len(set(told)) == 2
    for word in ("SUBJECT", "DATA"):
        assert len({word in one for one in told}) == 1
    assert all(todo(case, "shop.test", language) for language in LANGUAGES)
    assert not any(re.search(r"[{}]", f"{one} {todo(case, 'shop.test')}") for one in told)


def test_what_is_ours_can_be_put_back_until_somebody_insists() -> None:
    case = Case(Drift.MISSING, "a", "", 0, 0, ours=True)
    assert "--repair" in todo(case, "shop.test")
    assert "--repair" in todo(case, "shop.test", "tr")
    assert "again and again" in todo(Case(Drift.MISSING, "a", "", 0, 0, ours=True, repairs=MOST_REPAIRS), "shop.test")


def test_without_data_nothing_hangs_at_the_end() -> None:
    assert what(Case(Drift.ELSEWHERE, "", "", 0, 0)) == "the world asks other name servers than ours"
