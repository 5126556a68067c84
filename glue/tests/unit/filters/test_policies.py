"""Policies laid over the configuration: the nearest wins, equal options share a filter, what does not fit is told."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from postane.config.load import WrongValueError
from postane.config.model import Dns, Filters
from postane.filters.base import Tools
from postane.filters.policies import Policies, check, effective

SERVER = Filters(
    use=("rspamd", "lists"),
    options={"rspamd": {"reject": True, "timeout": 3}, "lists": {"block": ["far.test"], "from": "anyone"}},
)
TOOLS = Tools("mx.test", Dns(), lambda: 0.0)


def wish(**wanted: Any) -> str:
    return json.dumps(wanted)


def test_the_nearest_wins_option_by_option() -> None:
    tenant = wish(suspect="quarantine", options={"rspamd": {"reject": False, "header": False}})
    account = wish(options={"rspamd": {"reject": True}})
    found = effective(SERVER, [tenant, account])
    assert found.options["rspamd"] == {"reject": True, "timeout": 3, "header": False}
    assert (found.use, found.suspect) == (("rspamd", "lists"), "quarantine")


def test_filters_may_be_left_out_and_their_options_go_with_them() -> None:
    found = effective(SERVER, [wish(use=["lists"])])
    assert found.use == ("lists",)
    assert set(found.options) == {"lists"}


def test_entries_of_lists_are_gathered_level_by_level() -> None:
    tenant = wish(options={"lists": {"allow": ["a@far.test"]}})
    account = wish(options={"lists": {"block": ["b@far.test"], "from": "members"}})
    assert effective(SERVER, [tenant, account]).options["lists"] == {
        "from": "members",
        "levels": [{"block": ["b@far.test"]}, {"allow": ["a@far.test"]}, {"block": ["far.test"]}],
    }


def test_those_with_the_same_options_share_a_filter() -> None:
    policies = Policies(SERVER, TOOLS)
    other = policies.of((wish(suspect="mark"),))
    assert other is policies.of((wish(suspect="mark"),))
    assert other is not policies.server
    assert other.pipeline.filters[0] is policies.server.pipeline.filters[0]
    changed = policies.of((wish(options={"rspamd": {"reject": False}}),))
    assert changed.pipeline.filters[0] is not policies.server.pipeline.filters[0]
    asyncio.run(policies.close())


def test_what_does_not_fit_any_more_is_told_and_the_wider_level_holds(capfd: pytest.CaptureFixture[str]) -> None:
    policies = Policies(SERVER, TOOLS)
    good, bad = wish(suspect="mark"), wish(options={"rspamd": {"gone": 1}})
    assert policies.of((good, bad)) is policies.of((good,))
    assert policies.of((bad,)) is policies.server
    assert policies.of((wish(options={"rspamd": {"url": "nowhere"}}),)) is policies.server


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"use": ["nothing"]}, "there is no filter 'nothing'"),
        ({"options": {"rspamd": {"tiemout": 3}}}, "tiemout"),
        ({"suspect": "shred"}, "shred"),
        ({"seconds": 3}, "seconds"),
        ({"use": ["authentication"], "options": {"authentication": {"trusted_peers": ["x"]}}}, "trusted_peers|'x'"),
    ],
)
def test_a_bad_wish_is_refused_where_it_is_made(wanted: dict[str, Any], said: str) -> None:
    with pytest.raises(WrongValueError, match=said):
        check(SERVER, [json.dumps(wanted)])


def test_what_is_the_hosts_own_matter_is_not_heeded_where_it_was_kept_before(capfd: pytest.CaptureFixture[str]) -> None:
    policies = Policies(SERVER, TOOLS)
    tenant, bad = wish(suspect="mark"), wish(options={"rspamd": {"url": "http://evil.test:1"}})
    assert policies.of((tenant, bad)) is policies.of((tenant,))
    assert "policy_unusable" in capfd.readouterr().out
    assert policies.of((wish(use=["lists"], options={"rspamd": {"url": "http://evil.test:1"}}),)) is not policies.server
    asyncio.run(policies.close())


def test_the_servers_own_filters_stay_whoever_comes_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def come_and_go() -> None:
        monkeypatch.setattr("postane.filters.policies._KEPT", 4)
        monkeypatch.setattr("postane.filters.policies._LAST_CALLS", 0.0)
        policies = Policies(SERVER, TOOLS)
        closed = []
        for one in policies.server.pipeline.filters:
            monkeypatch.setattr(one, "close", lambda: closed.append(1))
        for number in range(10):
            policies.of((wish(options={"rspamd": {"timeout": 1 + number}, "lists": {"allow": [f"a{number}.test"]}}),))
        await asyncio.sleep(0.01)
        assert not closed
        assert policies.of((wish(suspect="mark"),)).pipeline.filters[0] is policies.server.pipeline.filters[0]

    asyncio.run(come_and_go())
