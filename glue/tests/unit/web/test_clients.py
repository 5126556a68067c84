"""All that mail programs are told is read back as they read it, compared with each other and with the model."""

from __future__ import annotations

import base64
import dataclasses
import datetime
import hashlib
import json
import plistlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from litestar.testing import TestClient
from msgspec.structs import replace
from sqlalchemy import select

from postane.admin import account, clients, domain, domain_facts
from postane.admin.site import Site
from postane.clients.autodiscover import OUTLOOK, REQUEST, RESPONSE
from postane.clients.dns import srv_records, text_records
from postane.clients.model import MtaSts, MtaStsMode, Setup, make_setup
from postane.clients.mta_sts import policy_id
from postane.clients.pacc import document
from postane.config.model import Clients, Config, Tls
from postane.dns.records import text_of
from postane.domains.desired import desired
from postane.domains.kinds import ALL, Kind
from postane.storage.schema import Domain
from postane.web.app import make_app

IDN = "xn--mze-hoa.example"
ASCII_AND_IDN = pytest.mark.parametrize("asked", ["demo.test", IDN])


@dataclasses.dataclass(frozen=True)
class Told:
    """What a program would connect to."""

    protocol: str
    host: str
    port: int
    security: str


class World:
    def __init__(self, folder: Path, client: Any = None) -> None:
        self.folder = folder
        self.config = Config(
            host="mail.host.test",
            state=str(folder),
            runtime=str(folder),
            tls=Tls(certificate=str(folder / "fullchain.pem"), key=str(folder / "privkey.pem")),
            clients=Clients(provider="Fırın & <Söhne>", help="https://host.test/?a=1&b=2", mta_sts_max_age=86_400),
        )
        self.client = client

    def get(self, path: str, host: str = "panel.host.test", **headers: str) -> Any:
        return self.client.get(path, headers={"Host": host, **headers}, follow_redirects=False)

    def outlook(self, address: str, schema: str = OUTLOOK, path: str = "/autodiscover/autodiscover.xml") -> Any:
        body = (
            f'<Autodiscover xmlns="{REQUEST}"><Request><EMailAddress>{address}</EMailAddress>'
            f"<AcceptableResponseSchema>{schema}</AcceptableResponseSchema></Request></Autodiscover>"
        )
        return self.client.post(path, content=body.encode(), headers={"Content-Type": "text/xml"})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("clients")
    made = World(folder)
    write_certificate(folder)
    site = Site(made.config)
    site.database.upgrade()
    for name in ("demo.test", "müze.example", "off.test", "moving.test"):
        domain.add(site, name)
    domain.set_active(site, "off.test", False)
    account.add(site, "ayse@demo.test", "secret-word")
    with TestClient(make_app(site)) as client:
        made.client = client
        yield made


def write_certificate(folder: Path) -> None:
    """An authority, one below it that signs for hosts, and the host's certificate, in the files of a real host."""
    now = datetime.datetime.now(datetime.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(3)]
    names = [
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("Root", "Signer", "mail.host.test")
    ]
    made = [
        x509.CertificateBuilder()
        .subject_name(names[which])
        .issuer_name(names[max(which - 1, 0)])
        .public_key(keys[which].public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=which < 2, path_length=None), critical=True)
        .sign(keys[max(which - 1, 0)], SHA256())
        .public_bytes(Encoding.PEM)
        for which in range(3)
    ]
    (folder / "ca.pem").write_bytes(made[0])
    (folder / "fullchain.pem").write_bytes(made[2] + made[1])
    key = keys[2].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "privkey.pem").write_bytes(key)


# -- what a program makes of each answer --------------------------------------------------------------------------


def from_autoconfig(body: bytes, address: str) -> tuple[set[Told], set[str]]:
    """As Thunderbird reads it; also the names that it logs in with."""
    root = ET.fromstring(body)
    local = address.rpartition("@")[0]
    told, users = set(), set()
    for server in [*root.iter("incomingServer"), *root.iter("outgoingServer")]:
        text = {child.tag: child.text or "" for child in server}
        security = {"SSL": "tls", "STARTTLS": "starttls"}[text["socketType"]]
        told.add(Told(server.attrib["type"], text["hostname"], int(text["port"]), security))
        users.add(text["username"].replace("%EMAILADDRESS%", address).replace("%EMAILLOCALPART%", local))
        assert text["authentication"] == "password-cleartext"
    return told, users


