"""What becomes of a message: the truth table of decisions, policies, and kinds of recipients."""

from __future__ import annotations

import pytest

from postane.core.envelope import Recipient
from postane.core.reply import Reply
from postane.core.verdict import ACCEPT, Decision, Ruling, Suspect, Verdict
from postane.smtpd.filing import Parcel, Refusal, file

AYSE, MEHMET = Recipient("ayse@x.test", "ayse@x.test"), Recipient("mehmet@x.test", "info@x.test")
FAR = Recipient("friend@far.test", "forward@x.test", kind="remote")
NO = Verdict(Decision.REJECT, "bad", Reply(554, "5.7.1", "Bad"), score=9.5, by="words")
LATER = Verdict(Decision.DEFER, "clamd is away", Reply(451, "4.7.1", "Later"))
SPAM = Verdict(Decision.QUARANTINE, "spam: çok\r\nfena", headers=(("X-Score", "7"),), score=7.0)
GOOD = Verdict(headers=(("X-Score", "1"),))


def filed(*rulings: Ruling, own: bool = False) -> list[Parcel]:
    found = file(rulings, own=own)
    assert not isinstance(found, Refusal)
    return found


def test_recipients_with_the_same_marks_share_a_parcel() -> None:
    assert filed(Ruling((AYSE,), GOOD), Ruling((MEHMET,), GOOD)) == [Parcel((AYSE, MEHMET), GOOD.headers)]
    assert filed(Ruling((AYSE,), GOOD), Ruling((MEHMET,), ACCEPT)) == [Parcel((AYSE,), GOOD.headers), Parcel((MEHMET,))]


def test_it_is_refused_only_if_everybody_refuses_it() -> None:
    assert file([Ruling((AYSE,), NO), Ruling((MEHMET,), NO)], own=False) == Refusal(Reply(554, "5.7.1", "Bad"), "bad")
    taken, withheld = filed(Ruling((AYSE,), GOOD), Ruling((MEHMET,), NO))
    assert taken == Parcel((AYSE,), GOOD.headers)
    assert [(one.address, one.kind) for one in withheld.recipients] == [("mehmet@x.test", "quarantine")]
    assert withheld.extra == {"quarantine": "bad", "score": "9.5", "filter": "words"}


def test_one_who_has_to_wait_makes_all_wait() -> None:
    for rulings in ([Ruling((AYSE,), GOOD), Ruling((MEHMET,), LATER)], [Ruling((AYSE,), NO), Ruling((MEHMET,), LATER)]):
        assert file(rulings, own=False) == Refusal(Reply(451, "4.7.1", "Later"), "clamd is away")


@pytest.mark.parametrize(
    ("suspect", "names"),
    [("junk", ["X-Spam", "X-Postane-Suspect", "X-Score"]), ("mark", ["X-Postane-Suspect", "X-Score"])],
)
def test_what_is_suspect_is_marked(suspect: Suspect, names: list[str]) -> None:
    (parcel,) = filed(Ruling((AYSE, FAR), SPAM, suspect))
    assert [name for name, _ in parcel.headers] == names
    assert dict(parcel.headers)["X-Postane-Suspect"] == "spam: ?ok??fena"
    assert parcel.recipients == (AYSE, FAR)


def test_or_kept_back_under_the_name_that_the_peer_knew() -> None:
    (parcel,) = filed(Ruling((AYSE, FAR), SPAM, "quarantine"))
    assert [(one.address, one.kind) for one in parcel.recipients] == [
        ("ayse@x.test", "quarantine"),
        ("forward@x.test", "quarantine"),
    ]
    assert parcel.headers == SPAM.headers


def test_what_our_users_send_out_leaves_without_a_mark() -> None:
    here, away = filed(Ruling((AYSE, FAR), SPAM), own=True)
    assert (here.recipients, here.headers[0]) == ((AYSE,), ("X-Spam", "Yes"))
    assert (away.recipients, away.headers) == ((FAR,), SPAM.headers)


@pytest.mark.parametrize(("verdict", "text"), [(SPAM, "The message is suspect and is not sent"), (NO, "Bad")])
def test_or_is_refused_where_it_would_be_withheld_from_somebody_away(verdict: Verdict, text: str) -> None:
    found = file([Ruling((FAR,), verdict, "quarantine"), Ruling((AYSE,), GOOD)], own=True)
    assert found == Refusal(Reply(554, "5.7.1", text), verdict.why)
    # Our own people look into their quarantine.
    held, taken = filed(Ruling((AYSE,), verdict, "quarantine"), Ruling((FAR,), GOOD), own=True)
    assert [one.kind for one in (*held.recipients, *taken.recipients)] == ["quarantine", "remote"]


def test_many_reasons_do_not_make_many_copies() -> None:
    def spam(number: int) -> Verdict:
        return Verdict(Decision.QUARANTINE, f"reason {number}", headers=(("X-Score", str(number)),))

    suspects: list[Suspect] = ["junk", "mark", "quarantine"]
    rulings = [Ruling((Recipient(f"{n}@x.test"),), spam(n), suspects[n % 3]) for n in range(1000)]
    parcels = filed(*rulings, Ruling((AYSE,), GOOD), Ruling((MEHMET,), NO))
    assert len(parcels) == 4
    everybody = [one.address for parcel in parcels for one in parcel.recipients]
    assert len(everybody) == len(set(everybody)) == 1002
    kept = {one.address: parcel for parcel in parcels for one in parcel.recipients}
    assert ("X-Spam", "Yes") in kept["0@x.test"].headers
    assert ("X-Spam", "Yes") not in kept["1@x.test"].headers
    assert "X-Postane-Suspect" in dict(kept["1@x.test"].headers)
    assert {one.kind for one in kept["2@x.test"].recipients} == {"quarantine"}
    assert kept["ayse@x.test"].headers == GOOD.headers
    assert kept["mehmet@x.test"].extra["quarantine"]
