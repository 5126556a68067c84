"""pyspf, which knows nothing of our evaluator, judges random records in a random DNS: the same result, term and text.

Left out is what pyspf is known to do in another way than RFC 7208 says: it asks before it needs to (which changes
the number of void look-ups, and which failures it meets), takes a failure about a PTR name for an error, reads modifier
names in capitals as unknown ones, forbids these to stand twice, and leaves the local part of "@domain" empty.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address
from random import Random
from typing import Any

import pytest
import spf as witness

from postane.core.question import Kind, Question
from postane.filters.auth import spf as ours
from support.zone import Zone

CASES = int(os.environ.get("POSTANE_SPF_CASES", "400"))
DOMAINS = 6
HOSTS = [f"h{at}.example" for at in range(5)]
IPS = ["192.0.2.3", "2001:db8::3", "::ffff:192.0.2.3"]


def addresses(random: Random, v6: bool) -> str:
    if v6:
        return random.choice(["2001:db8::3", "2001:db8::2", "2001:db8::ffff", "2001:db9::3", "::1"])
    return random.choice(["192.0.2.3", "192.0.2.2", "192.0.2.200", "192.0.3.3", "203.0.113.3"])


def target(random: Random) -> str:
    return random.choice(
        [
            *HOSTS,
            *HOSTS,
            "none.example",
            "down.example",
            "%{d}",
            "%{o}",
            "%{l}.example",
            "%{l1r-}.example.",
            "%{h}",
            "%{p}",
            "%{ir}.%{v}.l.example",
            "%{d2}",
            "%{D1r}.%{L}.l.example",
            "%{s-}.x..example",
            "%{D1r}.%{l+}.l.example",
        ]
    )


def prefixes(random: Random) -> str:
    return random.choice(["", "", "", "/24", "/31", "/0", "/32"]) + random.choice(["", "", "//64", "//127", "//0"])


def term(random: Random, later: list[str]) -> str:
    qualifier = random.choice(["", "", "", "+", "-", "~", "?"])
    name = random.choice(["a", "a", "mx", "ip4", "ip6", "exists", "ptr", "include", "all", "A", "Mx", "iP4"])
    match name.lower():
        case "a" | "mx":
            return qualifier + name + random.choice(["", f":{target(random)}"]) + prefixes(random)
        case "ip4":
            return f"{qualifier}{name}:{addresses(random, False)}{random.choice(['', '/32', '/31', '/24', '/0'])}"
        case "ip6":
            return f"{qualifier}{name}:{addresses(random, True)}{random.choice(['', '/128', '/127', '/64', '/0'])}"
        case "exists":
            return f"{qualifier}{name}:{target(random)}"
        case "ptr":
            return qualifier + name + random.choice(["", f":{target(random)}"])
        case "include" if later:
            return f"{qualifier}{name}:{random.choice(later)}"
    return f"{qualifier}all" if random.random() < 0.3 else f"{qualifier}ip4:198.51.100.{random.randrange(256)}"


def record(random: Random, later: list[str]) -> str:
    terms = [term(random, later) for _ in range(random.randrange(6))]
    if later and random.random() < 0.4:
        terms.append(f"redirect={random.choice(later)}")
    if random.random() < 0.5:
        terms.append(f"exp={random.choice(['e.example', 'none.example', 'e.%{d}', '%{o}'])}")
    if random.random() < 0.2:
        terms.append("unknown=%{d}/%_")
    random.shuffle(terms)
    if random.random() < 0.05:
        terms.append(
            random.choice(["moo", "a:", "ip4:192.0.2", "a/33", "ip6:::1/129", "include:", "%{x}=", "all:x", "ptr/24"])
        )
    return " ".join(["v=spf1", *terms])


def world(random: Random) -> Zone:
    zone = Zone("e.example TXT no: %{i} %{s} %{d} %{c} %{p} %{S} %%%_%-")
    domains = [f"d{at}.example" for at in range(DOMAINS)]
    for at, domain in enumerate(domains):
        if random.random() < 0.95:
            zone.add(domain, "TXT", record(random, domains[at + 1 :]))
        if random.random() < 0.1:
            zone.add(domain, "TXT", random.choice(["other", "v=spf1 -all", "v=spf10"]))
        zone.add(f"e.{domain}", "TXT", "go away from %{d}")
    for name in (*domains, *HOSTS, "helo.example"):
        for kind, v6 in (("A", False), ("AAAA", True)):
            for _ in range(random.randrange(3)):
                zone.add(name, kind, addresses(random, v6))
        if random.random() < 0.6:
            for at in random.sample(range(5), random.randrange(1, 4)):
                zone.add(name, "MX", f"{at} {HOSTS[at]}")
    zone.add("l.example", "A", "127.0.0.1")
    zone.add("down.example", "FAIL")
    if random.random() < 0.3:
        zone.add("3.2.0.192.in-addr.l.example", "A", "127.0.0.2")
    for ip in IPS[:2]:
        for name in random.sample([*domains, *HOSTS], random.randrange(3)):
            zone.add(ip_address(ip).reverse_pointer, "PTR", name)
    return zone


@pytest.fixture
def unlimited(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    for place, name in (
        (witness, "MAX_VOID_LOOKUPS"),
        (witness, "MAX_LOOKUP"),
        (ours, "MAX_VOID_LOOKUPS"),
        (ours, "MAX_LOOKUPS"),
    ):
        assert hasattr(place, name)
        monkeypatch.setattr(place, name, 10_000)
    yield monkeypatch


def test_pyspf_agrees(unlimited: pytest.MonkeyPatch) -> None:
    seen: dict[str, int] = {}
    for seed in range(CASES):
        random = Random(seed)
        zone = world(random)

        def lookup(name: str, kind: Kind, *_: object, zone: Zone = zone) -> list[tuple[tuple[str, str], Any]]:
            answer = zone.answer(Question(name, kind))
            if answer.failed:
                raise witness.TempError(answer.failed)
            values: list[Any] = list(answer.records)
            if kind == "MX":
                values = list(enumerate(values))
            if kind == "TXT":
                values = [(text.encode(),) for text in values]
            return [((name, kind), value) for value in values]

        unlimited.setattr(witness, "DNSLookup", lookup)
        ip = random.choice(IPS)
        sender = random.choice(["strong-bad@d0.example", "a.b+c@d0.example", ""])
        helo = "d0.example" if not sender else "helo.example"
        query = witness.query(i=ip, s=sender, h=helo, receiver="mx.receiver.example")
        result, _, text = query.check()
        found = zone.decide(ours.check_host(ours.Client(ip_address(ip), helo, sender, "mx.receiver.example")))
        told = "" if text == witness.EXPLANATIONS["fail"] or result != "fail" else text
        mechanism = "" if result in ("none", "permerror", "temperror") else query.mechanism or "default"
        about = (seed, ip, sender, zone.records, found.problem)
        assert found.result == result, (*about, text)
        if mechanism:
            assert found.mechanism == mechanism, about
        assert found.explanation == told, about
        seen[result] = seen.get(result, 0) + 1
    assert set(seen) == {"pass", "fail", "softfail", "neutral", "none", "permerror", "temperror"}
