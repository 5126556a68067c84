"""The web server's part for mail programs: names of any domain, TLS only where the certificate has the name."""

from __future__ import annotations

import re
from pathlib import Path

import jinja2

NGINX = Path(__file__).parents[4] / "roles" / "web" / "templates" / "etc" / "nginx" / "sites-enabled"
HOSTNAMES = ["autoconfig.demo.test", "mta-sts.demo.test"]
ANY_DOMAIN = ["autoconfig.*", "autodiscover.*", "mta-sts.*", "ua-auto-config.*"]


def servers(hostnames: list[str]) -> list[str]:
    template = jinja2.Environment(
        loader=jinja2.FileSystemLoader(NGINX), undefined=jinja2.StrictUndefined, trim_blocks=True
    ).get_template("postane-clients.conf.j2")
    text = template.render(
        ansible_managed="",
        web_listen=["0.0.0.0", "[::]"],
        web_clients_hostnames=hostnames,
        web_clients_secure_hostname="panel.demo.test",
    )
    assert text.count("{") == text.count("}")
    return text.split("\nserver {\n")[1:]


def names(server: str) -> list[str]:
    found = re.search(r"server_name ([^;]+);", server)
    assert found is not None
    return found[1].split()


def test_names_of_any_domain_on_http_and_what_may_be_said_there() -> None:
    plain = [server for server in servers(HOSTNAMES) if "postane-https.conf" not in server]
    assert [name for server in plain for name in names(server)] == ANY_DOMAIN
    handed_on = {names(server)[0]: server.count("postane-clients.conf") for server in plain}
    assert handed_on == {"autoconfig.*": 2, "autodiscover.*": 0, "mta-sts.*": 0}
    assert "return 302 https://panel.demo.test/autodiscover/autodiscover.xml;" in plain[1]
    for server in plain:
        assert "listen 0.0.0.0:80;" in server
        assert "443" not in server
        assert "postane-acme.conf" in server  # a certificate for the name can be had


def test_tls_for_the_names_of_the_hosts_certificate_and_for_domains_that_have_one() -> None:
    secure = [server for server in servers(HOSTNAMES) if "postane-https.conf" in server]
    assert [(names(server), re.findall(r"postane-tls[a-z-]*", server)) for server in secure] == [
        (HOSTNAMES, ["postane-tls"]),
        (ANY_DOMAIN, ["postane-tls-domains"]),
    ]
    for server in secure:
        for path in (
            "= /mail/config-v1.1.xml",
            "= /.well-known/mta-sts.txt",
            "= /.well-known/user-agent-configuration.json",
            "= /mail/apple.mobileconfig",
        ):
            assert f"location {path} {{\n        include /etc/nginx/snippets/postane-clients.conf;\n    }}" in server
        assert "location / {\n        return 404;\n    }" in server


def test_a_host_without_names_of_its_own_serves_those_of_domains() -> None:
    assert [names(server) for server in servers([]) if "postane-https.conf" in server] == [ANY_DOMAIN]
