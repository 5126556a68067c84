"""The running site asked from outside, on Debian 12 and 13: what a stranger's server, a person's programs and a
scanner of ports find.
"""

import asyncio
import email
import email.policy
import email.utils
import json
import shlex
import smtplib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.message import EmailMessage

import dkim
import pytest

from . import clients
from .clients import LoginRefusedError, message
from .machines import FRIEND, Machine, Site, at_friend, from_outside, until

pytestmark = pytest.mark.site
OPEN = {22, 25, 53, 80, 110, 143, 443, 465, 587, 993, 995, 4190}
PORTS = [
    *range(1, 1025),
    2525,
    3306,
    3310,
    4190,
    5432,
    6379,
    8025,
    8080,
    9090,
    9100,
    9166,
    11211,
    11332,
    11333,
    11334,
    24245,
]


# -- the way of a message -----------------------------------------------------------------------------------------


def test_mail_from_outside_is_read_over_every_protocol(site: Site, net: Machine, subject: str) -> None:
    from_outside(net, message(FRIEND, [site.mehmet], subject), site.mehmet)
    mail = site.wait(site.mehmet, subject)
    assert mail["Return-Path"] == f"<{FRIEND}>"
    assert "mx.far.test" in mail["Received"]
    assert "ESMTPS" in mail["Received"]
    for service in ("pop3", "pop3s"):
        read = clients.pop3(site.host, site.mehmet, site.passwords[site.mehmet], service=service).messages
        assert subject in [str(found["Subject"]) for found in read]
    webmail = clients.Webmail(site.host, f"webmail.{site.domain}", site.mehmet, site.passwords[site.mehmet])
    assert subject in webmail.subjects()


def test_mail_to_the_outside_arrives_with_signatures_that_hold(site: Site, net: Machine, subject: str) -> None:
    site.submit(site.ayse, message(site.ayse, [FRIEND], subject), FRIEND)
    raw = at_friend(net, subject)
    headers = email.message_from_bytes(raw, policy=email.policy.default)
    signatures = headers.get_all("DKIM-Signature", [])
    assert len(signatures) == 2
    assert {part.strip() for text in signatures for part in text.split(";") if " a=" in f" {part.strip()}"} >= {
        "a=rsa-sha256",
        "a=ed25519-sha256",
    }

    def answer(name: bytes, timeout: int = 5) -> bytes:
        return "".join(site.ask(name.decode(), "TXT")).encode()

    for index in range(len(signatures)):
        assert dkim.DKIM(raw).verify(idx=index, dnsfunc=answer), signatures[index]


def test_mail_between_the_releases(sites: dict[str, Site], subject: str) -> None:
    old, new = sites["mail.d12.test"], sites["mail.d13.test"]
    for sender, reader in ((old, new), (new, old)):
        topic = f"{subject} from {sender.domain}"
        sender.submit(sender.ayse, message(sender.ayse, [reader.mehmet], topic), reader.mehmet)
        assert "ESMTPS" in reader.wait(reader.mehmet, topic)["Received"]


def test_an_alias_reaches_all_its_targets(site: Site, net: Machine, subject: str) -> None:
    info = f"info@{site.domain}"
    from_outside(net, message(FRIEND, [info], subject), info)
    for address in (site.ayse, site.mehmet):
        site.wait(address, subject)


def test_postmaster_is_heard(site: Site, net: Machine, subject: str) -> None:
    postmaster = f"postmaster@{site.domain}"
    from_outside(net, message(FRIEND, [postmaster], subject), postmaster)
    site.wait(f"admin@{site.domain}", subject)


def test_an_unknown_recipient_elsewhere_comes_back(site: Site, net: Machine, subject: str) -> None:
    nobody = "nobody-at-all@far.test"
    site.submit(site.ayse, message(site.ayse, [nobody], subject), nobody)

    def bounce() -> EmailMessage | None:
        for mail in clients.imap_messages(site.host, site.ayse, site.passwords[site.ayse]):
            if mail.get_content_type() == "multipart/report" and subject in mail.as_string():
                return mail
        return None

    mail = until(bounce, "the bounce")
    assert mail["Return-Path"] == "<>"
    assert nobody in mail.as_string()


# -- what is refused, and how -------------------------------------------------------------------------------------


