from postane.core.reply import Reply
from postane.core.verdict import ACCEPT, Decision, Verdict, combine

SPAM = Verdict(Decision.REJECT, "spam", Reply(554, "5.7.1", "Spam"), (("X-Score", "9"),), 9.0, opinion=True)
VIRUS = Verdict(Decision.QUARANTINE, "a virus")
WANTED = Verdict(trust=True, why="a friend")


def test_the_strongest_decides_and_all_leave_their_marks() -> None:
    said = combine([Verdict(headers=(("A", "1"),), score=1.5, copies=("a@x", "b@x")), SPAM, Verdict(copies=("a@x",))])
    assert (said.decision, said.why, said.reply) == (Decision.REJECT, "spam", SPAM.reply)
    assert said.headers == (("A", "1"), ("X-Score", "9"))
    assert said.score == 10.5
    assert said.copies == ("a@x", "b@x")
    assert combine([]) == ACCEPT


def test_an_opinion_does_not_count_against_one_who_is_wanted() -> None:
    said = combine([SPAM, WANTED])
    assert said.decision is Decision.ACCEPT
    assert said.trust
    assert said.headers == (("X-Score", "9"),)


def test_what_is_no_opinion_counts_all_the_same() -> None:
    said = combine([SPAM, WANTED, VIRUS])
    assert (said.decision, said.why) == (Decision.QUARANTINE, "a virus")


def test_trust_that_was_given_before_the_text_may_be_taken_back_by_it() -> None:
    given, taken = Verdict(trust=True, provisional=True), Verdict(provisional=True)
    assert combine([given, SPAM]).decision is Decision.ACCEPT
    assert combine([given, SPAM, taken]).decision is Decision.REJECT
    assert not combine([given, taken]).trust
    assert combine([given, SPAM, taken, WANTED]).decision is Decision.ACCEPT
    assert combine([taken, SPAM]).decision is Decision.REJECT
