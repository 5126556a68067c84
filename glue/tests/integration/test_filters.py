"""The filters with their real services, on Debian 12 and 13, in a world with good and bad peers.

mx.far.test plays them all, by its further addresses: one in a block list, one without a name, one with another's name.
"""

import itertools
import json
import random
import re
import shlex
import smtplib
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import EmailMessage

import pytest

from . import clients
from .clients import message
from .machines import FRIEND, Machine, Site, at_friend, until

pytestmark = pytest.mark.site
LISTED, NAMELESS, MISNAMED = (f"10.89.79.{number}" for number in (64, 65, 66))
_PATTERN = "*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
GTUBE = f"XJS{_PATTERN}\n"  # refused
JUNK = f"YJS{_PATTERN}\n"  # marked
EICAR = rb"X5O!P%@AP[4\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
LEARN = "/run/rspamd-learn/learn.sock"

_TALK = """
import json, smtplib, sys
host, source, helo, sender, *to = sys.argv[1:]
session = smtplib.SMTP(timeout=90, local_hostname=helo, source_address=(source, 0))
def tell(step, reply, last=False):
    if reply[0] >= 400 or last:
        print(json.dumps([step, reply[0], reply[1].decode()]))
        sys.exit()
tell("connect", session.connect(host, 25))
session.ehlo()
tell("mail", session.mail(sender))
for address in to:
    tell("rcpt", session.rcpt(address))
tell("data", session.data(sys.stdin.buffer.read()), True)
"""

_ASK_RSPAMD = """
import http.client, json, socket, sys
class Controller(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1])
controller = Controller("rspamd")
controller.request("GET", "/stat")
print(json.loads(controller.getresponse().read())["learned"])
"""


@dataclass(frozen=True)
class Said:
    """The reply that ended a dialogue, and at which step."""

    step: str
    code: int
    text: str


def talk(
    net: Machine, site: Site, mail: EmailMessage, *, source: str = "", helo: str = "mx.far.test", sender: str = FRIEND
) -> Said:
    """One message to those of its To, from an address of mx.far.test."""
    to = str(mail["To"]).split(", ")
    words = [site.ipv4, source or net.ipv4, helo, sender, *to]
    return Said(*json.loads(net.run(shlex.join(["python3", "-c", _TALK, *words]), mail.as_bytes())))


def from_friend(site: Site, subject: str, body: str = "Shall we have lunch by the harbour tomorrow?\n") -> EmailMessage:
    return message(FRIEND, [site.mehmet], subject, body)


def with_file(mail: EmailMessage, name: str, content: bytes) -> EmailMessage:
    mail.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return mail


def in_mailbox(site: Site, address: str, subject: str, mailbox: str) -> EmailMessage:
    return clients.imap_wait(site.host, address, site.passwords[address], subject, mailbox=mailbox, seconds=60)


def subjects(site: Site, address: str, mailbox: str = "INBOX") -> list[str]:
    return [
        str(mail["Subject"])
        for mail in clients.imap_messages(site.host, address, site.passwords[address], mailbox=mailbox)
    ]


def refused(site: Site, mail: EmailMessage, to: str) -> Said:
    """What submission answers to the text of a message."""
    with pytest.raises(smtplib.SMTPDataError) as caught:
        site.submit(site.ayse, mail, to)
    error = caught.value.smtp_error
    return Said("data", caught.value.smtp_code, error.decode() if isinstance(error, bytes) else error)


# -- what passes, what is refused ---------------------------------------------------------------------------------


def test_a_clean_mail_passes_all_of_them(site: Site, net: Machine, subject: str) -> None:
    assert talk(net, site, from_friend(site, subject)).code == 250
    mail = site.wait(site.mehmet, subject)
    results = str(mail["Authentication-Results"])
    assert results.startswith(site.name)
    for found in ("spf=pass", "dmarc=none", "iprev=pass"):
        assert found in results
    assert str(mail["X-Spamd-Result"]).startswith("no action")
    assert mail["X-Spam"] is None


def test_what_rspamd_rejects_is_refused(site: Site, net: Machine, subject: str) -> None:
    said = talk(net, site, from_friend(site, subject, GTUBE))
    assert (said.step, said.code, said.text[:5]) == ("data", 554, "5.7.1")
    said = refused(site, message(site.ayse, [FRIEND], subject, GTUBE), FRIEND)
    assert (said.code, said.text[:5]) == (554, "5.7.1")


