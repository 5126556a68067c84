"""A customer's domain comes from an old host to Postane, goes back and comes again, is looked after, and leaves, while
a mail comes from outside every second: none is lost, none comes back, none is there twice.

The tests are one story, told of two customers at once: bakery.example goes to Debian 12, its zone is changed by
RFC 2136; florist.example goes to Debian 13, its zone by a provider of octoDNS. Each step needs the ones before it.
"""

import json
import socket
import ssl
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from . import clients
from .clients import message
from .machines import FRIEND, Machine, Site, at_friend, machine, until
from .world import OLD_HOST, Customer, Keeper, OldHost, Registrar, Stream, twice

pytestmark = pytest.mark.site
NAMES = ("ayse", "mehmet", "info", "depo")
PEOPLE = ("ayse", "mehmet")
LATER = "depo"  # whose mailbox stays at the old host
CUSTOMERS = {
    "bakery.example": ("mail.d12.test", "keeper"),
    "florist.example": ("mail.d13.test", "octo"),
}
TIMERS = "postane-watch.timer postane-drift.timer"
OLD_TTL = 15  # of the customers' MX: what a sender may believe after it has changed


def brought(domain: str) -> frozenset[str]:
    """The zone of somebody who has had a web site, a shop and mail for years."""
    return frozenset(
        {
            f"{domain} {OLD_TTL} MX 10 {OLD_HOST}.",
            f'{domain} 10 TXT "v=spf1 mx ip4:192.0.2.10 ~all"',
            f'{domain} 10 TXT "search-console=4f1d"',
            f"{domain} 10 A 192.0.2.80",
            f"www.{domain} 10 CNAME {domain}.",
            f'shop._domainkey.{domain} 10 TXT "v=DKIM1; p="',
        }
    )


def drift(customer: Customer, code: int, *words: str) -> list[dict[str, Any]]:
    """What is not right, or was; `code` is the exit code that has to come."""
    found, said = customer.postane("domain", "drift", customer.domain, *(words or ("--look",)))
    assert found == code, said
    findings: list[dict[str, Any]] = said["findings"]
    return findings


def has_gone_back(customer: Customer, old: OldHost) -> bool:
    """The newest mail is at the old host."""
    return max(old.numbers(customer.domain)) > max(customer.numbers())


def nothing_waits(customer: Customer) -> bool:
    return not customer.site.queued(customer.domain)


@pytest.fixture(scope="module")
def old() -> OldHost:
    return OldHost(machine(OLD_HOST))


@pytest.fixture(scope="module")
def registrar(net: Machine) -> Registrar:
    return Registrar(net)


@pytest.fixture(scope="module")
def customers(sites: dict[str, Site], old: OldHost) -> Iterator[dict[str, Customer]]:
    """As they are before they come, also if the tests ran before. The story alone leads them on."""
    for site in sites.values():
        site.run(f"systemctl stop {TIMERS}")
    made = {}
    for domain, (host, target) in CUSTOMERS.items():
        one = Customer(domain, sites[host], Keeper(domain, old.machine.ipv4), target, brought(domain))
        one.site.tell(f"postane domain remove {domain} --force; rm -rf /var/vmail/{domain}")
        one.keeper.reset(one.records)
        old.clear(domain)
        made[domain] = one
    yield made
    for site in sites.values():
        site.run(f"systemctl start {TIMERS}")


@pytest.fixture(scope="module")
def stream(net: Machine, customers: dict[str, Customer]) -> Iterator[Stream]:
    made = Stream(net)
    made.start(NAMES, list(customers))
    yield made
    made.stop()


@pytest.fixture(params=CUSTOMERS)
def customer(request: pytest.FixtureRequest, customers: dict[str, Customer], stream: Stream) -> Customer:
    return customers[request.param]


# -- before it comes ----------------------------------------------------------------------------------------------