def test_what_port_25_refuses(site: Site) -> None:
    with clients.smtp(site.host) as session:
        assert session.docmd("MAIL", f"FROM:<{FRIEND}> SIZE={40 << 20}")[0] == 552
        assert session.mail(FRIEND)[0] == 250
        code, text = session.rcpt(f"nobody@{site.domain}")
        assert (code, text[:5]) == (550, b"5.1.1")
        code, text = session.rcpt("somebody@example.net")
        assert (code, text[:5]) == (554, b"5.7.1")
        assert "auth" not in session.esmtp_features


def test_a_sender_who_is_another_is_refused(site: Site) -> None:
    with clients.smtp(site.host, "submission") as session:
        session.login(site.ayse, site.passwords[site.ayse])
        code, text = session.mail(site.mehmet)
        if code == 250:
            code, text = session.rcpt(FRIEND)
        assert (code, text[:5]) == (553, b"5.7.1")


def test_submission_wants_a_login(site: Site) -> None:
    with clients.smtp(site.host, "submission") as session:
        code, _ = session.mail(site.ayse)
        if code == 250:
            code, _ = session.rcpt(FRIEND)
        assert code == 530


@pytest.mark.parametrize("door", ["submission", "submissions", "imap", "imaps", "pop3", "pop3s", "sieve", "webmail"])
def test_a_wrong_password_opens_nothing(site: Site, door: str) -> None:
    with pytest.raises(LoginRefusedError):
        if door.startswith("submission"):
            clients.submit(site.host, site.ayse, "wrong", message(site.ayse, [FRIEND], "x"), [FRIEND], service=door)
        elif door.startswith("imap"):
            with clients.imap(site.host, site.ayse, "wrong", service=door):
                pass
        elif door.startswith("pop3"):
            clients.pop3(site.host, site.ayse, "wrong", service=door)
        elif door == "sieve":
            clients.ManageSieve(site.host, site.ayse, "wrong")
        else:
            clients.Webmail(site.host, f"webmail.{site.domain}", site.ayse, "wrong")


# -- names, certificates, ports -----------------------------------------------------------------------------------


def test_the_zone_says_what_mail_needs(site: Site) -> None:
    domain = site.domain
    for kind in ("SOA", "MX", "NS"):
        answers = site.ask(domain, kind)
        assert any(answer.startswith(f"{kind} 13 ") for answer in answers), f"no RRSIG of {kind}: {answers}"
    assert f"10 {site.name}." in site.ask(domain, "MX")
    assert site.ipv4 in site.ask(site.name, "A")
    assert site.ipv6 in site.ask(site.name, "AAAA")
    assert [text for text in site.ask(domain, "TXT") if text.startswith("v=spf1 ")]
    assert site.ask(f"_dmarc.{domain}", "TXT")[0].startswith("v=DMARC1")
    keys = json.loads(site.run(f"postane domain dkim {domain} --json"))
    assert {key["algorithm"] for key in keys} == {"rsa", "ed25519"}
    for key in keys:
        published = site.ask(f"{key['selector']}._domainkey.{domain}", "TXT")[0]
        assert published.startswith("v=DKIM1")


def test_the_world_is_validated_from_the_host(site: Site) -> None:
    assert site.run("getent ahostsv4 mx.far.test").split()[0]
    assert site.run("getent ahostsv4 deb.debian.org").split()[0]
    ask = (
        "import dns.flags, dns.message, dns.query;"
        "query = dns.message.make_query('test.', 'SOA', want_dnssec=True);"
        "print(dns.flags.to_text(dns.query.udp(query, '127.0.0.1', 5).flags))"
    )
    said = site.run(shlex.join(["/opt/postane/current/bin/python", "-c", ask]))
    assert "AD" in said.split()


def _greet(site: Site, service: str) -> socket.socket:
    """A connection that is ready for a TLS handshake."""
    connection = site.host.connect(service)
    dialogue = {
        "smtp": b"EHLO x\r\nSTARTTLS\r\n",
        "imap": b"a STARTTLS\r\n",
        "pop3": b"STLS\r\n",
        "sieve": b"STARTTLS\r\n",
    }
    dialogue["submission"] = dialogue["smtp"]
    if service in dialogue:
        ready = {"imap": b"a OK", "pop3": b"+OK", "sieve": b"OK"}.get(service, b"220 ")
        stream = connection.makefile("rb", buffering=0)
        stream.readline()
        if service == "sieve":
            while not stream.readline().startswith(b"OK"):
                pass
        for command in dialogue[service].splitlines(keepends=True):
            connection.sendall(command)
            while command.startswith(b"EHLO") and stream.readline()[3:4] == b"-":
                pass
        while not (line := stream.readline()).startswith(ready):
            assert line, f"{service}: closed"
    return connection


