"""The answers to Outlook: POX by POST, and the JSON that says where that is. Pure.

A request is read by a parser that takes no document type at all, so that there are no entities to expand or to fetch.
Source: MS-OXDSCLI (schemas 2006 and 2006a); the JSON is what Outlook asks first, of the kind "Autodiscover v2".
"""

from __future__ import annotations

import xml.parsers.expat as expat  # hardened below: no DTD, bounded size and depth
from dataclasses import dataclass
from xml.etree import ElementTree as ET  # writes only

from postane.clients.model import Security, Service, Setup
from postane.core.address import Address

PATH = "/autodiscover/autodiscover.xml"
JSON_PATH = "/autodiscover/autodiscover.json"

REQUEST = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"
OUTLOOK = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
RESPONSE = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"

MOST_OCTETS = 16 * 1024
_MOST_DEPTH = 16
_MOST_TEXT = 1024  # characters of one field

INVALID, NO_PROVIDER = 600, 601  # MS-OXDSCLI section 2.2.4.1.1.3


class BadRequestError(ValueError):
    """No request that can be answered."""


@dataclass(frozen=True, slots=True)
class Asked:
    """`address` is as it came; `schema` is the wanted form of the answer."""

    address: str
    schema: str


def read_request(body: bytes) -> Asked:
    """Raises BadRequestError."""
    if len(body) > MOST_OCTETS:
        raise BadRequestError("too long")
    reader = _Reader()
    try:
        reader.parse(body)
    except (expat.ExpatError, LookupError, ValueError) as error:  # an unknown encoding is a LookupError
        raise BadRequestError(str(error)) from error
    if f"{REQUEST} Autodiscover" != reader.root:
        raise BadRequestError("no request of this kind")
    return Asked(reader.found.get("EMailAddress", "").strip(), reader.found.get("AcceptableResponseSchema", "").strip())


class _Reader:
    """Keeps the text of the fields under Autodiscover/Request and nothing else."""

    def __init__(self) -> None:
        self.root = ""
        self.found: dict[str, str] = {}
        self._path: list[str] = []
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text

    def parse(self, body: bytes) -> None:
        self._parser.Parse(body, True)

    def _refuse(self, *_: object) -> None:
        raise BadRequestError("a document type is not taken")

    def _start(self, name: str, _: dict[str, str]) -> None:
        if len(self._path) >= _MOST_DEPTH:
            raise BadRequestError("too deep")
        self.root = self.root or name
        self._path.append(name.rpartition(" ")[2])

    def _end(self, _: str) -> None:
        self._path.pop()

    def _text(self, text: str) -> None:
        if len(self._path) == 3 and self._path[:2] == ["Autodiscover", "Request"]:
            kept = self.found.get(self._path[2], "") + text
            if len(kept) > _MOST_TEXT or len(self.found) > 16:
                raise BadRequestError("a field is too long")
            self.found[self._path[2]] = kept


def settings(setup: Setup, address: Address) -> bytes:
    """The account's settings, as POX in UTF-8."""
    root, response = _document(OUTLOOK)
    ET.SubElement(ET.SubElement(response, "User"), "DisplayName").text = str(address)
    account = ET.SubElement(response, "Account")
    ET.SubElement(account, "AccountType").text = "email"
    ET.SubElement(account, "Action").text = "settings"
    for protocol, kind in (("imap", "IMAP"), ("pop3", "POP3"), ("smtp", "SMTP")):
        service = setup.best(protocol)
        if service is not None:
            _protocol(account, kind, service, address)
    return _bytes(root)


def error(code: int) -> bytes:
    """What Outlook reads as a refusal. It tells nothing of who is there."""
    root, response = _document("")
    said = ET.SubElement(response, "Error")
    ET.SubElement(said, "ErrorCode").text = str(code)
    ET.SubElement(said, "Message").text = "Invalid Request" if code == INVALID else "Provider is not available"
    ET.SubElement(said, "DebugData")
    return _bytes(root)


def where(setup: Setup, protocol: str) -> dict[str, str] | None:
    """The JSON answer to "where is this protocol's autodiscovery?"; None for protocols that are not here."""
    if protocol.lower() != "autodiscoverv1":
        return None
    return {"Protocol": "AutodiscoverV1", "Url": f"{setup.url}{PATH}"}


def _document(namespace: str) -> tuple[ET.Element, ET.Element]:
    root = ET.Element("Autodiscover", xmlns=RESPONSE)
    return root, ET.SubElement(root, "Response", {"xmlns": namespace} if namespace else {})


def _protocol(account: ET.Element, kind: str, service: Service, address: Address) -> None:
    outgoing = kind == "SMTP"
    fields = {
        "Type": kind,
        "Server": service.host,
        "Port": str(service.port),
        "DomainRequired": "off",
        "LoginName": address.key,
        "SPA": "off",
        # For SMTP and IMAP Encryption says more, and older Outlooks read SSL alone.
        "SSL": "on" if service.security is Security.TLS else "off",
        "Encryption": "SSL" if service.security is Security.TLS else "TLS",
        "AuthRequired": "on",
        **({"UsePOPAuth": "on", "SMTPLast": "off"} if outgoing else {}),
    }
    element = ET.SubElement(account, "Protocol")
    for tag, text in fields.items():
        ET.SubElement(element, tag).text = text


def _bytes(root: ET.Element) -> bytes:
    ET.indent(root)
    octets: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return octets + b"\n"