def test_a_virus_is_refused_in_both_directions(site: Site, net: Machine, subject: str) -> None:
    said = talk(net, site, with_file(from_friend(site, subject), "notes.txt", EICAR))
    assert (said.step, said.code) == ("data", 554)
    assert "Eicar-Test-Signature" in said.text
    said = refused(site, with_file(message(site.ayse, [FRIEND], subject), "notes.txt", EICAR), FRIEND)
    assert (said.code, "Eicar-Test-Signature" in said.text) == (554, True)


def test_a_program_is_refused_whatever_its_name(site: Site, net: Machine, subject: str) -> None:
    program = b"MZ" + bytes(58) + (64).to_bytes(4, "little") + b"PE\0\0" + bytes(200)
    for name, content in (("invoice.exe", b"no program at all"), ("invoice.pdf", program)):
        said = talk(net, site, with_file(from_friend(site, subject), name, content))
        assert (said.step, said.code, said.text[:5]) == ("data", 554, "5.7.1"), f"{name}: {said}"


# -- who sends it -------------------------------------------------------------------------------------------------


def test_a_listed_peer_is_refused_by_the_lists_words(site: Site, net: Machine, subject: str) -> None:
    said = talk(net, site, from_friend(site, subject), source=LISTED, helo="listed.far.test")
    assert (said.step, said.code // 100) == ("rcpt", 5)
    assert "bl.test" in said.text
    assert "a spammer of the tests" in said.text


def test_a_list_that_says_yes_to_everything_is_set_aside(site: Site, net: Machine, subject: str) -> None:
    assert talk(net, site, from_friend(site, subject)).code == 250
    told = site.run("journalctl -u postane-smtpd -o cat --no-pager | grep dead.test | tail -1")
    assert "dead.test" in told


@pytest.mark.parametrize("source", [NAMELESS, MISNAMED], ids=["nameless", "misnamed"])
def test_a_peer_without_a_name_comes_again(site: Site, net: Machine, subject: str, source: str) -> None:
    sender = f"new@d{uuid.uuid4().hex[:8]}.far.test"  # never seen before
    mail = message(sender, [site.mehmet], subject)
    said = talk(net, site, mail, source=source, sender=sender)
    assert (said.step, said.code) == ("rcpt", 451)

    def passed() -> bool:
        time.sleep(1)
        return talk(net, site, mail, source=source, sender=sender).code == 250

    until(passed, "the way past the greylist", 30)
    site.wait(site.mehmet, subject)


@pytest.mark.parametrize(("author", "domain"), [("ceo@bank.test", "bank.test"), ("ceo@pay.bank.test", "bank.test")])
def test_a_false_author_is_refused_where_the_domain_asks_for_it(
    site: Site, net: Machine, subject: str, author: str, domain: str
) -> None:
    said = talk(net, site, message(author, [site.mehmet], subject))
    assert (said.step, said.code, said.text[:5]) == ("data", 550, "5.7.1")
    assert domain in said.text


def test_a_doubtful_author_is_filed_into_junk(site: Site, net: Machine, subject: str) -> None:
    assert talk(net, site, message("orders@shop.test", [site.mehmet], subject)).code == 250
    mail = in_mailbox(site, site.mehmet, subject, "Junk")
    assert mail["X-Spam"] == "Yes"
    assert "dmarc=fail" in str(mail["Authentication-Results"])


# -- Junk, and what is learned from it ----------------------------------------------------------------------------


def test_spam_is_filed_into_junk_and_never_answered(site: Site, net: Machine, subject: str) -> None:
    away = f"away-{uuid.uuid4().hex}"
    reader = site.account("reader")
    with clients.ManageSieve(site.host, reader, site.passwords[reader]) as sieve:
        sieve.put("away", f'require "vacation"; vacation :subject "{away}" "Back on Monday.";')
        sieve.activate("away")
    assert talk(net, site, message(FRIEND, [reader], subject, JUNK)).code == 250
    assert in_mailbox(site, reader, subject, "Junk")["X-Spam"] == "Yes"
    assert subjects(site, reader) == []
    # What is no spam is answered, and the answer to the spam would have gone before it.
    assert talk(net, site, message("other@far.test", [reader], f"{subject} 2"), sender="other@far.test").code == 250
    in_mailbox(site, reader, f"{subject} 2", "INBOX")
    assert net.run(f"grep -rlF '{away}' /home/friend/Maildir/new || true") == ""


class Language:
    """Words that no other test has used, so that what is known of them was learned in this one."""

    def __init__(self) -> None:
        self._words = [uuid.uuid4().hex[:8].translate(str.maketrans("0123456789", "ghijklmnop")) for _ in range(60)]
        self._begins = itertools.cycle(random.sample(range(60), 60))

    def text(self) -> str:
        """In one order, from anywhere: what is known of words are mostly pairs of them that stand together.

        No two texts begin at the same place: Rspamd learns none twice, whatever its headers.
        """
        begin = next(self._begins)
        return " ".join((self._words[begin:] + self._words[:begin])[:50]) + ".\n"


def _learned(site: Site) -> int:
    return int(site.run(shlex.join(["python3", "-c", _ASK_RSPAMD, LEARN])))


def _fill(site: Site, address: str, mailbox: str, language: Language, count: int) -> None:
    with clients.imap(site.host, address, site.passwords[address]) as session:
        for _ in range(count):
            mail = message(FRIEND, [address], uuid.uuid4().hex[:8], language.text())
            assert session.append(mailbox, "", "", mail.as_bytes())[0] == "OK"


def _move_all(site: Site, address: str, source: str, target: str) -> None:
    with clients.imap(site.host, address, site.passwords[address]) as session:
        session.select(source)
        kind, answer = session.uid("MOVE", "1:*", target)
        assert kind == "OK", answer


def test_moving_teaches_rspamd(site: Site, net: Machine, subject: str) -> None:
    teacher, spam, ham = site.account("teacher"), Language(), Language()
    # As many as rspamd_bayes_min_learns says: from then on it passes over what it is sure of.
    begun = _learned(site)
    _fill(site, teacher, "INBOX", spam, 5)
    _move_all(site, teacher, "INBOX", "Junk")
    until(lambda: _learned(site) > begun, "messages learned as spam", 20)
    between = _learned(site)
    _move_all(site, teacher, "Junk", "Trash")
    _fill(site, teacher, "Junk", ham, 5)
    assert _learned(site) == between, "what went into Trash was learned"
    _move_all(site, teacher, "Junk", "INBOX")
    until(lambda: _learned(site) > between, "messages learned as ham", 20)

    def judged(language: Language, symbol: str) -> bool:
        said = talk(net, site, message(FRIEND, [teacher], subject, language.text()))
        assert said.code == 250
        mailboxes = [
            clients.imap_messages(site.host, teacher, site.passwords[teacher], mailbox=name)
            for name in ("INBOX", "Junk")
        ]
        return any(symbol in str(mail["X-Spamd-Result"]) for mails in mailboxes for mail in mails)

    until(lambda: judged(spam, "BAYES_SPAM"), "spam known by its words", 40)
    until(lambda: judged(ham, "BAYES_HAM"), "ham known by its words", 40)


def test_a_users_script_runs_no_program(site: Site) -> None:
    with clients.ManageSieve(site.host, site.ayse, site.passwords[site.ayse]) as sieve:
        for capability in ("vnd.dovecot.pipe", "vnd.dovecot.filter", "vnd.dovecot.execute"):
            with pytest.raises(ValueError, match="NO"):
                sieve.put("program", f'require "{capability}"; keep;')


# -- scripts of users and domains ---------------------------------------------------------------------------------


@pytest.fixture
def scripted(site: Site) -> Callable[[str], str]:
    """A new account with a script; returns its address."""

    def make(script: str) -> str:
        address = site.account("script")
        with clients.ManageSieve(site.host, address, site.passwords[address]) as sieve:
            sieve.put("mine", script)
            sieve.activate("mine")
        return address

    return make


@pytest.mark.parametrize(
    ("script", "also_kept"),
    [
        ('require "vacation"; vacation :subject "Away {token}" "Back on Monday.";', True),
        ('redirect "friend@far.test";', False),
        ('require "reject"; reject "No thanks, {token}";', False),
        ('require "editheader"; addheader "X-Seen" "{token}"; redirect "friend@far.test";', False),
    ],
    ids=["vacation", "redirect", "reject", "editheader"],
)
def test_what_a_script_sends_arrives(
    site: Site, net: Machine, scripted: Callable[[str], str], script: str, also_kept: bool
) -> None:
    token = f"token-{uuid.uuid4().hex[:12]}"
    address = scripted(script.format(token=token))
    assert talk(net, site, message(FRIEND, [address], token)).code == 250
    sent = at_friend(net, token)
    assert address.encode() in sent
    assert (token in subjects(site, address)) == also_kept


def test_a_script_files_where_it_says(site: Site, net: Machine, subject: str, scripted: Callable[[str], str]) -> None:
    address = scripted('require ["fileinto", "mailbox"]; fileinto :create "Lists";')
    assert talk(net, site, message(FRIEND, [address], subject)).code == 250
    in_mailbox(site, address, subject, "Lists")


def test_a_script_cannot_change_what_servers_said(
    site: Site, net: Machine, subject: str, scripted: Callable[[str], str]
) -> None:
    address = scripted('require "editheader"; deleteheader "Authentication-Results"; addheader "X-Mine" "yes";')
    assert talk(net, site, message(FRIEND, [address], subject)).code == 250
    mail = site.wait(address, subject)
    assert mail["Authentication-Results"]
    assert mail["X-Mine"] == "yes"


def test_a_domains_script_comes_before_its_users(site: Site, net: Machine, scripted: Callable[[str], str]) -> None:
    address = scripted('require ["fileinto", "mailbox"]; fileinto :create "Mine";')
    topic = f"[order] {uuid.uuid4().hex}"
    assert talk(net, site, message(FRIEND, [address], topic)).code == 250
    in_mailbox(site, address, topic, "Orders")


# -- when a service is away ---------------------------------------------------------------------------------------


@contextmanager
def stopped(site: Site, *units: str) -> Iterator[None]:
    names = " ".join(units)
    site.run(f"systemctl stop {names}")
    try:
        yield
    finally:
        site.run(f"systemctl start {names}")


def _failures(site: Site, name: str) -> float:
    ask = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8025/metrics').read().decode())"
    text = site.run(shlex.join(["python3", "-c", ask]))
    found = re.findall(rf'^postane_filter_failures_total{{[^}}]*filter="{name}"[^}}]*}} ([\d.]+)', text, re.MULTILINE)
    return sum(float(number) for number in found)


@pytest.mark.parametrize(
    ("name", "units"),
    [("rspamd", ["rspamd.service"]), ("clamav", ["clamav-daemon.socket", "clamav-daemon.service"])],
    ids=["rspamd", "clamd"],
)
def test_mail_waits_while_a_service_is_away(
    site: Site, net: Machine, subject: str, name: str, units: list[str]
) -> None:
    before = _failures(site, name)
    with stopped(site, *units):
        said = talk(net, site, from_friend(site, subject))
        assert (said.step, said.code) == ("data", 451)
        until(lambda: _failures(site, name) > before, "the metric of failures", 15)
        told = site.run("journalctl -u postane-smtpd -o cat --no-pager --since -2min | grep '\"filter_failed\"'")
        assert f'"{name}"' in told
    until(lambda: talk(net, site, from_friend(site, subject)).code == 250, "mail that flows again", 60)
    site.wait(site.mehmet, subject)


def test_without_redis_mail_is_judged_all_the_same(site: Site, net: Machine, subject: str) -> None:
    with stopped(site, "redis-server.service"):
        assert talk(net, site, from_friend(site, subject, GTUBE)).code == 554
        assert talk(net, site, from_friend(site, subject)).code == 250
        site.wait(site.mehmet, subject)
        pupil = site.account("pupil")
        _fill(site, pupil, "INBOX", Language(), 1)
        _move_all(site, pupil, "INBOX", "Junk")  # moved, if not learned
        assert len(subjects(site, pupil, "Junk")) == 1
    before = _learned(site)

    def learns_again() -> bool:
        _fill(site, pupil, "INBOX", Language(), 1)
        _move_all(site, pupil, "INBOX", "Junk")
        time.sleep(0.5)
        return _learned(site) > before

    until(learns_again, "that it learns again", 60)


# -- from outside -------------------------------------------------------------------------------------------------


def test_none_of_them_listens_on_the_network(site: Site) -> None:
    for port in (3310, 6379, 11332, 11333, 11334, 11335):
        for address in (site.ipv4, site.ipv6):
            with pytest.raises(OSError, match=r"refused|timed out|reset"):
                socket.create_connection((address, port), 0.3)
    listening = site.run("ss -Hltnp")
    for name in ("rspamd", "redis-server", "clamd"):
        assert name not in listening


def test_secrets_are_their_owners_alone(site: Site) -> None:
    for path in ("/etc/redis/password.conf", "/etc/rspamd/postane-secret.inc", "/etc/rspamd/local.d/redis.conf"):
        mode, owner = site.run(f"stat -c '%a %U' {path}").split()
        assert mode in ("600", "400"), path
        assert owner in ("redis", "_rspamd")
    # Who reads people's mail cannot ask Rspamd's controller, but for the one program.
    code = site.run(f"runuser -u vmail -- test -e {LEARN} && echo seen || echo hidden")
    assert code.strip() == "hidden"


def test_no_unit_has_failed(site: Site) -> None:
    assert site.run("systemctl --failed --plain --no-legend").strip() == ""
