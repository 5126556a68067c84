"""What mail programs are told by each way, read as they read it, and compared with the one model.

All that agree with it agree with one another.
"""

from __future__ import annotations

import json
import plistlib
import xml.parsers.expat as expat
from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from postane.acceptance.net import Net, Page
from postane.acceptance.result import Case, FailedError, SkippedError
from postane.acceptance.subject import Subject
from postane.clients import autoconfig, autodiscover, mobileconfig
from postane.clients.model import Service
from postane.domains.kinds import Kind

_POX = "{http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a}"


@dataclass(frozen=True, slots=True, order=True)
class Told:
    """A door that a program would knock at; `security` as in clients.model.Security."""

    protocol: str
    host: str
    port: int
    security: str

    def __str__(self) -> str:
        return f"{self.protocol} {self.host}:{self.port} {self.security}"


class Settings:
    """The checks of settings."""

    def __init__(self, subject: Subject, net: Net) -> None:
        self._subject = subject
        self._net = net

    async def autoconfig(self, case: Case) -> None:
        """Thunderbird's and others'."""
        subject = self._subject
        self._kept(Kind.AUTOCONFIG)
        url = f"http://autoconfig.{subject.domain}{autoconfig.PATHS[0]}?emailaddress={subject.account}"
        page = _good(await self._net.fetch(case, url, follow=True))
        wanted = {one for one in self._model() if one.protocol != "sieve"}
        self._compare(case, from_autoconfig(page.octets, subject.account), wanted)

    async def autodiscover(self, case: Case) -> None:
        """Outlook's: where to ask, and what is said there."""
        subject = self._subject
        where = f"{subject.setup.url}{autodiscover.JSON_PATH}?Email={subject.account}&Protocol=AutodiscoverV1"
        url = _url(_good(await self._net.fetch(case, where)))
        body = (
            f'<Autodiscover xmlns="{autodiscover.REQUEST}"><Request><EMailAddress>{subject.account}</EMailAddress>'
            f"<AcceptableResponseSchema>{autodiscover.OUTLOOK}</AcceptableResponseSchema></Request></Autodiscover>"
        )
        page = _good(await self._net.fetch(case, url, body=body.encode()))
        self._compare(case, from_pox(page.octets), self._best("imap", "pop3", "smtp"))

    async def mobileconfig(self, case: Case) -> None:
        """Apple's."""
        subject = self._subject
        url = f"{subject.setup.url}{mobileconfig.PATH}?emailaddress={subject.account}"
        page = _good(await self._net.fetch(case, url))
        reading = subject.setup.reading
        self._compare(case, from_profile(page.octets), self._best(reading.protocol if reading else "", "smtp"))

    async def srv(self, case: Case) -> None:
        """The records by which programs find services."""
        self._kept(Kind.SRV)
        found = set()
        for name, (protocol, security) in _SRV.items():
            answer = await self._net.resolver.secured(f"_{name}._tcp.{self._subject.domain}", "SRV")
            for record in answer.records:
                _, _, port, host = record.split()
                if host != ".":
                    found.add(Told(protocol, host.rstrip(".").lower(), int(port), security))
        self._compare(case, found, set(self._model()))

    def _kept(self, kind: Kind) -> None:
        if not self._subject.led_here:
            raise SkippedError("not_yet")
        if kind not in self._subject.kinds:
            raise SkippedError("not_kept")

    def _model(self) -> Iterable[Told]:
        return [_told(one) for one in self._subject.setup.services]

    def _best(self, *protocols: str) -> set[Told]:
        return {_told(one) for one in map(self._subject.setup.best, protocols) if one is not None}

    def _compare(self, case: Case, found: set[Told], wanted: set[Told]) -> None:
        case.note(*map(str, sorted(found)))
        if found != wanted:
            more, less = sorted(found - wanted), sorted(wanted - found)
            raise FailedError("differs", more=", ".join(map(str, more)) or "-", less=", ".join(map(str, less)) or "-")


_SRV = {
    "submissions": ("smtp", "tls"),
    "submission": ("smtp", "starttls"),
    "imaps": ("imap", "tls"),
    "pop3s": ("pop3", "tls"),
    "sieve": ("sieve", "starttls"),
}


def from_autoconfig(octets: bytes, account: str) -> set[Told]:
    """Raises FailedError."""
    found = set()
    for server in [one for one in _xml(octets).iter() if one.tag in ("incomingServer", "outgoingServer")]:
        text = {child.tag: child.text or "" for child in server}
        login = text.get("username", "").replace("%EMAILADDRESS%", account)
        if login.replace("%EMAILLOCALPART%", account.partition("@")[0]) != account:
            raise FailedError("other_login", login=login)
        security = {"SSL": "tls", "STARTTLS": "starttls"}.get(text.get("socketType", ""), "none")
        found.add(Told(server.get("type", ""), text.get("hostname", ""), int(text.get("port", "0")), security))
    return found


def from_pox(octets: bytes) -> set[Told]:
    """Raises FailedError."""
    found = set()
    for protocol in _xml(octets).iter(f"{_POX}Protocol"):
        text = {child.tag.rpartition("}")[2]: child.text or "" for child in protocol}
        security = {"SSL": "tls", "TLS": "starttls"}.get(text.get("Encryption", ""), "none")
        found.add(Told(text["Type"].lower(), text["Server"], int(text["Port"]), security))
    return found


def from_profile(octets: bytes) -> set[Told]:
    """From what stands inside the signature. Raises FailedError."""
    begin, end = octets.find(b"<?xml"), octets.rfind(b"</plist>")
    if begin < 0 or end < 0:
        raise FailedError("unreadable", said="no property list")
    try:
        (mail,) = plistlib.loads(octets[begin : end + 8])["PayloadContent"]
        kind = {"EmailTypeIMAP": "imap", "EmailTypePOP": "pop3"}[mail["EmailAccountType"]]
        found = set()
        for way, protocol in (("Incoming", kind), ("Outgoing", "smtp")):
            port = mail[f"{way}MailServerPortNumber"]
            security = ("starttls" if port == 587 else "tls") if mail[f"{way}MailServerUseSSL"] else "none"
            found.add(Told(protocol, mail[f"{way}MailServerHostName"], port, security))
    except (ValueError, KeyError, TypeError, expat.ExpatError) as error:
        raise FailedError("unreadable", said=error) from error
    if any("assword" in key and isinstance(value, str) for key, value in mail.items() if "Authentication" not in key):
        raise FailedError("holds_password")
    return found


def _told(service: Service) -> Told:
    return Told(service.protocol, service.host, service.port, service.security.value)


def _good(page: Page) -> Page:
    if page.status != 200:
        raise FailedError("no_page", status=page.status, url=page.url)
    return page


def _url(page: Page) -> str:
    try:
        return str(json.loads(page.octets)["Url"])
    except (ValueError, KeyError, TypeError) as error:
        raise FailedError("unreadable", said=error) from error


def _xml(octets: bytes) -> ET.Element:
    """No document type, so no entities to expand. Raises FailedError."""
    if b"<!DOCTYPE" in octets:
        raise FailedError("unreadable", said="a document type")
    try:
        return ET.fromstring(octets)  # noqa: S314 - our own server's, bounded, without entities
    except ET.ParseError as error:
        raise FailedError("unreadable", said=error) from error
