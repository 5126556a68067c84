"""A real Rspamd with the settings of the role, a real Redis, a DNS that lists one domain: what the filter gets of it.

Skipped where no Rspamd has been unpacked (`make bench` does it).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bench.name_server import NXDOMAIN, NameServer
from bench.peers.rspamd import Rspamd as Server
from jinja2 import Environment, FileSystemLoader

from postane.config.model import Dns
from postane.core.envelope import Envelope, Recipient
from postane.core.peer import Peer, Service
from postane.core.verdict import Verdict
from postane.dns.resolver import Resolver
from postane.filters.base import Tools
from postane.filters.builtin.rspamd import Options, Rspamd
from postane.filters.scoring.learn import learn
from postane.spool.draft import Draft
from support.filtered import STORE
from support.redis import RedisServer

ROLE = Path(__file__).parents[3] / "roles/rspamd/templates/etc/rspamd"
SPAM = " ".join(f"cheap{n} pills{n} casino{n}" for n in range(40))
HAM = " ".join(f"meeting{n} minutes{n} budget{n}" for n in range(40))
PEER = Peer(Service.SMTP, "192.0.2.1", 4711, "mail.good.test", True)
NAMELESS = replace(PEER, ip="192.0.2.7", helo="mail.other.test")
RECORDS = {
    ("1.2.0.192.in-addr.arpa", "PTR"): ["mail.good.test"],
    ("mail.good.test", "A"): ["192.0.2.1"],
    # Lists of domains list the one that was registered.
    ("bad.co.uk.multi.surbl.org", "A"): ["127.0.0.8"],
    ("bad.co.uk.dbl.spamhaus.org", "A"): ["127.0.1.2"],
    ("bad.co.uk.multi.uribl.com", "A"): ["127.0.0.2"],
}


class World:
    def __init__(self, folder: Path) -> None:
        self.redis = RedisServer(folder)
        self.redis.start()
        self.redis.socket.chmod(0o777)
        self.dns = NameServer(NXDOMAIN, records=RECORDS)
        self.server = Server(
            folder / "rspamd", STORE, name_server=f"127.0.0.1:{self.dns.port}", more=self._files(folder)
        )
        self.server.start()
        self.socket = str(folder / "rspamd/run/learn.sock")
        self.folder = folder

    def _files(self, folder: Path) -> dict[str, str]:
        """As the role writes them."""
        role = Environment(loader=FileSystemLoader(ROLE), trim_blocks=True)
        given = {
            "rspamd_redis": str(self.redis.socket),
            "rspamd_bayes_per_user": True,
            "rspamd_bayes_min_learns": 2,
            "rspamd_bayes_days": 100,
            "rspamd_bayes_autolearn": [],
            "rspamd_blocklists": True,
            "rspamd_learn_socket": f"{folder}/rspamd/run/learn.sock",
            "__rspamd_domain_lists": ["SURBL_MULTI", "URIBL_MULTI", "DBL"],
        }
        names = ["local.d/classifier-bayes.conf", "local.d/redis.conf", "local.d/rbl.conf"]
        made = {f"../{name}": role.get_template(f"{name}.j2").render(given) for name in names}
        controller = role.get_template("override.d/worker-controller.inc.j2").render(given)
        controller = controller.partition(".include")[0] + "enabled = true;\n"
        # Expressions that are not compiled first: it answers sooner.
        return made | {"../override.d/worker-controller.inc": controller, "options.inc": "disable_hyperscan = true;\n"}

    def close(self) -> None:
        self.server.stop()
        self.redis.stop()
        self.dns.close()

    def judged(self, text: str, peer: Peer = PEER, mailbox: str = "ayse@demo.test", written: str = "") -> Verdict:
        """`written` is the address that the sender wrote to, where it is an alias."""
        envelope = Envelope(f"id{time.monotonic_ns()}", "a@good.test", (Recipient(mailbox, written),), 1.5)

        async def ask() -> Verdict:
            resolver = Resolver(Dns(nameservers=(f"127.0.0.1:{self.dns.port}",)))
            tools = Tools("mx.test", Dns(), time.time, lambda: resolver.ask)
            judge = Rspamd(Options(url=str(self.server.http)), tools)
            draft = Draft(self.folder, envelope.id, 1 << 20)
            draft.append(message(text))
            try:
                return await judge.data(peer, envelope, draft)
            finally:
                await judge.close()

        return asyncio.run(ask())


def message(text: str) -> bytes:
    head = "From: a@good.test\r\nTo: ayse@demo.test\r\nSubject: hello\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\r\n"
    return f"{head}Message-ID: <{hash(text)}@good.test>\r\n\r\n{text}\r\n".encode()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    if os.geteuid() != 0 or not (STORE / "rspamd" / ".whole").exists():
        pytest.skip("no Rspamd has been unpacked here, or nobody may start it")
    folder = Path(tempfile.mkdtemp(prefix="postane-rspamd-"))  # short, for the sockets' names; open to its user
    folder.chmod(0o755)
    made = World(folder)
    yield made
    made.close()
    shutil.rmtree(folder, ignore_errors=True)


def test_a_peer_with_a_name_gets_no_points_for_having_none(world: World) -> None:
    named, nameless = world.judged("some words"), world.judged("some words", NAMELESS)
    assert "HFILTER_HOSTNAME_UNKNOWN" not in named.why
    assert "RDNS_NONE" not in named.why
    assert "HFILTER_HOSTNAME_UNKNOWN(2.50)" in nameless.why
    assert "HFILTER_HOSTNAME_UNKNOWN" not in world.judged("some words", replace(NAMELESS, own=True)).why


@pytest.mark.parametrize("peer", [PEER, NAMELESS], ids=["named", "nameless"])
def test_lists_of_links_are_asked_for_the_registered_domain(world: World, peer: Peer) -> None:
    said = world.judged("look at http://www.shop.bad.co.uk/offer?n=1 now", peer)
    assert {"PH_SURBL_MULTI", "URIBL_BLACK"} <= {word.partition("(")[0] for word in said.why.split()}
    assert said.score > world.judged("look at http://www.shop.good.co.uk/offer?n=1 now", peer).score + 5


def test_what_one_account_teaches_counts_for_it_alone(world: World) -> None:
    for number in range(2):  # as many as are needed
        assert learn(world.socket, "", "spam", [message(f"{SPAM} {number}")], recipient="ayse@demo.test")
        assert learn(world.socket, "", "ham", [message(f"{HAM} {number}")], recipient="ayse@demo.test")
    assert not learn(world.socket, "", "ham", [message(f"{HAM} 0")], recipient="ayse@demo.test")
    assert not learn(world.socket, "", "spam", [message(f"{SPAM} 2")], recipient="ayse@demo.test")  # it is sure
    end = time.monotonic() + 20
    while "BAYES_SPAM" not in world.judged(SPAM).why:
        assert time.monotonic() < end, "words that were learned are not known"
        time.sleep(0.2)
    assert "BAYES_HAM" in world.judged(HAM).why
    assert "BAYES" not in world.judged(SPAM, mailbox="mehmet@demo.test").why
    # By an alias it is the mailbox's words that count.
    assert "BAYES_SPAM" in world.judged(SPAM, written="info@demo.test").why
    assert "BAYES" not in world.judged(SPAM, mailbox="mehmet@demo.test", written="ayse@demo.test").why
