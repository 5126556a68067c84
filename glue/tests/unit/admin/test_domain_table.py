"""A table of domains is read however a spreadsheet has written it, and refused with the place of every fault."""

from __future__ import annotations

import pytest

from postane.admin.domain_table import MOST_FAULTS, Row, TableError, judged, read, read_plans, write


def faults(octets: bytes | str, plans: dict[str, dict[str, object]] | None = None) -> list[str]:
    with pytest.raises(TableError) as refused:
        read(octets.encode() if isinstance(octets, str) else octets, "c.csv", plans)
    return str(refused.value).splitlines()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_spreadsheets_ways(encoding: str, delimiter: str, end: str) -> None:
    lines = [
        "Domain;DNS target;Tenant",
        "",
        'müze.example;"";"Müze, ve\nDostları"'.replace("\n", " "),
        "# a note",
        "B.Example.;-",
    ]
    text = end.join(lines).replace(";", delimiter)
    octets = text.encode(encoding)
    if encoding == "utf-16-le":
        octets = b"\xff\xfe" + octets
    assert read(octets, "c.csv") == [
        Row("xn--mze-hoa.example", tenant="Müze, ve Dostları", line=3),
        Row("b.example", dns_target="-", line=5),
    ]


def test_a_cell_with_a_line_end_in_it_is_placed_where_it_begins() -> None:
    first, second = faults('domain,tenant\n"a.example","two\nlines"\nnone,x\n')
    assert first == "c.csv:2: column tenant: 'two\\nlines': a tenant's name has 1 to 64 printable characters"
    assert second.startswith("c.csv:4: column domain: 'none' is no domain that can have mail")


def test_every_cell_is_judged_and_brought_into_its_form() -> None:
    text = (
        "domain,admin,quota,start,keep,spf,dmarc,mta_sts,delegation,ttl\n"
        "müze.example,Ayşe,5 GiB,MOVE,spf dkim,include:x.test,Reject,off,DNS.host.example,300\n"
    )
    [row] = read(text.encode(), "c.csv")
    assert row == Row(
        "xn--mze-hoa.example",
        admin="ayşe@xn--mze-hoa.example",
        quota="5 GiB",
        start="move",
        keep="dkim spf",
        spf="include:x.test",
        dmarc="reject",
        mta_sts="off",
        delegation="dns.host.example",
        ttl="300",
        line=2,
    )
    assert row.shown == "müze.example"


@pytest.mark.parametrize(
    ("column", "text", "says"),
    [
        ("admin", "a@b.example", "the account has to be in"),
        ("admin", "x y", "malformed"),
        ("quota", "much", "is no quota"),
        ("start", "soon", "is none of host, move, claim"),
        ("keep", "mx,mxx", "mxx"),
        ("spf", "v=spf1", "is not mx, a, ip or include:NAME"),
        ("dmarc", "strict", "is none of none, quarantine, reject"),
        ("mta_sts", "on", "is none of off"),
        ("delegation", "co.uk", "public suffix"),
        ("ttl", "0", "is no number of seconds"),
        ("ttl", "1h", "is no number of seconds"),
        ("tenant", "-", "has no meaning here"),
    ],
)
def test_a_wrong_cell_is_named(column: str, text: str, says: str) -> None:
    row, found = judged({"domain": "a.example", column: text}, 7)
    assert row is not None
    assert [(fault.line, fault.column) for fault in found] == [(7, column)]
    assert says in found[0].text


@pytest.mark.parametrize(
    ("octets", "says"),
    [
        (b"", "c.csv: it is empty"),
        (b"\n# only a note\n", "c.csv: it is empty"),
        (b"domain,tenat\na.example,x\n", "c.csv:1: there is no column 'tenat'; did you mean tenant?"),
        (b"tenant\nx\n", "c.csv:1: the column domain is missing"),
        (b"domain,Domain\n", "c.csv:1: the column domain is there twice"),
        ("domain\na.example\nmüze.example\n".encode("cp1254"), "c.csv:3: this is no text in UTF-8"),
        (b"PK\x03\x04\x00\x00", "c.csv:1: there is a NUL in it"),
        (b'domain,tenant\na.example,x\nb.example,"y\n', "c.csv:3: a quote is not closed"),
        (b'domain,tenant\na.example,"x"y\n', "c.csv:2: a quote is not closed, or stands in the middle"),
        (b"domain;tenant\na.example;x;y\n", "c.csv:2: 3 cells, and there are 2 columns"),
    ],
)
def test_what_is_no_table_is_refused_with_its_place(octets: bytes, says: str) -> None:
    [line] = faults(octets)
    assert line.startswith(says)


def test_all_faults_are_told_at_once_and_not_without_end() -> None:
    assert faults("domain\na.example\nco.uk\nA.EXAMPLE.\n") == [
        "c.csv:3: column domain: 'co.uk' is a public suffix: it belongs to everybody who registers below it",
        "c.csv:4: column domain: a.example stands in line 2 already",
    ]
    many = faults("domain\n" + "x\n" * 50)
    assert len(many) == MOST_FAULTS + 1
    assert many[-1] == "and 30 more"


def test_a_plan_fills_in_what_a_row_does_not_say() -> None:
    plans: dict[str, dict[str, object]] = {"small": {"quota": "2G", "dmarc": "none", "ttl": 300}}
    rows = read(b"domain,plan,quota\na.example,small,\nb.example,small,9G\nc.example,-,\n", "c.csv", plans)
    assert [(row.quota, row.dmarc, row.ttl) for row in rows] == [
        ("2G", "none", "300"),
        ("9G", "none", "300"),
        ("", "", ""),
    ]
    assert faults("domain,plan\na.example,smal\n", plans) == [
        "c.csv:2: column plan: there is no plan 'smal'; there are small"
    ]
    assert faults("domain\na.example\n", {"small": {"quotas": 1}})[0].startswith(
        "c.csv: plan small: there is no quotas"
    )
    # Where no plans are known the word is only a label.
    assert read(b"domain,plan\na.example,any\n", "c.csv")[0].plan == "any"


def test_a_wrong_value_of_a_plan_is_found_in_the_row_that_has_it() -> None:
    assert faults("domain,plan\na.example,p\n", {"p": {"dmarc": "x"}})[0].startswith("c.csv:2: column dmarc: 'x'")


def test_plans_of_a_file() -> None:
    assert read_plans(b"small: {quota: 2G}\n", "p.yml") == {"small": {"quota": "2G"}}
    for octets, says in (
        (b"a: [", "p.yml:1: this is no YAML"),
        (b"- a\n", "p.yml: a mapping"),
        (b"a: b\n", "p.yml: a"),
    ):
        with pytest.raises(TableError) as refused:
            read_plans(octets, "p.yml")
        assert str(refused.value).startswith(says)


def test_what_is_written_is_read_again() -> None:
    rows = [
        Row("xn--mze-hoa.example", tenant='a "b", c', admin="ayşe@xn--mze-hoa.example", ttl="5", line=2),
        Row("b.example", line=3),
    ]
    assert read(write(rows).encode(), "c.csv") == rows
