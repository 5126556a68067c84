"""check_host() case by case, in the order of RFC 7208: a small DNS, a client, and what has to come of it."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postane.core.question import Question
from postane.filters.auth.spf import MAX_EXPLANATION, Checked, Client, check_host
from support.zone import Zone

IP4 = "192.0.2.3"
IP6 = "2001:db8::cb01"
REVERSE4 = "3.2.0.192.in-addr.arpa"
REVERSE6 = "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"


def check(
    zone: str | Zone, ip: str = IP4, mail_from: str = "strong-bad@x.example", helo: str = "helo.example.net"
) -> Checked:
    world = zone if isinstance(zone, Zone) else Zone(zone)
    return world.decide(check_host(Client(ip_address(ip), helo, mail_from, "mx.receiver.example", 1_700_000_000.9)))


def record(text: str, more: str = "") -> str:
    return f"x.example TXT {text}\n{more}"


# Section 2.4 and 4.3: who is checked.


@pytest.mark.parametrize(
    ("mail_from", "helo", "domain", "sender"),
    [
        ("a@x.example", "h.example", "x.example", "a@x.example"),
        ("", "x.example", "x.example", "postmaster@x.example"),
        ("@x.example", "h.example", "x.example", "postmaster@x.example"),
        ("x.example", "h.example", "x.example", "postmaster@x.example"),
        ("a@b@x.example", "h.example", "x.example", "a@b@x.example"),
        ('"a b"@x.example', "h.example", "x.example", '"a b"@x.example'),
        ("a@X.Example.", "h.example", "X.Example", "a@X.Example"),
    ],
)
def test_identities(mail_from: str, helo: str, domain: str, sender: str) -> None:
    found = check(record("v=spf1 -all exp=e.x.example", "e.x.example TXT %{s}"), mail_from=mail_from, helo=helo)
    assert (found.result, found.domain, found.explanation) == ("fail", domain, sender)


@pytest.mark.parametrize(
    "domain",
    [
        "",
        "example",
        "localhost.",
        "x..example",
        ".x.example",
        "x.example..",
        "a" * 64 + ".example",
        ".".join(["a" * 60] * 5),
        "[192.0.2.1]",
        "[IPv6:2001:db8::1]",
        "x y.example",
        "x@y.example",
        "ü" * 70 + ".example",
        "\ud800.example",
    ],
)
def test_malformed_domains_have_no_spf(domain: str) -> None:
    zone = Zone(record("v=spf1 -all"))
    assert check(zone, mail_from=f"a@{domain}" if "@" not in domain else "", helo=domain).result == "none"
    assert zone.questions == []


def test_a_domain_in_letters_is_asked_for_as_a_labels() -> None:
    zone = "xn--mnchen-3ya.example TXT v=spf1 -all exp=%{d}\nxn--mnchen-3ya.example TXT %{o} %{d} %{h}"
    found = check("xn--mnchen-3ya.example TXT v=spf1 exists:%{o}.y.example -all", mail_from="a@münchen.example")
    assert (found.result, found.domain, found.void_lookups) == ("fail", "xn--mnchen-3ya.example", 1)
    assert check(zone, mail_from="", helo="münchen.example").result == "fail"


# Sections 4.4 and 4.5: the record.


@pytest.mark.parametrize(
    ("zone", "result"),
    [
        ("other.example TXT v=spf1 -all", "none"),
        ("x.example A 192.0.2.3", "none"),
        ("sub.x.example A 192.0.2.3", "none"),
        ("x.example TXT something else", "none"),
        ("x.example TXT v=spf10 -all", "none"),
        ("x.example TXT v=spf1\t-all", "none"),
        ("x.example SPF v=spf1 -all", "none"),
        ("x.example FAIL", "temperror"),
        ("x.example TXT v=spf1 -all\nx.example TXT other", "fail"),
        ("x.example TXT V=SPF1 -ALL", "fail"),
        ("x.example TXT v=spf1 -all\nx.example TXT v=spf1 -all", "permerror"),
        ("x.example TXT v=spf1\nx.example TXT v=spf1 -all", "permerror"),
        ("x.example TXT v=spf1", "neutral"),
        ("x.example TXT v=spf1 mx:ünlü.example +all", "permerror"),
    ],
)
def test_record_lookup(zone: str, result: str) -> None:
    found = check(zone)
    assert found.result == result
    assert bool(found.problem) == (result in ("permerror", "temperror"))
    assert found.lookups == found.void_lookups == 0


# Sections 4.6 and 4.7: evaluation.


@pytest.mark.parametrize(
    ("text", "result", "mechanism"),
    [
        ("v=spf1 +all", "pass", "+all"),
        ("v=spf1 all", "pass", "all"),
        ("v=spf1 -all", "fail", "-all"),
        ("v=spf1 ~all", "softfail", "~all"),
        ("v=spf1 ?all", "neutral", "?all"),
        ("v=spf1 ip4:192.0.2.0/24 -all", "pass", "ip4:192.0.2.0/24"),
        ("v=spf1 -ip4:192.0.2.3 +all", "fail", "-ip4:192.0.2.3"),
        ("v=spf1 ?IP4:192.0.2.3/32 -all", "neutral", "?IP4:192.0.2.3/32"),
        ("v=spf1 ip4:192.0.2.4 -ip4:192.0.2.2/32", "neutral", "default"),
        ("v=spf1 -all +all", "fail", "-all"),
        ("v=spf1 unknown=x -all", "fail", "-all"),
        # A syntax error anywhere counts, even behind a term that matches (section 4.6).
        ("v=spf1 +all moo", "permerror", ""),
        ("v=spf1 ip4:192.0.2.3 ip4:192.0.2", "permerror", ""),
        ("v=spf1 -all redirect=", "permerror", ""),
    ],
)
def test_terms_in_their_order(text: str, result: str, mechanism: str) -> None:
    found = check(record(text))
    assert (found.result, found.mechanism, found.lookups) == (result, mechanism, 0)


# Section 4.6.4: limits.


@pytest.mark.parametrize(
    "terms",
    [
        ["a:t{}.example"],
        ["mx:t{}.example"],
        ["include:t{}.example"],
        ["ptr:t{}.example"],
        [
            "-exists:t{}.example",
            "ptr:%{{d}}",
            "a:t{}.example",
            "mx:t{}.example",
            "a:t{}.example",
            "include:t{}.example",
        ],
    ],
)
@pytest.mark.parametrize(("count", "result"), [(10, "softfail"), (11, "permerror")])
def test_ten_terms_may_ask(terms: list[str], count: int, result: str) -> None:
    zone = Zone(f"{REVERSE4} PTR h.elsewhere.example\nh.elsewhere.example A {IP4}")
    for at in range(count):
        zone.add(f"t{at}.example", "A", "192.0.2.99")
        zone.add(f"t{at}.example", "MX", "0 .")
        zone.add(f"t{at}.example", "TXT", "v=spf1 ip4:192.0.2.99")
    zone.records.pop(("t0.example", "A"))
    # "-exists" once only: it finds nothing, and two empty answers are the limit.
    chosen = [terms[0], *(terms[at % len(terms)] for at in range(1, count))]
    chosen = [one if at == 0 or "exists" not in one else terms[1] for at, one in enumerate(chosen)]
    zone.add("x.example", "TXT", f"v=spf1 {' '.join(one.format(at) for at, one in enumerate(chosen))} ~all")
    found = check(zone)
    assert (found.result, found.lookups) == (result, count)


def test_what_asks_nothing_is_not_counted() -> None:
    networks = " ".join(f"ip4:192.0.2.{100 + at} ip6:2001:db8::{at}" for at in range(30))
    found = check(record(f"v=spf1 {networks} -all exp=e.x.example", "e.x.example TXT no"))
    assert (found.result, found.lookups, found.explanation) == ("fail", 0, "no")


def test_terms_of_included_records_count_and_redirect_does() -> None:
    def world(depth: int) -> Zone:
        zone = Zone("")
        for at in range(depth):
            zone.add(f"i{at}.example", "TXT", f"v=spf1 include:i{at + 1}.example ?all")
        zone.add(f"i{depth}.example", "TXT", "v=spf1 ip4:192.0.2.3")
        zone.add("x.example", "TXT", "v=spf1 ip4:192.0.2.9 redirect=i0.example")
        return zone

    # redirect, nine includes; then one more.
    assert (check(world(9)).result, check(world(9)).lookups) == ("pass", 10)
    assert (check(world(10)).result, check(world(10)).lookups) == ("permerror", 11)


@pytest.mark.parametrize("term", ["include:x.example", "redirect=x.example"])
def test_a_record_that_leads_to_itself_ends(term: str) -> None:
    zone = Zone(record(f"v=spf1 {term}"))
    found = check(zone)
    assert (found.result, found.mechanism) == ("permerror", term)
    assert len(zone.questions) == 11


@pytest.mark.parametrize(("count", "result"), [(1, "fail"), (10, "fail"), (11, "permerror"), (60, "permerror")])
def test_mx_names(count: int, result: str) -> None:
    zone = Zone(record("v=spf1 mx -all"))
    for at in range(count):
        zone.add("x.example", "MX", f"{at} m{at}.example")
        zone.add(f"m{at}.example", "A", "192.0.2.99")
    assert check(zone).result == result
    # Not even where one of the first would match: what a server puts first is chance.
    zone.records["m0.example", "A"] = ["192.0.2.3"]
    assert check(zone).result == ("pass" if result == "fail" else result)


def test_ptr_names_beyond_ten_are_ignored() -> None:
    zone = Zone(record("v=spf1 ptr -all"))
    for at in range(11):
        zone.add("3.2.0.192.in-addr.arpa", "PTR", f"h{at}.x.example")
        zone.add(f"h{at}.x.example", "A", "192.0.2.99")
    zone.records["h10.x.example", "A"] = ["192.0.2.3"]
    assert check(zone).result == "fail"
    zone.records["h9.x.example", "A"] = ["192.0.2.3"]
    assert check(zone).result == "pass"


@pytest.mark.parametrize(
    ("terms", "more", "voids"),
    [
        ("a:no1.example a:no2.example", "", 2),
        ("a:no1.example a:no2.example a:no3.example", "", 3),
        ("a:txt.example exists:txt.example mx:txt.example", "txt.example TXT no address", 3),
        ("exists:%{ir}.no.example mx:no.example", "", 2),
        # Each host of an MX answer is a question of its own.
        ("mx:m.example", "m.example MX 1 no1.example\nm.example MX 2 no2.example", 2),
        ("mx:m.example a:no.example", "m.example MX 1 no1.example\nm.example MX 2 no2.example", 3),
        # A null MX names no host, and is an answer.
        ("mx:m.example a:no1.example a:no2.example", "m.example MX 0 .", 2),
        ("ptr a:no1.example", "", 2),
        ("ptr a:no1.example a:no2.example", "", 3),
        # What the publisher has no hand in does not count: names that the client's own reverse zone gives.
        ("ptr a:no1.example a:no2.example", "3.2.0.192.in-addr.arpa PTR gone.x.example", 2),
        ("include:i.example a:no2.example", "i.example TXT v=spf1 a:no1.example", 2),
        ("include:i.example a:no2.example", "i.example TXT v=spf1 a:no1.example a:no3.example", 3),
    ],
)
def test_two_void_lookups(terms: str, more: str, voids: int) -> None:
    found = check(record(f"v=spf1 {terms} -all", more))
    assert (found.result, found.void_lookups) == ("fail" if voids < 3 else "permerror", voids)


# Section 5.1 is above. 5.2: include.


@pytest.mark.parametrize(
    ("other", "result"),
    [
        ("i.example TXT v=spf1 +all", "pass"),
        ("i.example TXT v=spf1 -all", "softfail"),
        ("i.example TXT v=spf1 ~all", "softfail"),
        ("i.example TXT v=spf1 ?all", "softfail"),
        ("i.example TXT v=spf1", "softfail"),
        ("i.example FAIL", "temperror"),
        ("i.example TXT v=spf1 a:f.example\nf.example FAIL", "temperror"),
        ("i.example TXT v=spf1 moo", "permerror"),
        ("i.example TXT v=spf1\ni.example TXT v=spf1", "permerror"),
        ("i.example TXT other", "permerror"),
        ("", "permerror"),
    ],
)
def test_include(other: str, result: str) -> None:
    found = check(record("v=spf1 include:i.example ~all", other))
    assert found.result == result
    assert found.mechanism == ("~all" if result == "softfail" else "include:i.example")
    assert found.lookups >= 1


def test_the_qualifier_of_an_include_holds() -> None:
    assert check(record("v=spf1 -include:i.example +all", "i.example TXT v=spf1 ip4:192.0.2.3")).result == "fail"


@pytest.mark.parametrize("target", ["x..example", "a" * 64 + ".example", "%{l}"])
def test_an_include_that_cannot_be_a_name(target: str) -> None:
    assert check(record(f"v=spf1 include:{target} ~all")).result == "permerror"


# Sections 5.3, 5.4: a and mx.


@pytest.mark.parametrize(
    ("term", "ip", "more", "result"),
    [
        ("a", IP4, "x.example A 192.0.2.3", "pass"),
        ("a", IP4, "x.example A 192.0.2.4\nx.example A 192.0.2.3", "pass"),
        ("a", IP4, "x.example A 192.0.2.4", "fail"),
        ("a/24", IP4, "x.example A 192.0.2.4", "pass"),
        ("a/31", IP4, "x.example A 192.0.2.4", "fail"),
        ("a/0", IP4, "x.example A 203.0.113.4", "pass"),
        ("a/0", IP4, "x.example AAAA 2001:db8::1", "fail"),
        ("a//0", IP4, "x.example A 203.0.113.4", "fail"),
        ("a", IP6, "x.example AAAA 2001:db8::cb01", "pass"),
        ("a", IP6, "x.example A 192.0.2.3\nx.example AAAA 2001:db8::cb02", "fail"),
        ("a/24", IP6, "x.example AAAA 2001:db8::cb02", "fail"),
        ("a//64", IP6, "x.example AAAA 2001:db8::ffff", "pass"),
        ("a/1//126", IP6, "x.example AAAA 2001:db8::cb02", "pass"),
        ("a//0", IP6, "x.example AAAA ::1", "pass"),
        ("a:y.example", IP4, "y.example A 192.0.2.3", "pass"),
        ("a:y.example.", IP4, "y.example A 192.0.2.3", "pass"),
        ("a:y.example", IP4, "x.example A 192.0.2.3", "fail"),
        ("a", IP4, "x.example FAIL", "temperror"),
        ("a:y.example", IP4, "y.example FAIL", "temperror"),
        ("a:y.example", IP6, "y.example FAIL", "temperror"),
        ("a:x..example", IP4, "", "fail"),
        ("a:" + "a" * 64 + ".example", IP4, "", "fail"),
        ("mx", IP4, "x.example MX 10 m.example\nm.example A 192.0.2.3", "pass"),
        ("mx", IP4, "x.example MX 10 m.example\nx.example MX 5 n.example\nm.example A 192.0.2.3", "pass"),
        ("mx", IP4, "x.example MX 10 m.example\nm.example A 192.0.2.4", "fail"),
        ("mx/30", IP4, "x.example MX 10 m.example\nm.example A 192.0.2.1", "pass"),
        ("mx//96", IP6, "x.example MX 10 m.example\nm.example AAAA 2001:db8::1", "pass"),
        ("mx:y.example/24//64", IP4, "y.example MX 10 m.example\nm.example A 192.0.2.4", "pass"),
        # No implicit MX, and a null MX is no host.
        ("mx", IP4, "x.example A 192.0.2.3", "fail"),
        ("mx", IP4, "x.example MX 0 .", "fail"),
        ("mx", IP4, "x.example MX 10 m.example\nm.example FAIL", "temperror"),
        ("mx:y.example", IP4, "y.example FAIL", "temperror"),
    ],
)
def test_a_and_mx(term: str, ip: str, more: str, result: str) -> None:
    assert check(record(f"v=spf1 {term} -all", more), ip).result == result


# Section 5.5: ptr.


@pytest.mark.parametrize(
    ("term", "ip", "more", "result"),
    [
        ("ptr", IP4, f"{REVERSE4} PTR x.example\nx.example A 192.0.2.3", "pass"),
        ("ptr", IP4, f"{REVERSE4} PTR a.b.X.example\na.b.x.example A 192.0.2.3", "pass"),
        ("ptr", IP4, f"{REVERSE4} PTR notx.example\nnotx.example A 192.0.2.3", "fail"),
        ("ptr", IP4, f"{REVERSE4} PTR example\nexample A 192.0.2.3", "fail"),
        ("ptr", IP4, f"{REVERSE4} PTR h.x.example\nh.x.example A 192.0.2.4", "fail"),
        ("ptr", IP4, f"{REVERSE4} PTR h.x.example\n{REVERSE4} PTR g.x.example\ng.x.example A 192.0.2.3", "pass"),
        ("ptr:y.example", IP4, f"{REVERSE4} PTR h.y.example\nh.y.example A 192.0.2.3", "pass"),
        ("ptr:y.example", IP4, f"{REVERSE4} PTR h.x.example\nh.x.example A 192.0.2.3", "fail"),
        ("ptr", IP6, f"{REVERSE6} PTR h.x.example\nh.x.example AAAA 2001:db8::cb01", "pass"),
        ("ptr", IP6, f"{REVERSE6} PTR h.x.example\nh.x.example A 192.0.2.3", "fail"),
        ("ptr", IP4, "", "fail"),
        # What cannot be asked now is no error here: the mechanism, or the one name, fails to match.
        ("ptr", IP4, f"{REVERSE4} FAIL", "fail"),
        ("ptr", IP4, f"{REVERSE4} PTR f.x.example\nf.x.example FAIL", "fail"),
        (
            "ptr",
            IP4,
            f"{REVERSE4} PTR f.x.example\nf.x.example FAIL\n{REVERSE4} PTR x.example\nx.example A {IP4}",
            "pass",
        ),
    ],
)
def test_ptr(term: str, ip: str, more: str, result: str) -> None:
    assert check(record(f"v=spf1 {term} -all", more), ip).result == result


# Section 5.6: ip4 and ip6.


@pytest.mark.parametrize(
    ("term", "ip", "result"),
    [
        ("ip4:192.0.2.0/30", IP4, "pass"),
        ("ip4:192.0.2.0/31", IP4, "fail"),
        ("ip4:0.0.0.0/0", IP6, "fail"),
        ("ip6:2001:db8::/32", IP6, "pass"),
        ("ip6:2001:db9::/32", IP6, "fail"),
        ("ip6:::/0", IP4, "fail"),
        ("ip6:::/0", IP6, "pass"),
        # An IPv4-mapped client is an IPv4 client (section 5).
        ("ip4:192.0.2.3", "::ffff:192.0.2.3", "pass"),
        ("ip6:::ffff:0:0/96", "::ffff:192.0.2.3", "fail"),
        ("a:h.example", "::ffff:192.0.2.3", "pass"),
        ("ptr ip6:fe80::1", "fe80::1%eth0", "pass"),
    ],
)
def test_networks(term: str, ip: str, result: str) -> None:
    assert check(record(f"v=spf1 {term} -all", "h.example A 192.0.2.3"), ip).result == result


# Section 5.7: exists.


@pytest.mark.parametrize(
    ("target", "ip", "more", "result"),
    [
        ("%{l}.%{ir}.l.example", IP4, "strong-bad.3.2.0.192.l.example A 127.0.0.2", "pass"),
        ("l.example", IP4, "l.example A 0.0.0.0", "pass"),
        ("l.example", IP6, "l.example A 127.0.0.2", "pass"),
        ("l.example", IP6, "l.example AAAA ::1", "fail"),
        ("l.example", IP4, "", "fail"),
        ("l.example", IP4, "l.example FAIL", "temperror"),
        ("%{ir}.l.example", IP6, f"{REVERSE6.removesuffix('.ip6.arpa')}.l.example A 127.0.0.2", "pass"),
    ],
)
def test_exists(target: str, ip: str, more: str, result: str) -> None:
    assert check(record(f"v=spf1 exists:{target} -all", more), ip).result == result


# Section 6.1: redirect.


@pytest.mark.parametrize(
    ("text", "more", "result", "mechanism"),
    [
        ("v=spf1 redirect=r.example", "r.example TXT v=spf1 -all", "fail", "-all"),
        ("v=spf1 redirect=r.example ip4:192.0.2.3", "r.example TXT v=spf1 -all", "pass", "ip4:192.0.2.3"),
        ("v=spf1 redirect=r.example ip4:192.0.2.4", "r.example TXT v=spf1 ~all", "softfail", "~all"),
        ("v=spf1 redirect=r.example ?all", "r.example TXT v=spf1 -all", "neutral", "?all"),
        ("v=spf1 redirect=r.example", "r.example TXT v=spf1", "neutral", "default"),
        ("v=spf1 redirect=r.example", "", "permerror", "redirect=r.example"),
        ("v=spf1 redirect=r.example", "r.example TXT other", "permerror", "redirect=r.example"),
        ("v=spf1 redirect=r.example", "r.example TXT v=spf1 moo", "permerror", "redirect=r.example"),
        ("v=spf1 redirect=r.example", "r.example FAIL", "temperror", "redirect=r.example"),
        ("v=spf1 redirect=r..example", "", "permerror", "redirect=r..example"),
        ("v=spf1 redirect=%{h}.r.example", "helo.example.net.r.example TXT v=spf1 +all", "pass", "+all"),
        # The redirected record is about its own domain.
        ("v=spf1 redirect=r.example", "r.example TXT v=spf1 a -all\nr.example A 192.0.2.3", "pass", "a"),
        ("v=spf1 redirect=r.example", "r.example TXT v=spf1 a:f.example\nf.example FAIL", "temperror", "a:f.example"),
    ],
)
def test_redirect(text: str, more: str, result: str, mechanism: str) -> None:
    found = check(record(text, more))
    assert (found.result, found.mechanism) == (result, mechanism)


# Section 6.2: exp.


@pytest.mark.parametrize(
    ("text", "more", "explanation"),
    [
        ("v=spf1 -all exp=e.example", "e.example TXT Go away.", "Go away."),
        ("v=spf1 exp=e.example -all", "e.example TXT  two  spaces", " two  spaces"),
        ("v=spf1 -all exp=%{d2}.e.example", "x.example.e.example TXT %{d}", "x.example"),
        ("v=spf1 -all exp=e.example", "e.example TXT %{c} %{r} %{t}", "192.0.2.3 mx.receiver.example 1700000000"),
        ("v=spf1 -all exp=e.example", "e.example TXT %{S}%%%_%-", "strong-bad%40x.example% %20"),
        ("v=spf1 -all exp=e.example", "e.example TXT %{p}", "unknown"),
        ("v=spf1 -all", "", ""),
        # Whatever goes wrong: as if there were none.
        ("v=spf1 -all exp=e.example", "", ""),
        ("v=spf1 -all exp=e.example", "e.example A 192.0.2.1", ""),
        ("v=spf1 -all exp=e.example", "e.example FAIL", ""),
        ("v=spf1 -all exp=e.example", "e.example TXT one\ne.example TXT two", ""),
        ("v=spf1 -all exp=e.example", "e.example TXT broken %{x}", ""),
        ("v=spf1 -all exp=e.example", "e.example TXT broken %", ""),
        ("v=spf1 -all exp=e.example", "e.example TXT ünlü", ""),
        ("v=spf1 -all exp=e.example", "e.example TXT tab\there", ""),
        ("v=spf1 -all exp=e..example", "", ""),
        ("v=spf1 -all exp=%{h}" + ".a" * 5, "", ""),
        # Only for a fail.
        ("v=spf1 ~all exp=e.example", "e.example TXT no", ""),
        ("v=spf1 +all exp=e.example", "e.example TXT no", ""),
        ("v=spf1 exp=e.example", "e.example TXT no", ""),
        # An included record's says nothing, neither where it passes nor where it fails; a redirected one's does.
        ("v=spf1 -include:i.example", "i.example TXT v=spf1 +all exp=e.example\ne.example TXT no", ""),
        ("v=spf1 include:i.example -all", "i.example TXT v=spf1 -all exp=e.example\ne.example TXT no", ""),
        ("v=spf1 redirect=r.example", "r.example TXT v=spf1 -all exp=e.example\ne.example TXT %{d}", "r.example"),
        ("v=spf1 exp=e.example redirect=r.example", "r.example TXT v=spf1 -all\ne.example TXT no", ""),
    ],
)
def test_explanation(text: str, more: str, explanation: str) -> None:
    assert check(record(text, more)).explanation == explanation


def test_what_comes_into_an_explanation_from_outside() -> None:
    zone = record("v=spf1 -all exp=e.example", "e.example TXT %{l} from %{h}")
    assert check(zone, helo="evil\r\n250 ok").explanation == ""
    assert check(zone, mail_from="ünlü@x.example").explanation == ""
    long = check(record("v=spf1 -all exp=e.example", f"e.example TXT {'x' * 2000}")).explanation
    assert long == "x" * MAX_EXPLANATION


def test_questions_for_an_explanation_do_not_count() -> None:
    terms = "a:no1.example a:no2.example"
    found = check(record(f"v=spf1 {terms} -all exp=%{{p}}.none.example"))
    assert (found.result, found.lookups, found.void_lookups) == ("fail", 2, 2)


# Section 7: macros, as far as they need an evaluation.


@pytest.mark.parametrize(
    ("ip", "text", "expanded"),
    [
        (IP4, "%{i} %{c} %{v}", "192.0.2.3 192.0.2.3 in-addr"),
        ("::ffff:192.0.2.3", "%{i} %{c} %{v}", "192.0.2.3 192.0.2.3 in-addr"),
        (IP6, "%{v} %{c}", "ip6 2001:db8::cb01"),
        (IP6, "%{i}", "2.0.0.1.0.D.B.8.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.C.B.0.1"),
        (IP6, "%{i2r}", "0.2"),
        (IP4, "%{s} %{l} %{o} %{d} %{h}", "strong-bad@x.example strong-bad x.example x.example helo.example.net"),
    ],
)
def test_letters(ip: str, text: str, expanded: str) -> None:
    assert check(record("v=spf1 -all exp=e.example", f"e.example TXT {text}"), ip).explanation == expanded


def test_d_is_the_domain_of_the_record_and_o_the_senders() -> None:
    zone = Zone(
        record("v=spf1 include:i.example redirect=r.example", "i.example TXT v=spf1 exists:%{d}.%{o}.example")
        + "\nr.example TXT v=spf1 exists:%{d}.%{o}.example -all"
    )
    check(zone)
    asked = [question.name for question in zone.questions if question.kind == "A"]
    assert asked == ["i.example.x.example.example", "r.example.x.example.example"]


@pytest.mark.parametrize(
    ("names", "more", "chosen"),
    [
        (["h.other.example", "h.x.example", "x.example"], "", "x.example"),
        (["h.other.example", "h.x.example", "notx.example"], "", "h.x.example"),
        (["h.other.example", "notx.example"], "", "h.other.example"),
        (["forged.x.example", "h.other.example"], "forged.x.example TXT no address", "h.other.example"),
        (["down.x.example", "h.other.example"], "down.x.example FAIL", "h.other.example"),
        (["forged.x.example"], "forged.x.example A 192.0.2.99", "unknown"),
        ([], "", "unknown"),
        ([], f"{REVERSE4} FAIL", "unknown"),
    ],
)
def test_p(names: list[str], more: str, chosen: str) -> None:
    zone = Zone(record("v=spf1 -all exp=e.example", f"e.example TXT %{{p}}\n{more}"))
    for name in names:
        zone.add(REVERSE4, "PTR", name)
        if not name.startswith(("forged", "down")):
            zone.add(name, "A", IP4)
    assert check(zone).explanation == chosen


def test_p_looks_at_ten_names_at_most() -> None:
    zone = Zone(record("v=spf1 -all exp=e.example", "e.example TXT %{p}"))
    for at in range(11):
        zone.add(REVERSE4, "PTR", f"h{at}.x.example")
        zone.add(f"h{at}.x.example", "A", "192.0.2.99" if at < 10 else IP4)
    assert check(zone).explanation == "unknown"


def test_a_name_that_is_too_long_loses_labels_on_the_left() -> None:
    label = "a" * 49
    zone = Zone(record(f"v=spf1 exists:%{{l}}.{label}.{label}.{label}.{label}.x.example -all"))
    check(zone, mail_from=f"{'b' * 40}.{'c' * 30}@x.example")
    name = zone.questions[-1].name
    assert name == ".".join(["c" * 30, *[label] * 4, "x.example"])
    # Exactly 253 characters are not too many; one more is.
    zone = Zone(record(f"v=spf1 exists:%{{l}}.{label}.{label}.{label}.{label}.x.example -all"))
    room = 253 - len(f".{label}.{label}.{label}.{label}.x.example")
    check(zone, mail_from=f"{'b' * room}@x.example")
    assert len(zone.questions[-1].name) == 253
    check(zone, mail_from=f"{'b' * (room + 1)}@x.example")
    assert zone.questions[-1].name.startswith(f"{label}.")


def test_a_local_part_in_other_letters_never_matches() -> None:
    """RFC 8616 section 4; an upper-case letter makes ASCII of it."""
    zone = record(
        "v=spf1 exists:%{l}.y.example include:%{s}.z.example exists:%{L}.w.example -all", "%c3%bc.w.example A 127.0.0.1"
    )
    found = check(zone, mail_from="ü@x.example")
    assert (found.result, found.mechanism, found.lookups) == ("pass", "exists:%{L}.w.example", 3)


def test_questions_are_what_is_needed_and_no_more() -> None:
    zone = Zone(
        record(
            "v=spf1 a mx include:i.example -all exp=e.example",
            """x.example A 192.0.2.4
            x.example MX 10 m.example
            m.example A 192.0.2.3
            i.example TXT v=spf1 +all
            e.example TXT no""",
        )
    )
    found = check(zone)
    assert (found.result, found.mechanism, found.lookups, found.void_lookups) == ("pass", "mx", 2, 0)
    assert zone.questions == [
        Question("x.example", "TXT"),
        Question("x.example", "A"),
        Question("x.example", "MX"),
        Question("m.example", "A"),
    ]


PIECES = st.sampled_from(
    [
        *(
            "v=spf1",
            " ",
            " ",
            "a",
            "mx",
            "ptr",
            "all",
            "include:",
            "exists:",
            "ip4:",
            "ip6:",
            "redirect=",
            "exp=",
            "x=",
        ),
        *(
            "%{",
            "}",
            "%{l}",
            "%{p}",
            "%{h2r}",
            "%{S}",
            "%%",
            "%_",
            "%-",
            "%",
            ":",
            "/",
            "//",
            "24",
            "128",
            "-",
            "~",
            "?",
        ),
        *(
            "x.example",
            "y.example",
            ".",
            "..",
            "192.0.2.3",
            "2001:db8::3",
            "@",
            "\\",
            '"',
            "ü",
            "\ud800",
            "\x00",
            "a" * 64,
        ),
    ]
)
TEXTS = st.lists(PIECES, max_size=12).map("".join)


@given(
    records=st.lists(st.tuples(st.booleans(), TEXTS), max_size=4),
    explanation=TEXTS,
    helo=TEXTS,
    local=TEXTS,
    names=st.lists(TEXTS.filter(str.isascii), max_size=3),
    ip=st.sampled_from([IP4, IP6, "::ffff:192.0.2.3", "fe80::1%eth0"]),
)
@settings(deadline=None, max_examples=150)
def test_whatever_is_said_there_is_a_result(
    records: list[tuple[bool, str]], explanation: str, helo: str, local: str, names: list[str], ip: str
) -> None:
    """And no question is put that cannot be put: the zone looks at each."""
    zone = Zone("z.example A 192.0.2.3")
    for at, (valid, text) in enumerate(records):
        zone.add(("x.example", "y.example")[at % 2], "TXT", f"v=spf1 {text}" if valid else text)
        zone.add("x.example", "MX", f"{at} y.example")
    zone.add("exp.example", "TXT", explanation)
    for name in names:
        zone.add(REVERSE4, "PTR", name)
    found = check(zone, ip, f"{local}@x.example", helo)
    assert found.explanation.isascii()
    assert found.lookups <= 11
    assert found.void_lookups <= 3
    assert bool(found.problem) == (found.result in ("temperror", "permerror"))
    assert len(zone.questions) < 300