def test_a_claim_captures_no_mail(customer: Customer, old: OldHost, stream: Stream, subject: str) -> None:
    claim = customer.do("domain", "claim", customer.domain, "--tenant", customer.domain.split(".")[0])
    assert claim["item"]["state"] == "claimed"
    with clients.smtp(customer.site.host) as session:
        session.mail(FRIEND)
        assert session.rcpt(customer.address("ayse"))[0] == 554
    site, to = customer.site, customer.address("ayse")
    site.submit(site.ayse, message(site.ayse, [to], subject), to)
    until(lambda: old.has(to, subject), "the mail of another tenant's people at the old host")


def test_without_the_owners_proof_it_stays_a_claim(customer: Customer) -> None:
    code, said = customer.postane("domain", "verify", customer.domain)
    assert (code, said["item"]["state"]) == (1, "claimed"), said
    assert "proof" in said["item"]["holds"]


def test_the_owners_proof_is_seen(customer: Customer) -> None:
    claim = customer.do("domain", "claim", customer.domain, "--tenant", customer.domain.split(".")[0])["item"]
    customer.keeper.put(f'{claim["record_name"]} 10 TXT "{claim["record"]}"')
    until(lambda: customer.postane("domain", "verify", customer.domain)[0] == 0, "the proof")
    assert customer.state() == "verified"


def test_accounts_come_before_the_mail(customer: Customer) -> None:
    for name in PEOPLE:
        customer.account(name)
    customer.do("alias", "add", customer.address("info"), customer.address("ayse"))
    customer.do("domain", "split", customer.domain, "--add", customer.address(LATER))
    customer.do("domain", "dns", customer.domain, "--target", customer.target)
    customer.advance("shadow")


def test_in_the_shadow_records_let_us_send_and_lead_nobody_here(customer: Customer) -> None:
    domain, keeper = customer.domain, customer.keeper
    assert keeper.at(domain, "MX") == [f"10 {OLD_HOST}."]
    spf = [text for text in keeper.at(domain, "TXT") if text.startswith('"v=spf1')]
    assert spf == [f'"v=spf1 mx ip4:192.0.2.10 a:{customer.site.name} ~all"'], spf
    names = {line.split(" ")[0] for line in keeper.records()}
    assert len([name for name in names if name.endswith(f"._domainkey.{domain}")]) == 3
    assert not names & {f"_dmarc.{domain}", f"mta-sts.{domain}", f"autoconfig.{domain}"}
    untouched = {line for line in customer.records if "v=spf1" not in line}
    assert untouched <= keeper.records()


# -- it comes, while mail comes ------------------------------------------------------------------------------------


def test_it_comes_with_the_operators_word(customer: Customer, stream: Stream) -> None:
    customer.advance("cutover")
    assert customer.keeper.at(customer.domain, "MX") == [f"10 {customer.site.name}."]


def test_mail_comes_here_from_then_on(customer: Customer, stream: Stream) -> None:
    number = stream.now(customer.domain) + OLD_TTL
    until(lambda: max(customer.numbers(), default=0) > number, "a mail that was sent after the old TTL", 90)


def test_it_is_hardened_when_nobody_sees_the_old_mx(customer: Customer) -> None:
    customer.advance("hardened")
    domain, keeper = customer.domain, customer.keeper
    names = {line.split(" ")[0] for line in keeper.records()}
    assert {f"_dmarc.{domain}", f"mta-sts.{domain}", f"autoconfig.{domain}", f"_smtp._tls.{domain}"} <= names
    spf = [text for text in keeper.at(domain, "TXT") if text.startswith('"v=spf1')]
    # The word that was put in before says the same as that of now, and is taken out when the domain leaves.
    assert spf == [f'"v=spf1 mx ip4:192.0.2.10 a:{customer.site.name} ~all"'], spf


def test_its_people_send(customer: Customer, net: Machine, subject: str) -> None:
    sender = customer.address("ayse")
    clients.submit(customer.site.host, sender, customer.passwords[sender], message(sender, [FRIEND], subject), [FRIEND])
    assert b"d=" + customer.domain.encode() in at_friend(net, subject)


