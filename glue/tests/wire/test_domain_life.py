"""What peers and users hear about a domain, from a tenant's claim to its suspension, of `postane dev`."""

from __future__ import annotations

import asyncio
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from smtplib import SMTP, SMTPAuthenticationError

import dns.rcode
import pytest

from postane.admin import account, domain, domain_split, mailboxes, queue
from postane.admin.domain_life import Desk
from postane.admin.site import Site, hosted_domain
from postane.domains.observe import try_path
from support.dev import Dev
from support.dns import name_server
from support.filtered import Session
from support.lmtp import LmtpServer

D = "moving.test"


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with name_server() as (server, address):
        server.faults[D] = dns.rcode.SERVFAIL  # so what is sent there waits, and can be seen
        made = Dev(tmp_path_factory.mktemp("life") / "dev", workers=1, more=[f"--nameserver={address}"])
        made.start()
        yield made
        made.close()


def stage(dev: Dev, does: Callable[[Site], object]) -> None:
    """Has something done to the domain; waits until the worker has seen it."""
    site = Site.at(dev.folder / "postane.yml")
    does(site)
    site.database.close()
    time.sleep(0.3)


def heard(dev: Dev, *locals_: str) -> list[str]:
    """What a stranger hears of each name at the domain."""
    session = Session(dev)
    session("MAIL FROM:<stranger@far.test>")
    said = [session(f"RCPT TO:<{one}@{D}>") for one in locals_]
    session.close()
    return [line[:9] for line in said]


def login(dev: Dev, name: str, password: str) -> SMTP:
    """A session of a user. Raises SMTPAuthenticationError."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    door = SMTP("127.0.0.1", dev.submission, timeout=20)
    door.starttls(context=context)
    door.login(name, password)
    return door


def refused(dev: Dev) -> bool:
    try:
        login(dev, f"x@{D}", "password-x").quit()
    except SMTPAuthenticationError as error:
        assert error.smtp_code == 535
        return True
    return False


def waits_for_the_world(dev: Dev, address: str) -> bool:
    """Whether a mail for an address is in the queue, to go by the domain's MX."""
    wanted = queue.Filter(recipient=address, destination=D)
    return bool(queue.every(dev.folder / "run", wanted, 10).messages)


def add_x(site: Site) -> None:
    account.add(site, f"x@{D}", "password-x")


def host_anew(site: Site) -> None:
    """The domain as one that was never anywhere else."""
    domain.remove(site, D, force=True)
    domain.add(site, D)
    add_x(site)


def test_from_the_claim_to_the_end(dev: Dev) -> None:
    stage(dev, lambda site: Desk(site).claim(D, "other"))
    stage(dev, add_x)
    assert heard(dev, "x", "y", "postmaster") == ["554 5.7.1"] * 3
    assert refused(dev)
    # What another tenant's user sends there goes where the DNS says, past the account that stands here.
    with login(dev, "user0@demo.test", "password-user0") as door:
        door.sendmail("user0@demo.test", [f"x@{D}"], b"Subject: to the real one\r\n\r\nhello\r\n")
    until = time.monotonic() + 60
    while not waits_for_the_world(dev, f"x@{D}"):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert list((dev.folder / "vmail").glob(f"{D}/x/Maildir/new/*")) == []

    stage(dev, lambda site: (domain.add(site, D), Desk(site).advance(D)))  # the operator's word
    assert heard(dev, "x", "X+tag", "y", "postmaster") == ["250 2.1.5", "250 2.1.5", "554 5.7.1", "554 5.7.1"]
    assert not refused(dev)
    assert try_path("127.0.0.1", dev.smtp, f"x@{D}") == (True, "250 2.1.5 Recipient OK")
    assert try_path("127.0.0.1", dev.smtp, f"y@{D}") == (False, "554 5.7.1 Relay access denied")
    assert not try_path("127.0.0.1", 9, f"x@{D}")[0]

    stage(dev, lambda site: Desk(site).suspend(D))
    assert heard(dev, "x", "y") == ["554 5.7.1"] * 2  # its mail is another's yet
    assert refused(dev)
    stage(dev, lambda site: Desk(site).resume(D))
    assert not refused(dev)

    # With the mail here it is all of the domain that is suspended.
    stage(dev, host_anew)
    assert heard(dev, "x", "y", "postmaster") == ["250 2.1.5", "550 5.1.1", "250 2.1.5"]
    stage(dev, lambda site: Desk(site).suspend(D, "4xx"))
    assert heard(dev, "x", "y") == ["450 4.2.1"] * 2
    stage(dev, lambda site: Desk(site).suspend(D, "5xx"))
    assert heard(dev, "x", "y") == ["550 5.2.1"] * 2
    assert refused(dev)
    stage(dev, lambda site: Desk(site).resume(D))
    assert heard(dev, "x") == ["250 2.1.5"]


