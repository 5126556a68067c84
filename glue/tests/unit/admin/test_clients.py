"""The MTA-STS policy that is served and the record that tells of it are of one source, wherever a domain stands."""

from __future__ import annotations

import itertools
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select

from postane.admin import clients, domain, domain_facts
from postane.admin.site import Site
from postane.clients.mta_sts import policy_id, policy_text
from postane.config.model import Clients, Config
from postane.dns.records import text_of
from postane.domains.desired import desired
from postane.domains.kinds import Kind
from postane.domains.life import State
from postane.storage.schema import Domain

D = "shop.test"
STATES = [state for state in State if state is not State.REMOVED]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder: Path = tmp_path_factory.mktemp("site")
    made = Site(Config(host="mail.host.test", state=str(folder)))
    made.database.upgrade()
    domain.add(made, D)
    return made


def put(site: Site, **changes: object) -> None:
    with site.database.change() as session:
        row = session.scalars(select(Domain).where(Domain.name == D)).one()
        for name, value in changes.items():
            setattr(row, name, value)


def record_id(site: Site) -> str | None:
    """The id that should stand in the DNS, None where no record should."""
    [known] = domain_facts.known(site, [D])
    texts = [
        text_of(one.record.data)
        for one in desired(known.facts)
        if one.kind is Kind.MTA_STS and one.record.type == "TXT"
    ]
    assert len(texts) <= 1
    return texts[0].removeprefix("v=STSv1; id=").removesuffix(";") if texts else None


def test_a_record_stands_if_and_only_if_a_policy_is_served_and_has_its_id(site: Site) -> None:
    served = 0
    for state, active, came_from, own in itertools.product(
        STATES, (True, False), ("", "shadow"), ("", "off", "enforce")
    ):
        put(site, state=str(state), active=active, came_from=came_from, settings=f'{{"mta_sts": "{own}"}}')
        setup = clients.setup_of(site, D)
        policy = setup.mta_sts if setup else None
        assert record_id(site) == (policy_id(policy) if policy else None), (state, active, came_from, own)
        served += policy is not None
    assert served > 5


def test_the_id_changes_when_the_policy_does_and_only_then(site: Site) -> None:
    put(site, state="cutover", active=True, came_from="", settings="{}")
    seen: dict[str, str | None] = {}
    configs = [
        site.config,
        msgspec.structs.replace(site.config, clients=Clients(mta_sts="enforce")),
        msgspec.structs.replace(site.config, clients=Clients(mta_sts_max_age=86_400)),
        msgspec.structs.replace(site.config, host="mx.host.test"),
        msgspec.structs.replace(site.config, clients=Clients(provider="Another name")),  # no word of the policy
    ]
    for config, own in itertools.product(configs, ("", "none", "testing", "enforce")):
        here = Site(config)
        put(here, settings=f'{{"mta_sts": "{own}"}}')
        setup = clients.setup_of(here, D)
        assert setup is not None
        assert setup.mta_sts is not None
        text = policy_text(setup.mta_sts)
        assert seen.setdefault(text, record_id(here)) == record_id(here)
        here.database.close()
    assert len(set(seen.values())) == len(seen) == 9