def test_its_names_get_a_certificate_that_is_shown_without_a_restart(customer: Customer) -> None:
    site, name = customer.site, f"mail.{customer.domain}"
    customer.keeper.put(f"{name} 10 CNAME {site.name}.")
    started = site.run("systemctl show --property=ExecMainStartTimestamp postane-smtpd nginx dovecot")
    login = customer.address("ayse")
    with clients.imap(site.host, login, customer.passwords[login]) as reader:
        site.run("systemctl start postane-certificates.service")
        wanted = {f"{label}.{customer.domain}" for label in ("mail", "autoconfig", "autodiscover", "mta-sts")}
        shown = customer.do("certificate", "show", customer.domain)
        if not wanted <= set(shown["certified"]):  # a run of the timer's has looked before its names led here
            customer.do("certificate", "renew", customer.domain)
            shown = customer.do("certificate", "show", customer.domain)
        assert wanted <= set(shown["certified"]), shown
        trust = ssl.create_default_context(cadata=site.run("cat /usr/local/share/ca-certificates/closed-world.crt"))

        def good(port: int, host: str) -> bool:
            with socket.create_connection((site.ipv4, port), 20) as plain:
                try:
                    trust.wrap_socket(plain, server_hostname=host).close()
                except ssl.SSLCertVerificationError:
                    return False
            return True

        assert good(465, name)
        assert good(443, f"autoconfig.{customer.domain}")
        for port in (993, 995):  # Dovecot is reloaded, once for all that change together
            until(partial(good, port, name), f"the certificate at port {port}")
        assert reader.noop()[0] == "OK", "a session that is logged in stays over a reload"
    assert site.run("systemctl show --property=ExecMainStartTimestamp postane-smtpd nginx dovecot") == started


def test_it_is_accepted_and_the_page_is_signed(customer: Customer) -> None:
    folder = f"/var/tmp/accepted-{customer.domain}"
    code, said = customer.postane("domain", "accept", customer.domain, "--to", folder)
    bad = [one for one in said["checks"] if one["verdict"] == "fail"] if isinstance(said, dict) else said
    assert code == 0, bad
    customer.do("domain", "accept", "--verify", f"{folder}/certificate.json")


# -- back, and here again ------------------------------------------------------------------------------------------


def test_it_goes_back(customer: Customer, old: OldHost, stream: Stream) -> None:
    for state in ("cutover", "shadow"):
        assert customer.do("domain", "rollback", customer.domain, "--why", "a test")["item"]["state"] == state
    assert customer.keeper.at(customer.domain, "MX") == [f"10 {OLD_HOST}."]
    number = stream.now(customer.domain) + OLD_TTL
    until(lambda: max(old.numbers(customer.domain), default=0) > number, "mail at the old host again", 90)


def test_it_comes_again(customer: Customer, stream: Stream) -> None:
    customer.advance("cutover")
    customer.advance("hardened")


# -- it is looked after --------------------------------------------------------------------------------------------


def test_what_is_gone_is_seen_and_put_back(customer: Customer) -> None:
    domain, keeper = customer.domain, customer.keeper
    drift(customer, 0)
    lost = sorted(line for line in keeper.records() if line.startswith((f"_dmarc.{domain} ", f"_smtp._tls.{domain} ")))
    assert len(lost) == 2
    keeper.drop(*lost)
    found = drift(customer, 1, "--look")
    assert {(one["kind"], one["standing"]) for one in found} == {("missing", "open")}
    assert {one["subject"].split()[0] for one in found} == {f"_dmarc.{domain}", f"_smtp._tls.{domain}"}
    drift(customer, 0, "--repair")
    assert set(lost) <= keeper.records()
    assert [one["standing"] for one in drift(customer, 0, "--over")] == ["repaired", "repaired"]


def test_a_second_spf_record_is_seen_and_left_to_its_owner(customer: Customer) -> None:
    domain, keeper = customer.domain, customer.keeper
    second = f'{domain} 10 TXT "v=spf1 include:news.test ~all"'
    before = keeper.records()
    keeper.put(second)
    for words in ("--look", "--repair"):
        assert [one["kind"] for one in drift(customer, 1, words)] == ["spf-two"]
        assert keeper.records() == before | {second}
    keeper.drop(second)
    drift(customer, 0, "--look")


# -- one that has to wait, and whose owner forgets to pay ------------------------------------------------------------