TLS_DOORS = ["smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s", "sieve", "https"]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("service", TLS_DOORS)
def test_certificates_hold_and_old_tls_does_not(site: Site, service: str) -> None:
    name = f"webmail.{site.domain}" if service == "https" else site.name
    with site.host.tls().wrap_socket(_greet(site, service), server_hostname=name) as good:
        assert good.version() in ("TLSv1.2", "TLSv1.3")
    old = ssl.create_default_context(cafile=str(site.host.ca))
    old.set_ciphers("ALL:@SECLEVEL=0")  # else this side's OpenSSL would be the one that refuses
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        old.wrap_socket(_greet(site, service), server_hostname=name).close()


def _open_ports(address: str) -> set[int]:
    async def scan() -> set[int]:
        gate = asyncio.Semaphore(200)

        async def knock(port: int) -> int | None:
            async with gate:
                with suppress(OSError, TimeoutError):
                    async with asyncio.timeout(2):
                        _, writer = await asyncio.open_connection(address, port)
                        writer.close()
                        return port
            return None

        return {port for port in await asyncio.gather(*map(knock, PORTS)) if port}

    return asyncio.run(scan())


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_only_the_doors_are_open(site: Site, family: str) -> None:
    assert _open_ports(getattr(site, family)) == OPEN


# -- when something is out of order -------------------------------------------------------------------------------


@pytest.fixture
def dovecot_stopped(site: Site) -> Iterator[Callable[[], str]]:
    """Stopped; the call starts it again and lets the queue try at once."""

    def start() -> str:
        return site.run("systemctl start dovecot && postane queue retry --destination local")

    site.run("systemctl stop dovecot")
    yield start
    site.run("systemctl start dovecot")


def test_mail_waits_for_dovecot(site: Site, net: Machine, subject: str, dovecot_stopped: Callable[[], str]) -> None:
    from_outside(net, message(FRIEND, [site.mehmet], subject), site.mehmet)
    waiting = until(lambda: site.queued(site.mehmet), "the message in the queue")
    assert waiting[0]["sender"] == FRIEND
    dovecot_stopped()
    site.wait(site.mehmet, subject)
    until(lambda: not site.queued(site.mehmet), "the empty queue")


def test_mail_for_an_account_that_goes_comes_back(
    site: Site, net: Machine, subject: str, dovecot_stopped: Callable[[], str]
) -> None:
    leaving = site.account("leaving")
    from_outside(net, message(FRIEND, [leaving], subject), leaving)
    until(lambda: site.queued(leaving), "the message in the queue")
    site.run(f"postane account remove {leaving}")
    dovecot_stopped()
    bounce = email.message_from_bytes(at_friend(net, subject), policy=email.policy.default)
    assert bounce["Return-Path"] == "<>"
    assert bounce.get_content_type() == "multipart/report"
    assert "5.1.1" in bounce.as_string()


def test_a_full_mailbox_is_told_to_the_sender(site: Site, net: Machine, subject: str) -> None:
    small = site.account("small", "--quota", "100K")
    last = f"{subject} the last that fits"  # Dovecot lets one message pass the quota, by dovecot_quota_grace at most
    from_outside(net, message(FRIEND, [small], last, "All work and no play.\n" * 10_000), small)
    site.wait(small, last)
    token = f"full-{subject.split()[1]}"
    from_outside(net, message(FRIEND, [small], token), small)
    bounce = email.message_from_bytes(at_friend(net, token), policy=email.policy.default)
    assert bounce["Return-Path"] == "<>"
    assert "5.2.2" in bounce.as_string()
    assert len(clients.imap_messages(site.host, small, site.passwords[small])) == 1


def test_a_restart_refuses_no_connection(site: Site) -> None:
    stop, refused, greeted = threading.Event(), [], []

    def knock() -> None:
        while not stop.is_set():
            try:
                with smtplib.SMTP(site.ipv4, 25, "knock.far.test", timeout=30) as session:
                    greeted.append(session.noop()[0])
            except (OSError, smtplib.SMTPException) as error:
                refused.append(error)

    knocking = threading.Thread(target=knock)
    knocking.start()
    try:
        for _ in range(2):
            site.run("systemctl restart postane-smtpd.service")
            time.sleep(0.5)
    finally:
        stop.set()
        knocking.join()
    # A session that is under way may be told 421 and closed; no connection is refused.
    assert not [error for error in refused if not isinstance(error, smtplib.SMTPException)], refused
    assert greeted