def test_mail_for_a_mailbox_that_is_still_elsewhere_is_taken_and_goes_on(dev: Dev) -> None:
    stage(dev, host_anew)

    def came_from(site: Site) -> None:
        with site.database.change() as session:
            hosted_domain(session, D).old_mx = '{"hosts": ["mx.old.test"]}'

    stage(dev, came_from)
    assert heard(dev, "far") == ["550 5.1.1"]
    stage(dev, lambda site: domain_split.change(site, D, [f"far@{D}"]))
    assert heard(dev, "far", "Far+tag", "near") == ["250 2.1.5", "250 2.1.5", "550 5.1.1"]
    with SMTP("127.0.0.1", dev.smtp, timeout=20) as door:
        door.sendmail("stranger@far.test", [f"far@{D}"], b"Subject: to the old host\r\n\r\nhello\r\n")
    until = time.monotonic() + 60
    wanted = queue.Filter(recipient=f"far@{D}", destination=f"old host of {D}")
    while not queue.every(dev.folder / "run", wanted, 10).messages:
        assert time.monotonic() < until
        time.sleep(0.1)
    stage(dev, lambda site: account.add(site, f"far@{D}", "password-f"))
    assert heard(dev, "far") == ["250 2.1.5"]


def test_a_new_owner_of_an_address_gets_none_of_the_mail_of_the_one_before(dev: Dev) -> None:
    def send(words: str) -> None:
        with SMTP("127.0.0.1", dev.smtp, timeout=20) as door:
            door.sendmail("stranger@far.test", [f"x@{D}"], f"Subject: {words}\r\n\r\nhello\r\n".encode())

    def arrives(folder: str, words: str) -> None:
        until = time.monotonic() + 60
        place = dev.folder / "vmail" / D / folder / "Maildir/new"
        while not any(f"Subject: {words}" in one.read_text() for one in place.glob("*")):
            assert time.monotonic() < until
            time.sleep(0.1)

    site = Site.at(dev.folder / "postane.yml")
    stage(dev, host_anew)
    with site.database.session() as session:
        first = mailboxes.folder_of(session, f"x@{D}").rpartition("/")[2]
    send("for the first")
    arrives(first, "for the first")
    stage(dev, host_anew)
    with site.database.session() as session:
        second = mailboxes.folder_of(session, f"x@{D}").rpartition("/")[2]
    assert first != second
    send("for the second")
    arrives(second, "for the second")
    assert len(list((dev.folder / "vmail" / D / second / "Maildir/new").glob("*"))) == 1
    assert [one.path.rpartition("/")[2] for one in mailboxes.every_left(site, [D]) if first in one.path] == [first]
    site.database.close()


def test_a_mails_way_is_tried_to_the_mailbox(dev: Dev, tmp_path: Path) -> None:
    stage(dev, host_anew)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def serve() -> LmtpServer:
        made = LmtpServer(tmp_path / "lmtp")
        await made.start()
        return made

    store = asyncio.run_coroutine_threadsafe(serve(), loop).result(5)

    def tried(place: str) -> tuple[bool, str]:
        return try_path("127.0.0.1", dev.smtp, f"x@{D}", store=place)

    assert tried(str(store.path)) == (True, "250 2.1.5 ok")
    assert not any(command.startswith("DATA") for command in store.commands)
    store.rcpt[f"x@{D}"] = "550 5.1.1 User unknown"
    assert tried(str(store.path)) == (False, "550 5.1.1 User unknown")
    taken, why = tried(str(tmp_path / "nowhere"))
    assert not taken
    assert why.startswith("the store at ")
    assert not tried("127.0.0.1:9")[0]
    asyncio.run_coroutine_threadsafe(store.stop(), loop).result(5)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
