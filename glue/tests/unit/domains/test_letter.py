"""The letter to whoever keeps the DNS: in both languages, with every record, and nothing left unfilled."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from postane.dns.records import Record
from postane.domains.desired import Facts, desired
from postane.domains.kinds import Kind
from postane.domains.letter import _WORDS, LANGUAGES, letter
from postane.domains.plan import Owned, Plan, make_plan
from postane.domains.snapshot import Snapshot

D = "xn--mze-hoa.test"
FACTS = Facts(D, "mail.host.test", (("p-rsa-1", "v=DKIM1; k=rsa; p=" + "A" * 392),), mta_sts_id="1")
TOKEN = Record(f"_postane-challenge.{D}", "TXT", '"postane-verification=1"')


def made(*records: Record, take: tuple[Kind, ...] = ()) -> Plan:
    owned = [Owned(TOKEN, Kind.VERIFICATION)]
    return make_plan(desired(FACTS), Snapshot(D, D, (), records), owned, take=take)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_change_is_in_it_as_a_form_wants_it(language: str) -> None:
    plan = made(Record(D, "MX", "10 mx.old.test."), Record(D, "TXT", '"v=spf1 a -all"'), TOKEN, take=(Kind.MX,))
    text = letter(plan, "mail.host.test", "Host AG", language)
    assert "müze.test" in text
    assert "xn--" not in text.replace("postmaster@xn--mze-hoa.test", "")
    assert "{" not in text
    for value in ("10 mail.host.test.", "10 mx.old.test.", "v=spf1 a mx -all", "A" * 392, "0 1 993 mail.host.test."):
        assert value in text
    assert "  _postane-challenge\n" in text
    assert "@\n" in text
    assert _WORDS[language].spf in text
    assert text.rstrip().endswith("Host AG")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_conflict_is_told_and_nothing_to_do_is_told_too(language: str) -> None:
    text = letter(made(Record(D, "MX", "10 mx.old.test.")), "mail.host.test", "x", language)
    assert _WORDS[language].conflict in text
    assert "10 mx.old.test." in text
    assert "--take" not in text  # the operator's affair
    full = made()
    records = tuple(full.add)
    nothing = make_plan(desired(FACTS), Snapshot(D, D, (), records), ())
    assert _WORDS[language].nothing in letter(nothing, "mail.host.test", "x", language)


def test_no_word_is_missing_or_the_same_in_another_language() -> None:
    english, turkish = _WORDS["en"], _WORDS["tr"]
    for field in fields(english):
        assert getattr(turkish, field.name)
        assert getattr(turkish, field.name) != getattr(english, field.name)
    assert replace(english) == english
