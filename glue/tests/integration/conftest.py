"""The site's hosts as fixtures; skipped where POSTANE_SITE names none."""

import uuid
from pathlib import Path

import pytest

from . import clients
from .machines import INVENTORY, NAMES, Machine, Site, machine


@pytest.fixture(scope="session")
def sites(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Site]:
    if not INVENTORY:
        pytest.skip("POSTANE_SITE names no inventory: molecule/run makes the site and runs these tests")
    made = {}
    for name in NAMES:
        found = machine(name)
        ca = tmp_path_factory.mktemp(name) / "ca.pem"
        ca.write_text(found.run("cat /var/lib/postane/tls/ca.pem"))
        folder = Path(__file__).parents[3] / ".cache" / "molecule" / "passwords"
        domain = name.removeprefix("mail.")
        passwords = {file.name: file.read_text().strip() for file in folder.glob(f"*@{domain}")}
        host = clients.Host(found.ipv4, name, ca)
        made[name] = Site(found.name, found.ipv4, found.ipv6, found.ssh, host, passwords)
    return made


@pytest.fixture(params=NAMES)
def site(request: pytest.FixtureRequest, sites: dict[str, Site]) -> Site:
    return sites[request.param]


@pytest.fixture(scope="session")
def net(sites: dict[str, Site]) -> Machine:
    return machine("mx.far.test")


@pytest.fixture
def subject() -> str:
    return f"test {uuid.uuid4().hex}"
