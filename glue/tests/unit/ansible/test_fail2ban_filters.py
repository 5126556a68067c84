"""The filters of the role fail2ban: who guessed is found, and nobody can make another be found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FILTERS = Path(__file__).parents[4] / "roles/fail2ban/templates/etc/fail2ban/filter.d"
ADDRESS = (
    r"(?:::f{4,6}:)?(?P<ip>(?:\d{1,3}\.){3}\d{1,3}|\[?[0-9a-fA-F:]+:[0-9a-fA-F:]+\]?)"  # as fail2ban puts for <ADDR>
)
JOURNAL = "2026-11-24T11:00:00.000000 mail.ornek.dev unit[7]: "


def found(name: str, line: str) -> str | None:
    text = (FILTERS / f"{name}.conf.j2").read_text()
    pattern = re.search(r"^failregex = (.+)$", text, re.MULTILINE)
    assert pattern
    match = re.search(pattern[1].replace("<ADDR>", ADDRESS), JOURNAL + line)
    return match["ip"] if match else None


@pytest.mark.parametrize(
    ("line", "address"),
    [
        (
            '{"stage":"smtpd","client_ip":"192.0.2.1","login":"ayse","event":"auth_failed","level":"warning"}',
            "192.0.2.1",
        ),
        ('{"event":"auth_failed","client_ip":"192.0.2.1"}', "192.0.2.1"),
        ('{"client_ip": "2001:db8::7", "event": "auth_failed"}', "2001:db8::7"),
        ('{"client_ip":"::ffff:192.0.2.1","event":"auth_failed"}', "192.0.2.1"),
        ('{"client_ip":"192.0.2.1","login":"ayse","event":"auth_ok"}', None),
        ('{"client_ip":"192.0.2.1","event":"rcpt_refused","reason":"auth_failed"}', None),
        # What a guesser may write is his login and his HELO; JSON writes their quotes as \".
        (r'{"login":"x\",\"client_ip\":\"192.0.2.9\"","client_ip":"192.0.2.1","event":"auth_failed"}', "192.0.2.1"),
        (r'{"client_ip":"192.0.2.1","login":"x\",\"client_ip\":\"192.0.2.9","event":"auth_failed"}', "192.0.2.1"),
        (r'{"client_ip":"192.0.2.9","helo":"x\",\"event\":\"auth_failed\",\"","event":"connect"}', None),
    ],
)
def test_submission(line: str, address: str | None) -> None:
    assert found("postane", line) == address


END = "rip=192.0.2.1, lip=198.51.100.1, TLS, session=<BmaZCQRh+Ol/AAAB>"


@pytest.mark.parametrize(
    ("line", "address"),
    [
        # Dovecot 2.3
        (
            f"imap-login: Disconnected (auth failed, 1 attempts in 2 secs): user=<a@b.dev>, method=PLAIN, {END}",
            "192.0.2.1",
        ),
        (
            "pop3-login: Disconnected: Aborted login by logging out (auth failed, 3 attempts in 9 secs): "
            f"user=<a@b.dev>, method=PLAIN, {END}",
            "192.0.2.1",
        ),
        # Dovecot 2.4
        (
            "imap-login: Login aborted: Logged out (auth failed, 1 attempts in 4 secs) (auth_failed): "
            f"user=<a@b.dev>, method=PLAIN, {END}",
            "192.0.2.1",
        ),
        (
            "managesieve-login: Login aborted: Connection closed (auth failed, 1 attempts in 4 secs) (auth_failed): "
            "user=<>, rip=2001:db8::7, lip=2001:db8::1, TLS: Disconnected, session=<BmaZCQRh+Ol/AAAB>",
            "2001:db8::7",
        ),
        # A user name that looks like the end of a line.
        (
            "imap-login: Disconnected (auth failed, 1 attempts in 2 secs): "
            f"user=<x>, rip=192.0.2.9, lip=192.0.2.9, session=<a>>, method=PLAIN, {END}",
            "192.0.2.1",
        ),
        (f"imap-login: Login: user=<a@b.dev>, method=PLAIN, rip=192.0.2.1, lip=198.51.100.1, mpid=7, TLS, {END}", None),
        (f"imap-login: Disconnected: Connection closed (no auth attempts in 0 secs): user=<>, {END}", None),
        (f"imap-login: Login: user=<x (auth failed, 1 attempts in 2 secs): user=<>, method=PLAIN, mpid=7, {END}", None),
    ],
)
def test_mailboxes(line: str, address: str | None) -> None:
    assert found("postane-dovecot", line) == address
