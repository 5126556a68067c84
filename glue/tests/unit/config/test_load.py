"""Bad configurations: each is refused with file, line and reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from postane.config.load import load, parse
from postane.config.model import Config
from postane.core.errors import ConfigError

GOOD = "host: mail.example.org\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "f.yml:1: the file is empty; at least `host:` is needed"),
        ("# nothing\n", "f.yml:1: the file is empty"),
        ("- a\n", "f.yml:1: the file must be a mapping of keys"),
        ("host: [\n", "f.yml:2: not YAML: "),
        ("host: a\n\tb: c\n", "f.yml:2: not YAML: "),
        ("smtp: {}\n", "f.yml:1: the file: needs the key 'host'"),
        (GOOD + "smpt: {}\n", "f.yml:2: key 'smpt' is not known; did you mean 'smtp'?"),
        (
            GOOD + "smtp:\n  limits:\n    recipient: 3\n",
            "f.yml:4: key 'recipient' is not known; did you mean 'recipients'?",
        ),
        (GOOD + "zzz: 1\n", "f.yml:2: key 'zzz' is not known; known here: api, "),
        (GOOD + GOOD, "f.yml:2: key 'host' is given twice"),
        (GOOD + "smtp:\n  workers: -1\n", "f.yml:3: smtp.workers: expected a whole number >= 0"),
        (GOOD + "smtp:\n  workers: many\n", "f.yml:3: smtp.workers: expected a whole number, got text"),
        (GOOD + "smtp: 3\n", "f.yml:2: smtp: expected keys with values, got a whole number"),
        (GOOD + "smtp:\n  listen:\n    smtp: ['25']\n", "f.yml:4: smtp.listen.smtp: '25' is not address:port"),
        (GOOD + "smtp:\n  listen:\n    smtp: [3]\n", "f.yml:4: smtp.listen.smtp[0]: expected text"),
        (GOOD + "smtp:\n  relay_from: [127.0.0.1/8]\n", "f.yml:3: smtp.relay_from: '127.0.0.1/8' is no network"),
        (GOOD + "delivery:\n  local: mbox\n", "f.yml:3: delivery.local: not a choice: 'mbox'"),
        (GOOD + "delivery:\n  local: maildir\n", "f.yml:3: delivery.local: maildir needs delivery.maildir"),
        (GOOD + "tls:\n  key: /x\n", "f.yml:2: tls: certificate and key go together"),
        ("host: localhost\n", "f.yml:1: host: 'localhost' is not a full host name"),
        (GOOD + "spool:\n  large_message: 999999999\n", "f.yml:3: spool.large_message: at most half"),
        (GOOD + "queue:\n  retry_most: 1\n", "f.yml:3: queue.retry_most: shorter than"),
        (GOOD + "queue:\n  local_retry_most: 1\n", "f.yml:3: queue.local_retry_most: shorter than"),
        (GOOD + "queue:\n  expire: .inf\n", "f.yml:3: queue.expire: .inf is no number to reckon with"),
        (GOOD + "smtp:\n", "f.yml:2: smtp: expected keys with values, got nothing (write a value, or leave"),
        (GOOD + "state: 2024-99-99\n", "f.yml:2: state: '2024-99-99' needs quotes"),
        (GOOD + "state: var\n", "f.yml:2: state: 'var' is not a path from the root"),
        (GOOD + "tls: !!python/object:os.system {}\nx: 1\n", "f.yml:3: key 'x' is not known"),
        (GOOD + "state: !run x\n", "f.yml:2: not YAML: could not determine a constructor"),
        (GOOD + "state: a\0b\n", "f.yml:2: a character that no text file has: U+0000"),
        (GOOD + "smtp: &a [*a]\n", "f.yml:1: lists within lists without an end"),
        (GOOD + "? [a]\n: b\n", "f.yml:2: a key is a word"),
        (GOOD + "smtp:\n  <<: {}\n", "f.yml:3: key '<<' is not known"),
        (GOOD + "smtp:\n  listen:\n    smtp: ['[::]:99999']\n", "f.yml:4: smtp.listen.smtp: '[::]:99999' is not"),
        (GOOD + "smtp:\n  listen:\n    smtp: ['[zz]:25']\n", "f.yml:4: smtp.listen.smtp: '[zz]:25' is not"),
        (GOOD + "smtp:\n  listen:\n    smtp: ['::1:25']\n", "f.yml:4: smtp.listen.smtp: '::1:25' is not"),
        (GOOD + 'smtp:\n  banner: "a\\r\\n250 b"\n', "f.yml:3: smtp.banner: only ASCII"),
        (GOOD + "smtp:\n  tag_separator: '@'\n", "f.yml:3: smtp.tag_separator: '@' is none of"),
        (GOOD + "dkim:\n  selector_prefix: ../x\n", "f.yml:3: dkim.selector_prefix: '../x' is not a DNS label"),
        (GOOD + "directory:\n  url: nonsense\n", "f.yml:3: directory.url: not a URL"),
        (GOOD + "delivery:\n  lmtp: dovecot\n", "f.yml:3: delivery.lmtp: 'dovecot' is neither"),
        (GOOD + "delivery:\n  smarthost: relay.example\n", "f.yml:3: delivery.smarthost: 'relay.example' is not host:"),
        (GOOD + "dns:\n  addresses: [mail.example]\n", "f.yml:3: dns.addresses: 'mail.example' is not an IP"),
        (
            GOOD + "certificates:\n  directory: http://a\n",
            "f.yml:3: certificates.directory: 'http://a' is not an https",
        ),
        (GOOD + "certificates:\n  ca_bundle: ca.pem\n", "f.yml:3: certificates.ca_bundle: 'ca.pem' is not a path"),
        (GOOD + "certificates:\n  account_email: me\n", "f.yml:3: certificates.account_email: 'me' is not an address"),
        (GOOD + "certificates:\n  names: [a.b]\n", "f.yml:3: certificates.names"),
        (GOOD + "certificates:\n  challenge: tls\n", "f.yml:3: certificates.challenge: not a choice: 'tls'"),
        (GOOD + "api:\n  listen: '8025'\n", "f.yml:3: api.listen: '8025' is not address:port"),
    ],
)
def test_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "f.yml")
    assert str(caught.value).startswith(said)
    assert caught.value.exit_code == 78


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.yml")
    (tmp_path / "latin.yml").write_bytes(b"host: m\xfcze.example\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "latin.yml")


@pytest.mark.parametrize("address", ["[::]:25", "0.0.0.0:25", "127.0.0.1:2525", "[2001:db8::1]:587", "localhost:25"])
def test_good_addresses(address: str) -> None:
    config = parse(GOOD + f"smtp:\n  listen:\n    smtp: ['{address}']\n", "f.yml")
    assert config.smtp.listen.smtp == (address,)


def test_the_defaults_are_good() -> None:
    assert parse(GOOD, "f.yml") == Config(host="mail.example.org")


def test_defaults_and_values() -> None:
    config = parse(GOOD + "smtp:\n  limits:\n    errors: 3\nqueue:\n  retry_first: 10\n", "f.yml")
    assert (config.smtp.limits.errors, config.smtp.limits.recipients) == (3, 100)
    assert config.queue.retry_first == 10.0
