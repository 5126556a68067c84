"""Every fault of an inventory has its line; a sound inventory has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from postane.admin.inventory import (
    DOMAIN_KEYS,
    SHARED_VARIABLES,
    Finding,
    Host,
    Secrets,
    findings,
    release_findings,
    secret_fault,
)

ROOT = Path(__file__).parents[4]
ALL = frozenset({"all", "postane_hosts", "mail", "dns", "web"})
SOUND: dict[str, Any] = {
    "postane_public_ipv4": "9.9.9.9",
    "postane_public_ipv6": "2620:fe::fe",
    "postane_domains": [
        {
            "name": "örnek.dev",
            "tenant": "ornek",
            "accounts": [
                {"name": "ayse", "password_file": "/secrets/ayse", "quota": "1 GiB"},
                {"name": "çiğdem", "password": "vaulted"},
            ],
            "aliases": [
                {"name": "info", "targets": ["ayse@örnek.dev", "a@elsewhere.dev"]},
                {"name": "*", "targets": ["ayse@örnek.dev"]},
            ],
        }
    ],
}


def host(name: str = "mail.ornek.dev", *, groups: frozenset[str] = ALL, address: str = "", **changed: Any) -> Host:
    return Host(name, groups, {**SOUND, **changed}, address=address)


def lines(*hosts: Host, secret: str = "", **more: Any) -> list[str]:
    secrets = Secrets(lambda _: secret, in_clear=lambda value: value == "clear")
    return [one.text for one in findings(hosts, {"web_port", "firewall_rules"}, secrets=secrets, **more)]


def domain(**keys: Any) -> dict[str, Any]:
    return {"postane_domains": [{"name": "ornek.dev", **keys}]}


def account(**keys: Any) -> dict[str, Any]:
    return domain(accounts=[keys])


def alias(**keys: Any) -> dict[str, Any]:
    return domain(aliases=[keys])


def test_a_sound_inventory_has_no_fault() -> None:
    second = host("mx2.ornek.dev", address="149.112.112.112", web_port=1, my_own_variable=2)
    assert lines(host(), second) == []


def test_hosts_of_others_are_not_judged() -> None:
    assert lines(host(), Host("printer", frozenset({"all"}), {"postane_hostnam": "x"})) == []


def test_a_demo_may_have_what_a_real_host_may_not() -> None:
    domains = [{"name": "demo.test"}]
    demo = host(
        "mail.demo.test",
        address="10.89.79.2",
        postane_demo=True,
        postane_domains=domains,
        postane_public_ipv4="10.89.79.2",
        postane_public_ipv6="",
    )
    assert lines(demo) == []


def test_a_demo_that_is_not_up_has_one_line() -> None:
    demo = host("mail.demo.test", postane_demo=True)
    assert lines(demo, secret="missing") == [
        "mail.demo.test: the demo is not up: run `make demo` (for a host of your own: -i YOUR_INVENTORY)"
    ]


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"name": "mailhost"}, "mailhost: not a full host name, such as mail.örnek.dev"),
        ({"name": "192.168.1.5"}, "192.168.1.5: not a full host name"),
        ({"name": "-bad.ornek.dev"}, "-bad.ornek.dev: not a full host name"),
        ({"name": "mail.example.org"}, "mail.example.org: a name reserved for examples and tests"),
        ({"name": f"{'a' * 60}.ornek.dev"}, "a host name has at most 64 characters"),
        ({"postane_hostname": "mx"}, "mail.ornek.dev: postane_hostname mx: not a full host name"),
        ({"postane_public_ipv4": "10.0.0.5"}, "10.0.0.5 is a private address: no other mail server can reach"),
        ({"postane_public_ipv4": "100.64.0.1"}, "100.64.0.1 is a private address"),
        ({"postane_public_ipv4": "127.0.0.1"}, "127.0.0.1 is a loopback address"),
        ({"postane_public_ipv4": "203.0.113.25"}, "203.0.113.25 is a documentation address"),
        ({"postane_public_ipv4": "224.0.0.1"}, "224.0.0.1 is a multicast address"),
        ({"postane_public_ipv4": "2620:fe::fe"}, "postane_public_ipv4: 2620:fe::fe is an IPv6 address"),
        ({"postane_public_ipv4": "9.9.9.256"}, "postane_public_ipv4: '9.9.9.256' is no address"),
        ({"postane_public_ipv6": "2001:db8::1"}, "2001:db8::1 is a documentation address"),
        ({"postane_public_ipv6": "fe80::1"}, "fe80::1 is a link-local address"),
        ({"postane_public_ipv6": "fd00::1"}, "fd00::1 is a private address"),
        (
            {"postane_public_ipv4": "", "postane_public_ipv6": ""},
            "postane_public_ipv4 or postane_public_ipv6 is missing",
        ),
        ({"postane_demo": "no"}, "postane_demo: 'no' is neither true nor false"),
        ({"postane_hostnam": "x"}, "postane_hostnam: there is no such variable; did you mean postane_hostname?"),
        ({"postane_colour": "x"}, "postane_colour: there is no such variable (docs/howto/inventory.md"),
        ({"firewal_rules": []}, "firewal_rules: there is no such variable; did you mean firewall_rules?"),
        ({"postane_domains": {"name": "x"}}, "postane_domains: a list of domains is needed"),
        ({"postane_domains": ["ornek.dev"]}, "postane_domains: 'ornek.dev' has no `name:`"),
        ({"postane_domains": [{"name": "a_b"}]}, "domain a_b: it is no domain name"),
        ({"postane_domains": [{"name": "two..dots.dev"}]}, "domain two..dots.dev: it is no domain name"),
        ({"postane_domains": [{"name": "192.0.2.1"}]}, "domain 192.0.2.1: it is no domain name"),
        ({"postane_domains": [{"name": "example.org"}]}, "domain example.org: a name reserved"),
        (
            {"postane_domains": [{"name": "ÖRNEK.dev"}, {"name": "xn--rnek-4qa.dev"}]},
            "domain xn--rnek-4qa.dev: it stands there twice",
        ),
        (domain(acounts=[]), "domain ornek.dev: there is no key acounts; did you mean accounts?"),
        (
            domain(zebra=[]),
            f"domain ornek.dev: there is no key zebra; there are {', '.join(sorted(DOMAIN_KEYS))}",
        ),
        (domain(accounts="ayse"), "domain ornek.dev: accounts is no list"),
        (domain(accounts=["ayse"]), "domain ornek.dev: the account 'ayse' has no `name:`"),
        (
            domain(accounts=[{"name": "ayse"}, {"name": "AYSE"}]),
            "account AYSE@ornek.dev: the address stands there twice",
        ),
        (account(name="a..b"), "account a..b@ornek.dev: the local part is malformed"),
        (account(name="a b"), "account a b@ornek.dev: the local part is malformed"),
        (account(name="*"), "account *@ornek.dev: the catch-all is an alias"),
        (account(name="ayse@ornek.dev"), "account ayse@ornek.dev of ornek.dev: write the part before the @ alone"),
        (account(name="ayse", pasword_file="x"), "there is no key pasword_file; did you mean password_file?"),
        (account(name="ayse", password="x", password_file="y"), "it has a password and a password_file: keep one"),
        (account(name="ayse", password=""), "account ayse@ornek.dev: the password is empty"),
        (account(name="ayse", password="clear"), "account ayse@ornek.dev: the password stands there in clear text"),
        (alias(name="info"), "alias info@ornek.dev: it needs a list of targets"),
        (alias(name="info", targets=[]), "alias info@ornek.dev: it needs a list of targets"),
        (alias(name="info", targets=["ayse"]), "alias info@ornek.dev: target ayse: an address is local@domain"),
        (alias(name="a..b", targets=["a@b.dev"]), "alias a..b@ornek.dev: the local part is malformed"),
    ],
)
def test_a_fault_has_its_line(changed: dict[str, Any], line: str) -> None:
    found = lines(host(**changed))
    assert len(found) == 1, found
    assert line in found[0]


TABLES = [
    ("domain,tenant\nbakkal.dev,x\n", {}, []),
    ("domain,plan\nbakkal.dev,small\n", {"small": {"quota": "2G"}}, []),
    ("domain,tenat\n", {}, [":1: there is no column 'tenat'; did you mean tenant?"]),
    ("domain,plan\nbakkal.dev,big\n", {"small": {}}, [":2: column plan: there is no plan 'big'; there are small"]),
    ("domain\nÖRNEK.dev\n", {}, [":2: column domain: örnek.dev stands in postane_domains already"]),
    (
        "domain\nshop.example\n",
        {},
        [":2: column domain: shop.example: a name reserved for examples and tests; give your own"],
    ),
]


@pytest.mark.parametrize(("text", "plans", "expected"), TABLES)
def test_a_table_of_domains_is_judged_with_its_lines(
    tmp_path: Path, text: str, plans: dict[str, Any], expected: list[str]
) -> None:
    path = tmp_path / "customers.csv"
    path.write_text(text)
    found = lines(host(postane_domains_table=str(path), postane_plans=plans))
    assert found == [f"{path}{line}" for line in expected]


def test_a_table_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "customers.csv"
    assert lines(host(postane_domains_table=str(missing))) == [
        f"postane_domains_table: {missing}: No such file or directory"
    ]
    [line] = lines(host(postane_domains_table="customers.csv"))
    assert "write the whole path, as in {{ inventory_dir }}/customers.csv" in line
    [line] = lines(host(postane_plans=["small"]))
    assert line.startswith("postane_plans: a mapping of plans is needed")


def test_what_a_domain_wants_of_its_own_is_judged_as_in_a_table() -> None:
    assert lines(host(**domain(start="move", keep=["mx", "spf"], ttl=300, dmarc="none"))) == []
    assert lines(host(**domain(start="soon", ttl="1h"))) == [
        "domain ornek.dev: start: 'soon' is none of host, move, claim",
        "domain ornek.dev: ttl: '1h' is no number of seconds",
    ]


def test_an_alias_may_not_take_an_accounts_address() -> None:
    both = domain(accounts=[{"name": "ayse"}], aliases=[{"name": "Ayse", "targets": ["a@b.dev"]}])
    assert lines(host(**both)) == ["alias Ayse@ornek.dev: the address stands there twice"]


def test_two_hosts_of_one_name_and_of_one_address() -> None:
    found = lines(host(address="9.9.9.9"), host("mx.ornek.dev", address="9.9.9.9", postane_hostname="MAIL.ornek.dev"))
    assert found == [
        "mx.ornek.dev and mail.ornek.dev: two hosts of one name, mail.ornek.dev",
        "mx.ornek.dev and mail.ornek.dev: two hosts at one address, 9.9.9.9 port 22",
    ]


def test_two_ports_of_one_address_are_two_hosts() -> None:
    first = Host("mail.ornek.dev", ALL, SOUND, "9.9.9.9", 2201)
    assert lines(first, Host("mx.ornek.dev", ALL, SOUND, "9.9.9.9", 2202)) == []


@pytest.mark.parametrize(
    ("hosts", "line"),
    [
        ([], "no host is in the group postane_hosts"),
        ([host(groups=frozenset({"mail"}))], "mail.ornek.dev: it is in the group mail, but not in postane_hosts"),
        ([host(groups=frozenset({"redis"}))], "mail.ornek.dev: it is in the group redis, but not in postane_hosts"),
        (
            [host(groups=frozenset({"postane_hosts"}))],
            "it is in postane_hosts, but in none of the groups mail, dns, web",
        ),
        ([host(groups=ALL - {"dns"})], "no host is in the group dns"),
    ],
)
def test_groups(hosts: list[Host], line: str) -> None:
    assert any(line in one for one in lines(*hosts))


def test_a_secret_that_is_missing() -> None:
    assert lines(host(), secret="the password file /secrets/ayse does not exist") == [
        "account ayse@örnek.dev: the password file /secrets/ayse does not exist"
    ]


def test_what_two_hosts_share_is_told_once() -> None:
    bad = domain(zebra=1)
    assert len(lines(host(**bad), host("mx2.ornek.dev", **bad))) == 1


def test_an_old_ansible() -> None:
    assert lines(host(), ansible_version=(2, 14))[0].startswith("ansible-core 2.14 is too old: 2.19 is needed")
    assert lines(host(), ansible_version=(2, 20)) == []


def test_a_finding_carries_the_value_for_its_place() -> None:
    value = "10.0.0.5"
    assert findings([host(postane_public_ipv4=value)], (), secrets=Secrets(lambda _: ""))[0].value is value


def test_secret_files(tmp_path: Path) -> None:
    file = tmp_path / "password"
    assert secret_fault(str(file)).endswith("does not exist")
    file.write_text("s3cret\n")
    file.chmod(0o644)
    assert "can be read by others: chmod 600" in secret_fault(str(file))
    file.chmod(0o600)
    assert secret_fault(str(file)) == ""
    file.write_text("\n")
    assert secret_fault(str(file)).endswith("is empty")
    file.write_bytes(b"\xff\xfe")
    assert secret_fault(str(file)).endswith("cannot be read: it is no text")
    assert "cannot be read" in secret_fault(str(tmp_path))


def test_releases() -> None:
    found = release_findings(
        {"a": ("Debian", "12"), "b": ("Debian", "13"), "c": ("Debian", "11"), "d": ("Ubuntu", "24"), "e": ("", "")}
    )
    assert found == [
        Finding("c: Debian 11 is not supported: Debian 12 (bookworm) or 13 (trixie) is needed"),
        Finding("d: Ubuntu 24 is not supported: Debian 12 (bookworm) or 13 (trixie) is needed"),
        Finding("e: an unknown system  is not supported: Debian 12 (bookworm) or 13 (trixie) is needed"),
    ]


def test_every_variable_is_documented() -> None:
    page = (ROOT / "docs/howto/inventory.md").read_text()
    assert [name for name in SHARED_VARIABLES if f"| `{name}` |" not in page] == []
