"""SPF: our word put into what stands there, no foreign one lost; and the count, with the evaluator as its witness."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.core.question import NO_SUCH_NAME, Answer, Evaluation, Question
from postane.domains import spf
from postane.domains.spf import Count, Merged, Ours
from postane.filters.auth.spf import Client, check_host
from postane.filters.auth.spf_record import Result

T = TypeVar("T")
World = Mapping[tuple[str, str], tuple[str, ...] | Answer]

DOMAIN = "shop.test"
OURS = Ours("mx", equal=("a:mail.host.test",), cheap=("ip4:192.0.2.1", "ip6:2001:db8::1"))
WORLD: dict[tuple[str, str], tuple[str, ...] | Answer] = {
    ("shop.test", "MX"): ("mail.host.test",),
    ("shop.test", "A"): ("192.0.2.9",),
    ("mail.host.test", "A"): ("192.0.2.1",),
    ("one.test", "TXT"): ("v=spf1 ip4:198.51.100.0/24 -all",),
    ("three.test", "TXT"): ("v=spf1 include:one.test include:one.test ?all",),
    ("nine.test", "TXT"): ("v=spf1 " + "include:one.test " * 8 + "~all",),
    ("ten.test", "TXT"): ("v=spf1 " + "include:one.test " * 9 + "~all",),
    ("loop.test", "TXT"): ("v=spf1 include:loop.test -all",),
    ("two.test", "TXT"): ("v=spf1 -all", "v=spf1 ~all"),
    ("bad.test", "TXT"): ("v=spf1 ipv4:192.0.2.1 -all",),
    ("slow.test", "TXT"): Answer(failed="DNS: no answer about slow.test TXT"),
    ("many.test", "MX"): tuple(f"h{number}.test" for number in range(11)),
    ("voids.test", "TXT"): ("v=spf1 a:gone1.test a:gone2.test a:gone3.test -all",),
}


def answered(evaluation: Evaluation[T], world: World = WORLD) -> T:
    try:
        question = next(evaluation)
        while True:
            question = evaluation.send(_answer(question, world))
    except StopIteration as done:
        result: T = done.value
        return result


def _answer(question: Question, world: World) -> Answer:
    found = world.get((question.name.lower(), question.kind))
    if isinstance(found, Answer):
        return found
    return Answer(found) if found else NO_SUCH_NAME


def merged(*texts: str, ours: Ours = OURS) -> Merged:
    return answered(spf.merge(DOMAIN, texts, ours))


def count(text: str) -> Count:
    return answered(spf.counted(DOMAIN, text))


def test_a_domain_without_a_record_gets_one() -> None:
    found = merged("google-site-verification=x", "v=spf10 is another thing")
    assert (found.standing, found.text, found.words) == ("new", "v=spf1 mx -all", ("mx",))
    assert found.count is not None
    assert (found.count.lookups, found.count.void_lookups) == (1, 0)


@pytest.mark.parametrize(
    ("standing", "becomes"),
    [
        ("v=spf1 -all", "v=spf1 mx -all"),
        ("v=spf1", "v=spf1 mx"),
        ("v=spf1 ip4:198.51.100.7", "v=spf1 ip4:198.51.100.7 mx"),
        ("v=spf1 include:one.test ~all", "v=spf1 include:one.test mx ~all"),
        ("v=spf1 include:one.test ?all", "v=spf1 include:one.test mx ?all"),
        ("v=spf1 include:one.test +all", "v=spf1 include:one.test mx +all"),
        ("v=spf1 include:one.test all", "v=spf1 include:one.test mx all"),
        ("V=SPF1 INCLUDE:One.Test -ALL", "V=SPF1 INCLUDE:One.Test mx -ALL"),
        ("v=spf1 redirect=one.test", "v=spf1 mx redirect=one.test"),
        ("v=spf1 a redirect=one.test", "v=spf1 a mx redirect=one.test"),
        ("v=spf1 redirect=one.test a", "v=spf1 redirect=one.test a mx"),
        ("v=spf1 exp=why.test a -all", "v=spf1 exp=why.test a mx -all"),
        ("v=spf1 a -all exp=why.test", "v=spf1 a mx -all exp=why.test"),
        ("v=spf1 exists:%{i}._spf.%{d} -all", "v=spf1 exists:%{i}._spf.%{d} mx -all"),
        ("v=spf1 -ip4:192.0.2.0/24 a -all", "v=spf1 mx -ip4:192.0.2.0/24 a -all"),
        ("v=spf1 a ?include:one.test -all", "v=spf1 a mx ?include:one.test -all"),
        ("v=spf1  a   -all ", "v=spf1  a   mx -all "),
        ("v=spf1 a -all mx", "v=spf1 a mx -all mx"),
        ("v=spf1 a -mx -all", "v=spf1 a mx -mx -all"),
        ("v=spf1 future=%{d} a ~all", "v=spf1 future=%{d} a mx ~all"),
        ("v=spf1 mx:old.test ~all", "v=spf1 mx:old.test mx ~all"),
        ("v=spf1 ip4:192.0.2.1 ~all", "v=spf1 ip4:192.0.2.1 mx ~all"),
    ],
)
def test_our_word_goes_in_front_of_what_could_decide_before_it(standing: str, becomes: str) -> None:
    found = merged(standing)
    assert (found.standing, found.text, found.words) == ("merged", becomes, ("mx",))
    assert spf.without(DOMAIN, found.text, found.words) == standing


@pytest.mark.parametrize(
    ("standing", "word"),
    [
        ("v=spf1 mx -all", "mx"),
        ("v=spf1 +MX ~all", "+MX"),
        ("v=spf1 mx:shop.test. ~all", "mx:shop.test."),
        ("v=spf1 a mx", "mx"),
        ("v=spf1 include:one.test a:MAIL.host.test -all", "a:MAIL.host.test"),
        ("v=spf1 ip4:192.0.2.1 ip6:2001:DB8:0::1 -all", "ip6:2001:DB8:0::1"),
        ("v=spf1 ip6:2001:db8::1/128 a ip4:192.0.2.1/32 -all", "ip4:192.0.2.1/32"),
    ],
)
def test_what_says_it_already_stays_as_it_is(standing: str, word: str) -> None:
    found = merged(standing)
    assert (found.standing, found.text, found.words) == ("keeps", standing, (word,))


@pytest.mark.parametrize(
    ("texts", "problem", "way"),
    [
        (("v=spf1 -all", "v=spf1 include:one.test ~all"), "2 SPF records", "v=spf1 include:one.test mx -all"),
        (("v=spf1 mx -all", "V=spf1"), "2 SPF records", "v=spf1 mx -all"),
        (("v=spf1 ip4:1.2.3 -all",), "cannot be read", "repair it"),
        (("v=spf1 include:müze.test -all",), "cannot be read", "A-labels"),
        (("v=spf1 redirect=a.test redirect=b.test",), "stands twice", "repair it"),
        (("v=spf1 ip4:1.2.3.4/33 -all",), "32 bits", "repair it"),
        (("v=spf1 include:gone.test -all",), "leads to no SPF record", "take the term out"),
        (("v=spf1 include:two.test -all",), "leads to 2 SPF records", "take the term out"),
        (("v=spf1 include:loop.test -all",), "back to itself", "take the term out"),
        (("v=spf1 include:bad.test -all",), "bad.test cannot be read", "take the term out"),
        (("v=spf1 redirect=gone.test",), "leads to no SPF record", "take the term out"),
        (("v=spf1 mx:many.test -all",), "more than 10 MX", "take the term out"),
        (("v=spf1 include:slow.test -all",), "cannot be counted now", "when the DNS answers"),
        (("v=spf1 include:ten.test -all",), "11 of 10 look-ups", "v=spf1 include:ten.test ip4:192.0.2.1 ip6:2001:db8"),
        (("v=spf1 include:nine.test a -all",), "11 of 10 look-ups", "remove include:nine.test if nobody"),
        (("v=spf1 include:nine.test redirect=one.test",), "11 of 10 look-ups", "remove redirect=one.test"),
        (("v=spf1 include:ten.test mx -all",), "11 of 10 look-ups", "subdomain"),
        (("v=spf1 a:gone1.test a:gone2.test exists:gone3.test -all",), "3 of 2 empty", "have no records"),
        (("v=spf1 include:voids.test -all",), "3 of 2 empty", "have no records"),
    ],
)
def test_what_would_break_the_record_is_refused_with_the_ways_out(
    texts: tuple[str, ...], problem: str, way: str
) -> None:
    found = merged(*texts)
    assert found.standing == "conflict"
    assert problem in found.problem
    assert any(way in one for one in found.ways_out), found.ways_out


def test_ten_look_ups_and_two_empty_answers_are_allowed() -> None:
    found = merged("v=spf1 include:nine.test a:gone1.test a:gone2.test -all", ours=Ours("ip4:192.0.2.1"))
    assert found.standing == "conflict"  # eleven
    found = merged("v=spf1 include:nine.test a:gone1.test -all", ours=Ours("ip4:192.0.2.1"))
    assert (found.standing, found.count and (found.count.lookups, found.count.void_lookups)) == ("merged", (10, 1))
    found = merged("v=spf1 a:gone1.test a:gone2.test -all")
    assert (found.standing, found.count and found.count.void_lookups) == ("merged", 2)


@pytest.mark.parametrize(
    ("text", "lookups", "by_term"),
    [
        ("v=spf1 ip4:1.2.3.4 -all", 0, ()),
        ("v=spf1 a mx -all", 2, (("a", 1), ("mx", 1))),
        ("v=spf1 include:three.test -all", 3, (("include:three.test", 3),)),
        ("v=spf1 a -all include:three.test redirect=three.test", 1, (("a", 1),)),  # nothing behind all is reached
        ("v=spf1 redirect=three.test", 3, (("redirect=three.test", 3),)),
        ("v=spf1 exp=why.test -all", 0, ()),
        ("v=spf1 ptr -all", 1, (("ptr", 1),)),
    ],
)
def test_the_count_tells_what_each_term_brings_in(
    text: str, lookups: int, by_term: tuple[tuple[str, int], ...]
) -> None:
    found = count(text)
    assert (found.lookups, found.by_term, found.broken) == (lookups, by_term, "")


def test_what_hangs_on_the_mail_is_told_as_a_lower_bound() -> None:
    found = merged("v=spf1 include:%{d2}._spf.test exists:%{i}.test -all")
    assert found.standing == "merged"
    assert found.count is not None
    assert found.count.lookups == 3
    assert str(found.count) == "at least 3 of 10 look-ups, 0 of 2 empty answers"


def test_a_record_that_stays_is_no_conflict_for_an_answer_that_is_missing_now() -> None:
    found = merged("v=spf1 mx include:slow.test -all")
    assert found.standing == "keeps"
    assert "not counted" in found.notes[-1]


@pytest.mark.parametrize(
    ("standing", "note"),
    [
        ("v=spf1 -all", "sends no mail"),
        ("v=spf1 a +all", "everybody"),
        ("v=spf1 a -all redirect=one.test", "no effect"),
        ("v=spf1 ptr -all", "ptr"),
        ("v=spf1 " + " ".join(f"ip4:198.51.100.{n}" for n in range(30)) + " -all", "TCP"),
    ],
)
def test_what_the_owner_should_know_is_told(standing: str, note: str) -> None:
    assert any(note in one for one in merged(standing).notes)


def test_words_that_are_not_ours_stay_when_we_leave() -> None:
    assert spf.without(DOMAIN, "v=spf1 a MX -all", ["mx"]) == "v=spf1 a -all"
    assert spf.without(DOMAIN, "v=spf1 a -mx mx:other.test -all", ["mx"]) == "v=spf1 a -mx mx:other.test -all"


_TERMS = st.sampled_from(
    [
        "a",
        "mx",
        "a:gone1.test",
        "mx:gone2.test",
        "include:one.test",
        "include:three.test",
        "exists:gone3.test",
        "ip4:203.0.113.0/24",
        "?include:nine.test",
        "-a:mail.host.test",
        "~ip6:2001:db8::/32",
        "include:gone.test",
    ]
)
_ENDS = st.sampled_from(["-all", "~all", "?all", "", "redirect=one.test", "redirect=gone.test"])


@given(st.lists(_TERMS, max_size=7), _ENDS)
def test_the_evaluator_counts_the_same(terms: list[str], end: str) -> None:
    """A client that no term matches; the evaluator stops where a limit is passed, so figures up to there."""
    text = " ".join(["v=spf1", *terms, *([end] if end else [])])
    ours = count(text)
    client = Client(ip_address("100.64.9.9"), "client.test", f"x@{DOMAIN}")
    theirs = answered(check_host(client), {**WORLD, (DOMAIN, "TXT"): (text,)})
    if theirs.result is Result.PERMERROR:
        assert not ours.passes
    else:
        assert ours.passes
        assert (ours.lookups, ours.void_lookups) == (theirs.lookups, theirs.void_lookups)


@given(st.lists(_TERMS, max_size=7), _ENDS)
def test_no_foreign_word_is_lost_and_ours_comes_first_enough(terms: list[str], end: str) -> None:
    standing = " ".join(["v=spf1", *terms, *([end] if end else [])])
    found = spf.put_in(DOMAIN, [standing], Ours("a:our.test"))
    assert found.standing == "merged"
    assert spf.without(DOMAIN, found.text, found.words) == standing
    client = Client(ip_address("192.0.2.77"), "client.test", f"x@{DOMAIN}")
    world = {("our.test", "A"): ("192.0.2.77",), ("gone.test", "TXT"): ("v=spf1 -all",)}
    world |= {(DOMAIN, "TXT"): (found.text,)}
    checked = answered(check_host(client), {**WORLD, **world})
    if checked.result is Result.PERMERROR:
        assert checked.lookups > 10 or checked.void_lookups > 2
    else:
        assert checked.result is Result.PASS
