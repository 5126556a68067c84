"""Allow and block entries of tenants, domains and accounts: changed entry by entry, as text, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from postane.admin import account, alias, domain, policy, senders
from postane.admin.policy import Scope
from postane.admin.site import Site
from postane.config.model import Config, Filters
from postane.core.errors import AddressError, NotFoundError, PermanentError, PostaneError, UsageError

AYSE = Scope.parse("ayse@demo.test")
DEMO = Scope.parse("domain:demo.test")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(Config(host="mail.host.test", state=str(tmp_path), filters=Filters(use=("lists",))))
    made.database.upgrade()
    domain.add(made, "demo.test", tenant="bakery")
    account.add(made, "ayse@demo.test", "password-1")
    return made


def test_entries_come_and_go(site: Site) -> None:
    done = senders.put(site, AYSE, "allow", ["Bob@Far.test", "*@shop.test", "192.0.2.1/32", "bob@far.test"])
    assert done.changed
    assert done.item == senders.SendersView("ayse@demo.test", ("192.0.2.1", "bob@far.test", "shop.test"), ())
    assert not senders.put(site, AYSE, "allow", ["bob@far.test"]).changed
    assert senders.put(site, AYSE, "block", [".spam.test", "shop.test"]).item.block == (".spam.test", "shop.test")
    assert senders.show(site, AYSE).allow == ("192.0.2.1", "bob@far.test")
    senders.forget(site, AYSE, ["*.spam.test", "BOB@far.test"])
    assert senders.text_of(senders.show(site, AYSE)) == "allow 192.0.2.1\nblock shop.test\n"
    senders.forget(site, AYSE, ["192.0.2.1", "shop.test"])
    assert policy.get(site, AYSE).document == {}


def test_scopes_are_apart_and_other_settings_stay(site: Site) -> None:
    policy.set_key(site, DEMO, "filters.options.lists.allow_needs", "none")
    senders.put(site, DEMO, "block", ["far.test"])
    senders.put(site, Scope.parse("tenant:bakery"), "block", ["farther.test"])
    assert senders.show(site, AYSE).block == ()
    assert policy.get(site, DEMO).document["filters"]["options"]["lists"] == {
        "allow_needs": "none",
        "block": ["far.test"],
    }


def test_who_may_write(site: Site) -> None:
    assert senders.show(site, AYSE).who == ()
    assert senders.only(site, AYSE, ["members"]).item.who == ("members",)
    assert senders.only(site, AYSE, ["domain", "Boss@Far.test"]).item.who == ("domain", "boss@far.test")
    assert policy.get(site, AYSE).document["filters"]["options"]["lists"]["from"] == ["domain", "boss@far.test"]
    assert senders.only(site, AYSE, ["anyone"]).item.who == ("anyone",)


def test_who_may_write_to_an_alias_stands_in_its_domain(site: Site) -> None:
    alias.put(site, "all@demo.test", ["ayse@demo.test"])
    scope = Scope.parse("All@demo.test")
    assert senders.show(site, scope) == senders.SendersView("all@demo.test", (), ())
    assert senders.only(site, scope, ["members"]).item.who == ("members",)
    assert not senders.only(site, scope, ["members"]).changed
    assert senders.show(site, scope).who == ("members",)
    assert policy.get(site, DEMO).document["filters"]["options"]["lists"] == {"addresses": {"all@demo.test": "members"}}
    assert senders.show(site, DEMO).who == ()
    with pytest.raises(UsageError, match="is an alias"):
        senders.put(site, scope, "allow", ["bob@far.test"])


@pytest.mark.parametrize("who", [[], ["anyone", "domain"], ["everybody"]])
def test_who_may_not_be_said(site: Site, who: list[str]) -> None:
    with pytest.raises(PostaneError):
        senders.only(site, AYSE, who)


def test_what_is_refused_changes_nothing(site: Site) -> None:
    with pytest.raises(AddressError, match="'nonsense'"):
        senders.put(site, AYSE, "allow", ["bob@far.test", "nonsense"])
    senders.put(site, AYSE, "allow", ["bob@far.test"])
    with pytest.raises(NotFoundError, match=r"neither allows nor blocks far\.test"):
        senders.forget(site, AYSE, ["bob@far.test", "far.test"])
    assert senders.show(site, AYSE).allow == ("bob@far.test",)
    with pytest.raises(NotFoundError, match="there is no account"):
        senders.put(site, Scope.parse("nobody@demo.test"), "allow", ["bob@far.test"])


def test_text_goes_out_and_in(site: Site) -> None:
    text = "# friends\nallow Bob@far.test  # since 2020\n\nblock .spam.test\n"
    assert senders.load(site, AYSE, text).changed
    out = senders.text_of(senders.show(site, AYSE))
    assert out == "allow bob@far.test\nblock .spam.test\n"
    assert not senders.load(site, AYSE, out, replace=True).changed
    assert senders.load(site, AYSE, "block bob@far.test").item.block == (".spam.test", "bob@far.test")
    assert senders.load(site, AYSE, "allow a@b.test", replace=True).item == senders.SendersView(
        "ayse@demo.test", ("a@b.test",), ()
    )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("allow a@b.test\nbob@far.test", "line 2: 'bob@far.test' is not `allow ENTRY`"),
        ("allow a@b.test c@d.test", "line 1: "),
        ("\nblock nonsense", "line 2: 'nonsense'"),
        ("allow a@b.test\nblock A@b.test", "line 2: a@b.test is both"),
    ],
)
def test_text_that_is_wrong(site: Site, text: str, says: str) -> None:
    with pytest.raises(PermanentError) as refused:
        senders.load(site, AYSE, text)
    assert str(refused.value).startswith(says)
    assert senders.show(site, AYSE).allow == ()


def test_ten_thousand_and_no_more(site: Site) -> None:
    many = "".join(f"block user{at}@far.test\n" for at in range(senders.MOST))
    assert len(senders.load(site, AYSE, many).item.block) == senders.MOST
    with pytest.raises(UsageError, match="more than 10000"):
        senders.put(site, AYSE, "allow", ["one.more.test"])


def test_it_says_whether_the_filter_runs(site: Site) -> None:
    assert senders.show(site, AYSE).in_use
    policy.set_key(site, DEMO, "filters.use", [])
    assert not senders.show(site, AYSE).in_use
