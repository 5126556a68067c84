"""Reports that other servers send about a domain, read: DMARC aggregate reports and TLS reports. Pure, and bounded.

They come from strangers: packed or plain, as a mail's attachment or alone. What unpacks to more than `MOST_OCTETS`, an
archive of more than one report, XML with a DTD or an entity, and what is nested without end is refused.

Sources: RFC 9990 and RFC 7489 appendix C (DMARC aggregate reports, XML), RFC 8460 (TLS reports, JSON).
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from email import message_from_bytes
from email.message import Message
from email.policy import compat32
from ipaddress import ip_address
from xml.parsers import expat

import msgspec

from postane.core.address import normal_domain
from postane.core.errors import AddressError, PermanentError

MOST_PACKED = 10 << 20  # octets of what is given
MOST_OCTETS = 50 << 20  # of a report, unpacked
_MOST_ROWS = 100_000
_MOST_DEPTH = 20
_MOST_TEXT = 1000  # characters of one value
_MOST_COUNT = 1 << 40
_SECONDS = (0.0, 4102444800.0)  # times that are believed: to the year 2100
_PACKED = ("application/gzip", "application/x-gzip", "application/zip", "application/x-zip-compressed")
_TYPES = (*_PACKED, "application/tlsrpt+gzip", "application/tlsrpt+json", "application/json", "text/xml")
_ATTACHED = (*_TYPES, "application/xml", "application/octet-stream")


@dataclass(frozen=True, slots=True)
class Row:
    """Mail of one source (`source`: a client's address), or sessions under one policy (tls)."""

    source: str
    passed: int
    failed: int


@dataclass(frozen=True, slots=True)
class Report:
    """`kind` "dmarc" or "tls"; `domain` as A-labels; times are seconds since the epoch."""

    kind: str
    domain: str
    reporter: str
    report_id: str
    begins: float
    ends: float
    rows: tuple[Row, ...]


def read(octets: bytes) -> list[Report]:
    """The reports in a file: XML, JSON, either of them packed, or a mail with them. Raises PermanentError."""
    if len(octets) > MOST_PACKED:
        raise PermanentError(f"it has more than {MOST_PACKED >> 20} MiB")
    plain = unpack(octets)
    head = plain[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"<"):
        return [dmarc(plain)]
    if head.startswith(b"{"):
        return tls(plain)
    attached = list(_attached(octets))
    if not attached:
        raise PermanentError("there is no report in it: neither XML of DMARC, nor JSON of TLS, nor a mail with such")
    return [report for part in attached for report in read(part)]


def unpack(octets: bytes) -> bytes:
    """What is packed by gzip or in a ZIP archive of one file; everything else as it is. Raises PermanentError."""
    if octets.startswith(b"\x1f\x8b"):
        unpacker = zlib.decompressobj(wbits=31)
        try:
            plain = unpacker.decompress(octets, MOST_OCTETS + 1)
        except zlib.error as error:
            raise PermanentError(f"it cannot be unpacked: {error}") from error
        if not unpacker.eof and len(plain) <= MOST_OCTETS:
            raise PermanentError("it cannot be unpacked: it breaks off")
        return _bounded(plain)
    if octets.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(io.BytesIO(octets)) as archive:
                files = [one for one in archive.infolist() if not one.is_dir()]
                if len(files) != 1:
                    raise PermanentError(f"an archive of {len(files)} files; a report is one")
                with archive.open(files[0]) as file:
                    return _bounded(file.read(MOST_OCTETS + 1))
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
            raise PermanentError(f"it cannot be unpacked: {error}") from error
    return _bounded(octets)


def dmarc(octets: bytes) -> Report:
    """An aggregate report, in the form of RFC 9990 or of RFC 7489. Raises PermanentError."""
    found = _Xml(octets)
    meta = "feedback/report_metadata"
    begins, ends = (found.number(f"{meta}/date_range/{name}") for name in ("begin", "end"))
    passed: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for row in found.rows:
        source = _address(row.get("row/source_ip", ""))
        count = _count(row.get("row/count", "0"))
        # Authentic is what one of the two proves to be the domain's (RFC 9989 section 4.4).
        results = (row.get("row/policy_evaluated/dkim", ""), row.get("row/policy_evaluated/spf", ""))
        (passed if "pass" in {one.lower() for one in results} else failed)[source] += count
    rows = tuple(Row(source, passed[source], failed[source]) for source in sorted({*passed, *failed}))
    return Report(
        "dmarc",
        _domain(found.text("feedback/policy_published/domain")),
        found.text(f"{meta}/org_name"),
        found.text(f"{meta}/report_id"),
        *_span(begins, ends),
        rows,
    )


def tls(octets: bytes) -> list[Report]:
    """A TLS report: one for each domain that it has policies of. Raises PermanentError."""
    try:
        told = msgspec.json.decode(octets, type=_Tls)
    except msgspec.DecodeError as error:
        raise PermanentError(f"it is no TLS report: {error}") from error
    span = _span(_moment(told.date_range.start), _moment(told.date_range.end))
    by_domain: dict[str, list[Row]] = {}
    for one in told.policies[:_MOST_ROWS]:
        counts = (one.summary.successes, one.summary.failures)
        row = Row(one.policy.kind[:_MOST_TEXT], *(_count(str(count)) for count in counts))
        by_domain.setdefault(_domain(one.policy.domain), []).append(row)
    head = (told.organization[:_MOST_TEXT], told.report_id[:_MOST_TEXT])
    return [Report("tls", name, *head, *span, tuple(rows)) for name, rows in by_domain.items()]


# -- inside -----------------------------------------------------------------------------------------------------------


class _Range(msgspec.Struct):
    start: str = msgspec.field(name="start-datetime")
    end: str = msgspec.field(name="end-datetime")


class _Policy(msgspec.Struct):
    kind: str = msgspec.field(name="policy-type")
    domain: str = msgspec.field(name="policy-domain")


class _Summary(msgspec.Struct):
    successes: int = msgspec.field(name="total-successful-session-count")
    failures: int = msgspec.field(name="total-failure-session-count")


class _Policies(msgspec.Struct):
    policy: _Policy
    summary: _Summary


class _Tls(msgspec.Struct):
    report_id: str = msgspec.field(name="report-id")
    date_range: _Range = msgspec.field(name="date-range")
    policies: list[_Policies]
    organization: str = msgspec.field(name="organization-name", default="")


class _Xml:
    """The values of a report by their paths; those of each `record` apart. Names of any namespace."""

    def __init__(self, octets: bytes) -> None:
        self.values: dict[str, str] = {}
        self.rows: list[dict[str, str]] = []
        self._path: list[str] = []
        self._into = self.values
        self._text: list[str] = []
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._data
        # An entity can be a bomb, or a file of this host; a report needs neither it nor a DTD.
        parser.StartDoctypeDeclHandler = self._refuse
        parser.EntityDeclHandler = self._refuse
        try:
            parser.Parse(octets, True)
        except expat.ExpatError as error:
            raise PermanentError(f"it is no XML: {error}") from error
        if not self.values.get("feedback/policy_published/domain"):
            raise PermanentError("it is no DMARC report: it names no domain")

    def _start(self, name: str, _attributes: dict[str, str]) -> None:
        name = name.rpartition(" ")[2]
        self._path.append(name)
        if len(self._path) > _MOST_DEPTH:
            raise PermanentError(f"it is nested over {_MOST_DEPTH} deep")
        if self._path == ["feedback", "record"]:
            if len(self.rows) >= _MOST_ROWS:
                raise PermanentError(f"it has over {_MOST_ROWS} records")
            self._into = {}
            self.rows.append(self._into)
        self._text = []

    def _end(self, _name: str) -> None:
        path = self._path[2:] if self._path[:2] == ["feedback", "record"] else self._path
        text = "".join(self._text).strip()
        if path and text:
            self._into.setdefault("/".join(path), text[:_MOST_TEXT])
        self._text = []
        if self._path == ["feedback", "record"]:
            self._into = self.values
        self._path.pop()

    def _data(self, data: str) -> None:
        if len(self._text) < _MOST_TEXT:
            self._text.append(data)

    def _refuse(self, *_: object) -> None:
        raise PermanentError("it has a DTD or an entity, which no report needs")

    def text(self, path: str) -> str:
        return self.values.get(path, "")

    def number(self, path: str) -> float:
        try:
            return float(self.text(path))
        except ValueError:
            return -1.0


def _attached(octets: bytes) -> Iterator[bytes]:
    """What a mail has attached that may be a report."""
    parts: list[Message] = list(message_from_bytes(octets, policy=compat32).walk())[:100]
    for part in parts:
        if part.get_content_type() in _ATTACHED and isinstance(content := part.get_payload(decode=True), bytes):
            plain = unpack(content)[:4096].lstrip(b"\xef\xbb\xbf \t\r\n")
            if plain.startswith((b"<", b"{")):
                yield content


def _bounded(plain: bytes) -> bytes:
    if len(plain) > MOST_OCTETS:
        raise PermanentError(f"unpacked it has more than {MOST_OCTETS >> 20} MiB")
    return plain


def _span(begins: float, ends: float) -> tuple[float, float]:
    if not (_SECONDS[0] < begins <= ends <= _SECONDS[1]):
        raise PermanentError("the time that it is about makes no sense")
    return begins, ends


def _moment(text: str) -> float:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError):
        return -1.0


def _count(text: str) -> int:
    """Raises PermanentError."""
    if not text.isdecimal() or len(text) > 15 or int(text) > _MOST_COUNT:
        raise PermanentError(f"{text[:20]!r} is no number of messages")
    return int(text)


def _address(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError as error:
        raise PermanentError(f"{text[:50]!r} is no address of a source") from error


def _domain(text: str) -> str:
    try:
        return normal_domain(text)
    except AddressError as error:
        raise PermanentError(f"{text[:100]!r} is no domain") from error