def from_pox(body: bytes) -> tuple[set[Told], set[str]]:
    root = ET.fromstring(body)
    assert root.tag == f"{{{RESPONSE}}}Autodiscover"
    told, users = set(), set()
    for protocol in root.iter(f"{{{OUTLOOK}}}Protocol"):
        text = {child.tag.rpartition("}")[2]: child.text or "" for child in protocol}
        security = {"SSL": "tls", "TLS": "starttls"}[text["Encryption"]]
        assert text["SSL"] == {"tls": "on", "starttls": "off"}[security]
        told.add(Told(text["Type"].lower(), text["Server"], int(text["Port"]), security))
        users.add(text["LoginName"])
    return told, users


def verified(world: World, signed: bytes) -> dict[str, Any]:
    """The profile inside the signature, as openssl sees it."""
    done = subprocess.run(
        ["openssl", "cms", "-verify", "-inform", "DER", "-CAfile", world.folder / "ca.pem", "-purpose", "any"],
        input=signed,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = plistlib.loads(done.stdout)
    return found


def from_profile(profile: dict[str, Any]) -> tuple[set[Told], set[str]]:
    (mail,) = profile["PayloadContent"]
    kind = {"EmailTypeIMAP": "imap", "EmailTypePOP": "pop3"}[mail["EmailAccountType"]]
    told, users = set(), set()
    for way, protocol in (("Incoming", kind), ("Outgoing", "smtp")):
        assert mail[f"{way}MailServerUseSSL"] is True
        port = mail[f"{way}MailServerPortNumber"]
        told.add(Told(protocol, mail[f"{way}MailServerHostName"], port, "starttls" if port == 587 else "tls"))
        users.add(mail[f"{way}MailServerUsername"])
    return told, users


def from_pacc(body: bytes) -> set[Told]:
    """The standard ports of TLS from the first octet; `smtp` is the older word for `submit`."""
    protocols = json.loads(body)["protocols"]
    assert protocols.pop("smtp") == protocols["submit"]
    ports = {"imap": ("imap", 993), "pop3": ("pop3", 995), "submit": ("smtp", 465)}
    return {Told(*(ports[key][0], place["host"], ports[key][1]), "tls") for key, place in protocols.items()}


def from_srv(setup: Setup) -> set[Told]:
    kinds = {
        "submissions": ("smtp", "tls"),
        "submission": ("smtp", "starttls"),
        "imaps": ("imap", "tls"),
        "pop3s": ("pop3", "tls"),
        "sieve": ("sieve", "starttls"),
    }
    told = set()
    for record in srv_records(setup):
        name = record.name.partition(".")[0].removeprefix("_")
        *_, port, host = record.data.split()
        if name in kinds:
            told.add(Told(kinds[name][0], host.removesuffix("."), int(port), kinds[name][1]))
    return told


@ASCII_AND_IDN
def test_all_say_the_same(world: World, asked: str) -> None:
    setup = make_setup(asked, world.config)
    login = f"nobody@{asked}"
    model = {Told(one.protocol, one.host, one.port, one.security.value) for one in setup.services}
    assert len(model) == 5
    best = {
        Told(one.protocol, one.host, one.port, one.security.value)
        for one in map(setup.best, ("imap", "pop3", "smtp"))
        if one
    }

    assert from_srv(setup) == model
    for typed in {login, f"nobody@{setup.shown}"}:
        xml = world.get("/mail/config-v1.1.xml?emailaddress=" + typed)
        assert xml.status_code == 200
        told, users = from_autoconfig(xml.content, typed)
        assert told == {one for one in model if one.protocol != "sieve"}
        assert users == {login}

        told, users = from_pox(world.outlook(typed).content)
        assert told == best
        assert users == {login}

        profile = world.get("/mail/apple.mobileconfig?emailaddress=" + typed)
        assert profile.headers["content-type"] == "application/x-apple-aspen-config"
        told, users = from_profile(verified(world, profile.content))
        assert told == {one for one in best if one.protocol != "pop3"}
        assert users == {login}

    pacc = world.get("/.well-known/user-agent-configuration.json", f"ua-auto-config.{asked}")
    assert from_pacc(pacc.content) == best
    texts = {record.name: text_of(record.data) for record in text_records(setup)}
    digest = base64.b64encode(hashlib.sha256(pacc.content).digest()).decode()
    assert texts[f"_ua-auto-config.{asked}"] == f"v=UAAC1; a=sha256; d={digest}"

    policy = world.get("/.well-known/mta-sts.txt", f"mta-sts.{asked}")
    assert policy.headers["content-type"].startswith("text/plain")
    assert policy.content == b"version: STSv1\r\nmode: testing\r\nmx: mail.host.test\r\nmax_age: 86400\r\n"
    assert texts[f"_mta-sts.{asked}"].startswith("v=STSv1; id=")
    assert {one.host for one in setup.services} == {"mail.host.test"}


@ASCII_AND_IDN
def test_the_plan_of_a_domain_takes_the_same_records(world: World, asked: str) -> None:
    (known,) = domain_facts.known(Site(world.config), [asked])
    planned = {
        (one.record.name, one.record.type, one.record.data)
        for one in desired(dataclasses.replace(known.facts, kinds=ALL))
        if one.kind in (Kind.SRV, Kind.MTA_STS, Kind.AUTOCONFIG, Kind.AUTODISCOVER, Kind.PACC)
    }
    told = {(one.name, one.type, one.data) for one in clients.show(Site(world.config), asked).records}
    assert planned == told


@ASCII_AND_IDN
def test_the_provider_reads_the_same_everywhere(world: World, asked: str) -> None:
    provider = world.config.clients.provider
    xml = ET.fromstring(world.get(f"/mail/config-v1.1.xml?emailaddress=x@{asked}").content)
    assert xml.findtext("emailProvider/displayName") == provider
    assert xml.find("emailProvider/documentation").attrib["url"] == world.config.clients.help  # type: ignore[union-attr]
    descriptions = {one.attrib["lang"]: one.text for one in xml.iter("descr")}
    assert set(descriptions) == {"en", "tr"}
    pacc = json.loads(world.get("/.well-known/user-agent-configuration.json", f"ua-auto-config.{asked}").content)
    assert pacc["info"]["provider"]["name"] == provider
    profile = verified(world, world.get(f"/mail/apple.mobileconfig?emailaddress=x@{asked}").content)
    assert profile["PayloadOrganization"] == provider


@pytest.mark.parametrize("path", ["/mail/config-v1.1.xml", "/.well-known/autoconfig/mail/config-v1.1.xml"])
def test_the_name_asked_says_which_domain(world: World, path: str) -> None:
    by_address = world.get(f"{path}?emailaddress=x@demo.test")
    for host in ("autoconfig.demo.test", "AUTOCONFIG.demo.test:2080", "demo.test"):
        assert world.get(path, host).content == by_address.content
    # The mail exchanger's name is tried too, for the address of another domain: the address counts.
    assert world.get(f"{path}?emailaddress=x@{IDN}", "autoconfig.demo.test").content != by_address.content


PLACES = (
    ("/mail/config-v1.1.xml?emailaddress=x@{}", ""),
    ("/mail/config-v1.1.xml", "autoconfig.{}"),
    ("/.well-known/autoconfig/mail/config-v1.1.xml?emailaddress=x@{}", "{}"),
    ("/mail/apple.mobileconfig?emailaddress=x@{}", ""),
    ("/autodiscover/autodiscover.json?Email=x@{}&Protocol=AutodiscoverV1", ""),
    ("/autodiscover/autodiscover.json/v1.0/x@{}?Protocol=AutodiscoverV1", ""),
    ("/.well-known/user-agent-configuration.json", "ua-auto-config.{}"),
    ("/.well-known/mta-sts.txt", "mta-sts.{}"),
)


@pytest.mark.parametrize(("path", "host"), PLACES)
def test_what_is_not_served_gets_one_answer(world: World, path: str, host: str) -> None:
    assert world.get(path.format("demo.test"), host.format("demo.test") or "panel.host.test").status_code == 200
    answers = {
        (answer.status_code, answer.content, tuple(sorted(answer.headers.items())))
        for name in ("far.test", "off.test", "a..test", "test", "x" * 300, "127.0.0.1", "%00.test", "demo.test%0d%0aX")
        for answer in [world.get(path.format(name), (host.format(name) if host and "%" not in name else "panel.test"))]
    }
    assert len(answers) == 1
    assert answers.pop()[:2] == (404, b"not found\n")


def test_a_charset_is_told_once(world: World) -> None:
    answers = [world.outlook("x@demo.test"), world.outlook("x@far.test"), world.get("/.well-known/security.txt")]
    answers.append(world.get("/mail/config-v1.1.xml?emailaddress=x@demo.test"))
    kinds = [one.headers["content-type"] for one in answers]
    assert kinds == [f"{kind}; charset=utf-8" for kind in ("text/xml", "text/plain", "text/plain", "application/xml")]


def test_outlook_hears_nothing_of_others(world: World) -> None:
    for address in ("x@far.test", "x@off.test", "x", "", "x@demo.test@far.test"):
        answer = world.outlook(address)
        assert (answer.status_code, answer.content) == (404, b"not found\n")


def test_nobody_learns_who_is_there(world: World) -> None:
    """The same octets, but for the name, for one who is there and one who is not."""
    there, not_there = (
        [
            world.get(f"/mail/config-v1.1.xml?emailaddress={name}@demo.test").content,
            world.outlook(f"{name}@demo.test").content,
            world.get(f"/autodiscover/autodiscover.json?email={name}@demo.test&protocol=autodiscoverv1").content,
        ]
        for name in ("ayse", "oyse")
    )
    assert [body.replace(b"ayse", b"oyse") for body in there] == not_there
    mine, yours = (
        verified(world, world.get(f"/mail/apple.mobileconfig?emailaddress={name}@demo.test").content)
        for name in ("ayse", "oyse")
    )
    assert mine.keys() == yours.keys()
    assert mine["PayloadContent"][0].keys() == yours["PayloadContent"][0].keys()


def test_a_profile_replaces_itself_and_holds_no_password(world: World) -> None:
    ask = "/mail/apple.mobileconfig?emailaddress="
    first, again, spelled, other = (
        verified(world, world.get(ask + name).content)
        for name in ("ayse@demo.test", "ayse@demo.test", "AYSE@Demo.Test", "mehmet@demo.test")
    )
    assert first == again
    assert first["PayloadUUID"] == spelled["PayloadUUID"]
    ids = [first["PayloadUUID"], first["PayloadContent"][0]["PayloadUUID"], other["PayloadUUID"]]
    assert len(set(ids)) == 3
    assert b"secret-word" not in plistlib.dumps(first)
    assert not [key for key in first["PayloadContent"][0] if key.endswith("Password") and "SameAs" not in key]


@pytest.mark.parametrize(("language", "name"), [("tr-TR", "ayse@demo.test postası"), ("de", "Mail for ayse@demo.test")])
def test_a_profile_speaks_its_readers_language(world: World, language: str, name: str) -> None:
    answer = world.get("/mail/apple.mobileconfig?emailaddress=ayse@demo.test", **{"Accept-Language": language})
    profile = verified(world, answer.content)
    assert profile["PayloadDisplayName"] == name
    assert set(profile["ConsentText"]) == {"default", "en", "tr"}


def test_a_local_part_cannot_break_out(world: World) -> None:
    address = '"<x>&\'"@demo.test'
    told, users = from_pox(world.outlook("&quot;&lt;x&gt;&amp;'&quot;@demo.test").content)
    assert len(told) == 3
    assert users == {"<x>&'@demo.test"}
    answer = world.client.get("/mail/apple.mobileconfig", params={"emailaddress": address})
    (mail,) = verified(world, answer.content)["PayloadContent"]
    assert mail["EmailAddress"] == "<x>&'@demo.test"


def test_what_outlook_sends_wrongly_is_an_error_of_its_own(world: World) -> None:
    def code(answer: Any) -> str:
        assert answer.status_code == 200
        return ET.fromstring(answer.content).findtext(f".//{{{RESPONSE}}}ErrorCode") or ""

    assert (
        code(
            world.outlook(
                "x@demo.test", "http://schemas.microsoft.com/exchange/autodiscover/mobilesync/responseschema/2006"
            )
        )
        == "601"
    )
    assert code(world.client.post("/autodiscover/autodiscover.xml", content=b"<a/>")) == "600"
    evil = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
    answer = world.client.post("/Autodiscover/Autodiscover.xml", content=evil)
    assert code(answer) == "600"
    assert b"root:" not in answer.content
    assert world.client.post("/autodiscover/autodiscover.xml", content=b" " * 20_000).status_code == 413


def test_json_leads_to_pox_under_a_name_of_the_hosts_certificate(world: World) -> None:
    for path in ("?Email=x@demo.test&Protocol=AutodiscoverV1", "/v1.0/x@demo.test?protocol=autodiscoverv1"):
        answer = world.get(f"/autodiscover/autodiscover.json{path}")
        assert answer.json() == {
            "Protocol": "AutodiscoverV1",
            "Url": "https://panel.host.test/autodiscover/autodiscover.xml",
        }
    answer = world.get("/autodiscover/autodiscover.json?Email=x@demo.test&Protocol=ActiveSync")
    assert (answer.status_code, answer.json()["ErrorCode"]) == (400, "ProtocolNotSupported")


def test_security_and_password(world: World) -> None:
    text = world.get("/.well-known/security.txt").text
    assert text.startswith("Contact: mailto:postmaster@host.test\nExpires: 20")
    end = datetime.datetime.fromisoformat(text.split("Expires: ")[1].split("\n")[0])
    assert datetime.timedelta(days=170) < end - datetime.datetime.now(datetime.UTC) < datetime.timedelta(days=365)
    assert world.get("/.well-known/change-password").status_code == 404


def test_a_key_that_cannot_be_read_is_not_passed_over(world: World, tmp_path: Path) -> None:
    """No profile goes out unsigned where it should be signed; without any certificate it does."""
    ask = "/mail/apple.mobileconfig?emailaddress=x@demo.test"
    missing = str(tmp_path / "none.pem")
    lost = replace(world.config, tls=Tls(certificate=missing, key=missing))
    with TestClient(make_app(Site(lost))) as client:
        assert client.get(ask).status_code == 503
    with TestClient(make_app(Site(replace(world.config, tls=Tls())))) as client:
        assert plistlib.loads(client.get(ask).content)["PayloadContent"]


def test_a_new_certificate_is_taken_up(world: World) -> None:
    ask = "/mail/apple.mobileconfig?emailaddress=x@demo.test"
    verified(world, world.get(ask).content)
    write_certificate(world.folder)
    verified(world, world.get(ask).content)


@pytest.mark.parametrize(
    ("state", "wishes", "autoconfig", "policy"),
    [
        ("claimed", "{}", 404, None),
        ("removed", "{}", 404, None),
        ("shadow", "{}", 200, None),  # the MX is another's
        ("cutover", "{}", 200, "testing"),
        ("hardened", '{"mta_sts": "enforce", "dmarc": "reject"}', 200, "enforce"),
        ("hardened", '{"mta_sts": "off"}', 200, None),
        ("leaving", '{"mta_sts": "none"}', 200, "none"),
    ],
)
def test_where_a_domain_stands(world: World, state: str, wishes: str, autoconfig: int, policy: str | None) -> None:
    with Site(world.config).database.change() as session:
        row = session.scalars(select(Domain).where(Domain.name == "moving.test")).one()
        row.state, row.settings = state, wishes
    assert world.get("/mail/config-v1.1.xml", "autoconfig.moving.test").status_code == autoconfig
    answer = world.get("/.well-known/mta-sts.txt", "mta-sts.moving.test")
    if policy is None:
        assert answer.status_code == 404
    else:
        assert f"mode: {policy}" in answer.text.splitlines()


def test_a_policy_has_an_id_of_its_own() -> None:
    modes: tuple[MtaStsMode, ...] = ("testing", "enforce")
    ids = {policy_id(MtaSts(mode, ("mail.host.test",), age)) for mode in modes for age in (1, 2)}
    assert len(ids) == 4
    assert all(re.fullmatch("[a-z0-9]{1,32}", one) for one in ids)


def test_services_that_are_not_there(world: World) -> None:
    config = Config(host="mail.host.test", clients=Clients(services=("submission", "pop3s"), webmail="-"))
    setup = make_setup("demo.test", config)
    assert {one.data for one in srv_records(setup) if one.name.startswith("_imaps.")} == {"0 0 0 ."}
    assert setup.reading is not None
    assert setup.reading.protocol == "pop3"
    protocols = json.loads(document(setup))["protocols"]
    assert protocols == {"pop3": {"host": "mail.host.test"}}  # submission has STARTTLS alone
    assert setup.webmail == ""


def test_the_command_shows_what_is_served(world: World) -> None:
    view = clients.show(Site(world.config), "müze.example")
    by_name = {way.name: way.url for way in view.ways}
    host, _, path = by_name["autoconfig"].removeprefix("http://").partition("/")
    assert world.get(f"/{path}", host).status_code == 200
    host, _, path = by_name["pacc"].removeprefix("https://").partition("/")
    assert world.get(f"/{path}", host).status_code == 200
    host, _, path = by_name["mta-sts"].removeprefix("https://").partition("/")
    assert world.get(f"/{path}", host).text.splitlines() == list(view.mta_sts)
    host, _, path = by_name["mobileconfig"].removeprefix("https://").partition("/")
    assert world.get(f"/{path}", host).status_code == 200
