"""An acceptance run against `postane dev`: real mail by its ports, records from a name server, a signed document."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from postane.acceptance.result import Result
from postane.admin import account, alias, domain_accept
from postane.admin.domain_accept import Accepted, Wishes
from postane.admin.domain_facts import known
from postane.admin.site import Site
from postane.config.model import Clients, Config, Dns
from postane.core.errors import ConflictError
from postane.domains.desired import desired
from postane.domains.kinds import ALL
from support.dev import Dev
from support.dns import NameServer, name_server

D, HOST = "demo.test", "mail.demo.test"
WISHES = Wishes(each=25.0, total=40.0)


class World:
    """`postane dev`, and a name server that has what the plan of its domain wants."""

    def __init__(self, folder: Path, dns: NameServer, address: str) -> None:
        self.dev = Dev(folder / "dev", workers=1, more=[f"--nameserver={address}"])
        self.dev.start()
        self.dns = dns
        # Of people's programs only the one that `postane dev` has a door for.
        config = Site.at(self.dev.folder / "postane.yml").config
        self.config: Config = replace(
            config,
            dns=Dns(nameservers=(address,), addresses=("127.0.0.1",), timeout=3.0),
            clients=Clients(services=("submission",), webmail="-"),
        )
        self.site = Site(self.config)
        (facts,) = known(self.site, [D])
        for one in desired(facts.facts):
            if one.kind in ALL and not one.told:
                self.dns.add(one.record.name, one.record.type, one.record.data)
        self.ports = {25: self.dev.smtp, 587: self.dev.submission, 143: 9, 110: 9, 443: 9, 80: 9}

    def run(self, **wishes: Any) -> tuple[Accepted, dict[str, dict[str, Any]]]:
        told: list[Result] = []
        made = replace_wishes(ports=self.ports, **wishes)
        done = domain_accept.run(self.site, D, made, told.append)
        checks = {one["name"]: one for one in done.document["checks"]}
        assert sorted(one.name for one in told) == sorted(checks)
        return done, checks

    def left(self) -> list[str]:
        names = [one.address for one in account.every(self.site, D)] + [one.address for one in alias.every(self.site, D)]
        return [name for name in names if "acceptance" in name]


def replace_wishes(**values: Any) -> Wishes:
    return Wishes(**{"each": WISHES.each, "total": WISHES.total, **values})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with name_server() as (dns, address):
        made = World(tmp_path_factory.mktemp("acceptance"), dns, address)
        yield made
        made.dev.close()


def test_mail_goes_in_and_out(world: World) -> None:
    done, checks = world.run()
    verdicts = {name: one["verdict"] for name, one in checks.items()}
    print(json.dumps({n: (c["verdict"], c["reason"]["text"], c["milliseconds"]) for n, c in checks.items()}, indent=1))
    assert world.left() == []
    assert verdicts
