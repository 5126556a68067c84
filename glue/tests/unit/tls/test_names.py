"""Which names a certificate is to have: those that lead here, and nothing that is held is given up lightly."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postane.tls.names import Leads, choose, covers

MAIL, AUTO, STS = "mail.a.test", "autoconfig.a.test", "mta-sts.a.test"


def test_a_wildcard_covers_one_label() -> None:
    assert covers(MAIL, ["*.a.test"])
    assert covers(MAIL, ["b.test", MAIL])
    assert not covers("a.test", ["*.a.test"])
    assert not covers("x.mail.a.test", ["*.a.test"])
    assert not covers(MAIL, ["*.test", "autoconfig.a.test"])


def test_only_names_that_lead_here_are_asked_for() -> None:
    found = choose({MAIL: Leads.HERE, AUTO: Leads.ELSEWHERE, STS: Leads.UNKNOWN}, (), {}, ends_soon=True)
    assert found.names == (MAIL,)
    assert found.more == (MAIL,)
    assert found.left_out == {
        AUTO: "does not lead to this host",
        STS: "it is not known now where it leads",
    }


def test_a_name_that_is_held_is_kept_while_it_is_not_known_where_it_leads() -> None:
    found = choose({MAIL: Leads.UNKNOWN, AUTO: Leads.HERE}, [MAIL], {}, ends_soon=False)
    assert found.names == (AUTO, MAIL)
    assert found.more == (AUTO,)


def test_a_refused_name_waits_alone_but_one_that_is_held_is_not_given_up_before_the_end_is_near() -> None:
    leads = {MAIL: Leads.HERE, AUTO: Leads.HERE}
    assert choose(leads, [MAIL], {AUTO: "no"}, ends_soon=False).names == (MAIL,)
    assert choose(leads, [MAIL, AUTO], {AUTO: "no"}, ends_soon=False).names == (AUTO, MAIL)
    found = choose(leads, [MAIL, AUTO], {AUTO: "no"}, ends_soon=True)
    assert (found.names, found.left_out) == ((MAIL,), {AUTO: "no"})


def test_a_wildcard_stands_for_all_as_soon_as_one_leads_here() -> None:
    found = choose({MAIL: Leads.HERE, AUTO: Leads.ELSEWHERE}, (), {}, ends_soon=True, wildcard="*.a.test")
    assert (found.names, found.more) == (("*.a.test",), ("*.a.test",))
    assert choose({AUTO: Leads.ELSEWHERE}, (), {}, ends_soon=True, wildcard="*.a.test").names == ()
    assert choose({MAIL: Leads.HERE}, ["*.a.test"], {}, ends_soon=False, wildcard="*.a.test").more == ()


NAMES = st.sampled_from([MAIL, AUTO, STS, "webmail.a.test"])


@given(
    st.dictionaries(NAMES, st.sampled_from(Leads)),
    st.sets(NAMES),
    st.dictionaries(NAMES, st.just("no")),
    st.booleans(),
)
def test_every_name_is_asked_for_or_left_out_with_a_reason(
    leads: dict[str, Leads], held: set[str], failing: dict[str, str], ends_soon: bool
) -> None:
    found = choose(leads, held, failing, ends_soon=ends_soon)
    assert set(found.names) | set(found.left_out) == set(leads)
    assert not set(found.names) & set(found.left_out)
    assert set(found.more) == set(found.names) - held
    assert all(leads[name] is not Leads.ELSEWHERE for name in found.names)
