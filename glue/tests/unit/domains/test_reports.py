"""Reports as they come: in both forms, packed or mailed; and what strangers may try with them."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postane.core.errors import PermanentError
from postane.domains import reports
from postane.domains.reports import Report, Row, read

RECORD = """<record><row><source_ip>{ip}</source_ip><count>{count}</count><policy_evaluated>
<disposition>none</disposition><dkim>{dkim}</dkim><spf>{spf}</spf></policy_evaluated></row>
<identifiers><header_from>example.org</header_from></identifiers>
<auth_results><spf><domain>example.org</domain><result>pass</result></spf></auth_results></record>"""
XML = """<?xml version="1.0" encoding="UTF-8"?>
<feedback{namespace}><version>1.0</version><report_metadata><org_name>far.test</org_name><email>x@far.test</email>
<report_id>r-1</report_id><date_range><begin>1700000000</begin><end>1700086399</end></date_range></report_metadata>
<policy_published><domain>Example.ORG</domain><p>none</p></policy_published>{records}</feedback>"""


def xml(*records: str, namespace: str = "") -> bytes:
    records = records or (
        RECORD.format(ip="192.0.2.1", count=7, dkim="pass", spf="fail"),
        RECORD.format(ip="192.0.2.1", count=2, dkim="fail", spf="fail"),
        RECORD.format(ip="2001:DB8::1", count=1, dkim="fail", spf="pass"),
    )
    return XML.format(namespace=namespace, records="".join(records)).encode()


TLS = {
    "organization-name": "far.test",
    "date-range": {"start-datetime": "2023-11-14T00:00:00Z", "end-datetime": "2023-11-14T23:59:59Z"},
    "contact-info": "x@far.test",
    "report-id": "t-1",
    "policies": [
        {
            "policy": {"policy-type": "sts", "policy-domain": "example.org", "mx-host": ["mx.example.org"]},
            "summary": {"total-successful-session-count": 40, "total-failure-session-count": 2},
            "failure-details": [{"result-type": "certificate-expired", "failed-session-count": 2}],
        }
    ],
}
DMARC = Report(
    "dmarc",
    "example.org",
    "far.test",
    "r-1",
    1700000000.0,
    1700086399.0,
    (Row("192.0.2.1", 7, 2), Row("2001:db8::1", 1, 0)),
)


def zipped(*files: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, one in enumerate(files):
            archive.writestr(f"{number}.xml", one)
    return made.getvalue()


def mailed(content: bytes, subtype: str = "gzip") -> bytes:
    mail = EmailMessage()
    mail["Subject"] = "Report domain: example.org"
    mail.set_content("see the attachment")
    mail.add_attachment(content, "application", subtype, filename="r.gz")
    return mail.as_bytes()


@pytest.mark.parametrize(
    "octets",
    [
        xml(),
        b"\xef\xbb\xbf" + xml(),
        xml(namespace=' xmlns="urn:ietf:params:xml:ns:dmarc-2.0"'),  # RFC 9990
        gzip.compress(xml()),
        zipped(xml()),
        mailed(gzip.compress(xml())),
        mailed(zipped(xml()), "zip"),
        mailed(xml(), "octet-stream"),
    ],
    ids=["plain", "bom", "rfc9990", "gzip", "zip", "mail", "mail-zip", "mail-plain"],
)
def test_an_aggregate_report_in_all_its_forms(octets: bytes) -> None:
    assert read(octets) == [DMARC]


def test_a_report_about_tls() -> None:
    text = json.dumps(TLS).encode()
    found = [Report("tls", "example.org", "far.test", "t-1", 1699920000.0, 1700006399.0, (Row("sts", 40, 2),))]
    assert read(text) == read(gzip.compress(text)) == read(mailed(gzip.compress(text), "tlsrpt+gzip")) == found


BOMB = gzip.compress(b"<" + b"a" * (reports.MOST_OCTETS + 1))
ENTITY = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><feedback>&x;</feedback>'
LAUGHS = b'<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;">]><feedback>&y;</feedback>'


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        (b"", "no report in it"),
        (b"hello", "no report in it"),
        (b"<feedback", "no XML"),
        (b"<html><body>out of office</body></html>", "names no domain"),
        (b"{}", "no TLS report"),
        (b"{" * 100_000, "no TLS report"),
        (b"<a>" * 100_000, "nested over 20 deep"),
        (BOMB, "unpacked it has more than 50 MiB"),
        (zipped(b"<" + b"a" * (reports.MOST_OCTETS + 1)), "unpacked it has more than 50 MiB"),
        (zipped(xml(), xml()), "an archive of 2 files"),
        (gzip.compress(xml())[:-20], "cannot be unpacked"),
        (zipped(xml())[:-30], "cannot be unpacked"),
        (b"x" * (reports.MOST_PACKED + 1), "more than 10 MiB"),
        (ENTITY, "a DTD or an entity"),
        (LAUGHS, "a DTD or an entity"),
        (xml(RECORD.format(ip="nowhere", count=1, dkim="pass", spf="")), "no address"),
        (xml(RECORD.format(ip="192.0.2.1", count="-1", dkim="pass", spf="")), "no number"),
        (xml(RECORD.format(ip="192.0.2.1", count="9" * 30, dkim="pass", spf="")), "no number"),
        (xml().replace(b"1700086399", b"1"), "makes no sense"),
        (xml().replace(b"1700086399", b"nan"), "makes no sense"),
        (xml().replace(b"Example.ORG", b"not a domain"), "no domain"),
        (json.dumps(TLS).replace("2023-11-14T00", "then").encode(), "makes no sense"),
    ],
)
def test_what_is_none_or_means_harm_is_refused(octets: bytes, why: str) -> None:
    with pytest.raises(PermanentError, match=why):
        read(octets)


@given(st.binary(max_size=200), st.sampled_from(["", "<", "{", "\x1f\x8b", "PK\x03\x04"]))
def test_rubbish_is_refused_and_nothing_else_happens(octets: bytes, head: str) -> None:
    with pytest.raises(PermanentError):
        read(head.encode("latin-1") + octets)
