"""Mail programs set themselves up with what a running host tells them, and it is true. Asks the demo."""

import json
import os
import plistlib
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from .clients import Browser, Host, imap_messages, message, submit

pytestmark = pytest.mark.demo
ACCESS = Path(os.environ.get("POSTANE_ACCESS", Path(__file__).parents[3] / ".demo" / "access.json"))
AYSE, DOMAIN = "ayse@demo.test", "demo.test"
AUTOCONFIG = "/mail/config-v1.1.xml?emailaddress=ayse%40demo.test"


@pytest.fixture(scope="module")
def host() -> Host:
    return Host.from_access(ACCESS)


@pytest.fixture(scope="module")
def password(host: Host) -> str:
    return str(json.loads(ACCESS.read_text())["accounts"][AYSE])


def octets(host: Host, url: str) -> bytes:
    """As curl gets it: what is in there is no text."""
    site, _, path = url.removeprefix("https://").partition("/")
    place = f"{site}:443:{host.address}:{host.ports['https']}"
    command = ["curl", "-sSf", "--cacert", str(host.ca), "--connect-to", place, f"https://{site}/{path}"]
    return subprocess.run(command, capture_output=True, check=True).stdout


@pytest.mark.parametrize("service", ["http", "https"])
def test_the_domains_own_name_is_asked_too(host: Host, service: str) -> None:
    page = Browser(host, DOMAIN, service=service).get("/.well-known/autoconfig/mail/config-v1.1.xml")
    assert (page.status, ET.fromstring(page.text).findtext("emailProvider/domain")) == (200, DOMAIN)


@pytest.mark.parametrize("service", ["http", "https"])
def test_thunderbird_is_told_doors_that_open(host: Host, password: str, service: str) -> None:
    page = Browser(host, f"autoconfig.{DOMAIN}", service=service).get(AUTOCONFIG)
    assert page.status == 200
    root = ET.fromstring(page.text)
    doors = {
        (one.attrib["type"], one.findtext("hostname"), one.findtext("port"), one.findtext("socketType"))
        for one in [*root.iter("incomingServer"), *root.iter("outgoingServer")]
    }
    assert doors == {
        ("imap", host.name, "993", "SSL"),
        ("pop3", host.name, "995", "SSL"),
        ("smtp", host.name, "465", "SSL"),
        ("smtp", host.name, "587", "STARTTLS"),
    }
    imap_messages(host, AYSE, password, service="imaps")
    submit(host, AYSE, password, message(AYSE, [AYSE], "set up"), [AYSE], service="submissions")


def test_outlook_is_led_to_tls_and_told_the_same(host: Host) -> None:
    led = Browser(host, "autodiscover.kunde.example", service="http").get("/Autodiscover/Autodiscover.xml")
    assert (led.status, led.headers["Location"]) == (
        302,
        "https://panel.demo.test/autodiscover/autodiscover.xml",
    )
    where = Browser(host, f"autodiscover.{DOMAIN}").get(
        f"/autodiscover/autodiscover.json?Email={AYSE}&Protocol=AutodiscoverV1"
    )
    assert json.loads(where.text)["Url"] == led.headers["Location"]


def test_the_profile_is_signed_by_the_host(host: Host, tmp_path: Path) -> None:
    signed = tmp_path / "signed"
    signed.write_bytes(octets(host, json.loads(ACCESS.read_text())["mobileconfig"]))
    command = ["openssl", "cms", "-verify", "-inform", "DER", "-in", str(signed), "-CAfile", str(host.ca)]
    command += ["-purpose", "any"]
    profile = plistlib.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    (mail,) = profile["PayloadContent"]
    assert (mail["IncomingMailServerHostName"], mail["IncomingMailServerPortNumber"]) == (host.name, 993)
    assert mail["EmailAddress"] == AYSE
    assert "IncomingPassword" not in mail


@pytest.mark.parametrize(
    ("label", "path", "begin"),
    [
        ("mta-sts", "/.well-known/mta-sts.txt", "version: STSv1"),
        ("ua-auto-config", "/.well-known/user-agent-configuration.json", '{"authentication"'),
    ],
)
def test_policies_are_served_in_tls_alone(host: Host, label: str, path: str, begin: str) -> None:
    assert Browser(host, f"{label}.{DOMAIN}").get(path).text.startswith(begin)
    assert Browser(host, f"{label}.{DOMAIN}", service="http").get(path).status == 404


def test_domains_that_are_not_hosted_get_nothing(host: Host) -> None:
    page = Browser(host, "autoconfig.far.test", service="http").get("/mail/config-v1.1.xml")
    assert (page.status, page.text) == (404, "not found\n")
