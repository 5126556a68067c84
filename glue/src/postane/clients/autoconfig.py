"""The answer to Thunderbird, K-9, Evolution, Delta Chat and others: `config-v1.1.xml`. Pure.

Source: draft-ietf-mailmaint-autoconfig-06 (the format is Mozilla's "clientConfig").
"""

from __future__ import annotations

from xml.etree import ElementTree as ET  # writes only; nothing from outside is parsed here

from postane.clients.model import Security, Service, Setup
from postane.clients.words import LANGUAGES, word

PATHS = ("/mail/config-v1.1.xml", "/.well-known/autoconfig/mail/config-v1.1.xml")

_SOCKET = {Security.TLS: "SSL", Security.STARTTLS: "STARTTLS"}


def autoconfig(setup: Setup) -> bytes:
    """XML in UTF-8. The same for everybody of a domain: the program puts the address in."""
    root = ET.Element("clientConfig", version="1.1")
    provider = ET.SubElement(root, "emailProvider", id=setup.domain)
    for name in dict.fromkeys((setup.domain, setup.shown)):
        ET.SubElement(provider, "domain").text = name
    ET.SubElement(provider, "displayName").text = setup.provider
    ET.SubElement(provider, "displayShortName").text = setup.short_name
    for protocol in ("imap", "pop3"):
        for service in _of(setup, protocol):
            _server(provider, "incomingServer", service, setup)
    for service in _of(setup, "smtp"):
        _server(provider, "outgoingServer", service, setup)
    if setup.help:
        documentation = ET.SubElement(provider, "documentation", url=setup.help)
        for language in LANGUAGES:
            ET.SubElement(documentation, "descr", lang=language).text = word(language, "help")
    if setup.webmail:
        ET.SubElement(ET.SubElement(root, "webMail"), "loginPage", url=setup.webmail)
    ET.indent(root)
    octets: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return octets + b"\n"


def _of(setup: Setup, protocol: str) -> list[Service]:
    """Best first: programs take the first that they can."""
    return sorted((s for s in setup.services if s.protocol == protocol), key=lambda service: service.priority)


def _server(parent: ET.Element, tag: str, service: Service, setup: Setup) -> None:
    server = ET.SubElement(parent, tag, type=service.protocol)
    ET.SubElement(server, "hostname").text = service.host
    ET.SubElement(server, "port").text = str(service.port)
    ET.SubElement(server, "socketType").text = _SOCKET[service.security]
    # In TLS: the password itself, by SASL PLAIN.
    ET.SubElement(server, "authentication").text = "password-cleartext"
    ET.SubElement(server, "username").text = _user(setup)


def _user(setup: Setup) -> str:
    # Accounts have the domain as A-labels, whatever was typed.
    return "%EMAILADDRESS%" if setup.domain == setup.shown else f"%EMAILLOCALPART%@{setup.domain}"