def test_a_move_waits_until_no_cache_can_have_the_old_mx(
    sites: dict[str, Site], old: OldHost, registrar: Registrar
) -> None:
    domain = "slow.example"
    slow = Customer(domain, sites["mail.d12.test"], Keeper(domain, old.machine.ipv4), "keeper")
    slow.site.tell(f"postane domain remove {domain} --force")
    slow.keeper.reset([f"{domain} 3600 MX 10 {OLD_HOST}."])
    slow.do("domain", "claim", domain, "--tenant", "bakery")
    slow.do("domain", "add", domain, "--tenant", "bakery")  # the operator knows whose it is
    slow.account("ayse")
    slow.do("domain", "dns", domain, "--target", slow.target)
    slow.advance("shadow")
    # Looking at it lowers the TTL, and from then on the old one is waited for.
    code, said = slow.postane("domain", "advance", domain)
    assert (code, said["item"]["state"]) == (1, "shadow")
    (record,) = (line for line in slow.keeper.records() if " MX " in line)
    assert int(record.split(" ")[1]) <= 600
    code, said = slow.postane("domain", "advance", domain)
    assert (code, said["item"]["state"]) == (1, "shadow")
    assert "caches may keep its MX with the old TTL" in said["item"]["holds"]
    # A registry that knows it no more is asked again before that is believed.
    assert drift(slow, 0) == []
    registrar.delegate(domain)
    assert [(one["kind"], one["standing"]) for one in drift(slow, 0)] == [("expired", "pending")]
    registrar.delegate(domain, "ns.keeper.test")
    assert drift(slow, 0) == []
    slow.do("domain", "remove", domain, "--force")


# -- it leaves -----------------------------------------------------------------------------------------------------


def test_it_says_that_it_leaves_and_takes_mail_until_it_has_left(customer: Customer, stream: Stream) -> None:
    customer.do("domain", "leave", customer.domain, "--why", "a test")
    number = stream.now(customer.domain)
    until(lambda: max(customer.numbers(), default=0) > number, "mail while it is leaving")
    code, said = customer.postane("domain", "advance", customer.domain)
    assert (code, said["item"]["state"]) == (1, "leaving"), said
    customer.keeper.swap(customer.domain, "MX", f"10 {OLD_HOST}.", ttl=OLD_TTL)


def test_not_one_mail_is_lost_or_comes_back_or_is_there_twice(
    customers: dict[str, Customer], old: OldHost, stream: Stream
) -> None:
    begun = time.monotonic()
    for customer in customers.values():
        until(partial(has_gone_back, customer, old), "mail at its new host", 90)
    time.sleep(max(0.0, begun + 2 * OLD_TTL - time.monotonic()))
    stream.stop()
    until(lambda: not stream.waiting(), "an empty queue of the sender", 90)
    figures = {}
    for customer in customers.values():
        until(partial(nothing_waits, customer), "an empty queue", 90)
        sent, there, here = stream.sent(customer.domain), old.numbers(customer.domain), customer.numbers()
        figures[customer.domain] = {"sent": len(sent), "at the old host": len(there), "here": len(here)}
        assert sent == list(range(1, len(sent) + 1))
        assert not twice([*there, *here]), figures
        assert sorted([*there, *here]) == sent, figures
    assert stream.returned() == ""
    print(json.dumps(figures))


def test_it_leaves_with_its_data(customer: Customer) -> None:
    folder = f"/var/tmp/export-{customer.domain}"
    customer.site.run(f"rm -rf {folder}")
    customer.do("domain", "export", customer.domain, "--to", folder)
    mails = customer.site.run(f"find {folder} -name '*.tar' -exec tar -xOf {{}} \\; | grep -a '^X-Stream: '")
    assert sorted(int(line.split()[1]) for line in mails.splitlines()) == customer.numbers()
    customer.advance("removed")
    code, _ = customer.postane("domain", "show", customer.domain)
    assert code != 0


def test_nothing_of_ours_is_left_and_all_that_was_theirs(customer: Customer) -> None:
    own = {f"mail.{customer.domain} 10 CNAME {customer.site.name}."}
    left = {line for line in customer.keeper.records() if " NS " not in line and "_postane-challenge" not in line}
    assert left - own == customer.records
