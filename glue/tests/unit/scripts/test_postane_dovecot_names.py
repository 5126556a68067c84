"""The command that tells Dovecot of certificates: only of pairs that match, never so that Dovecot would not start."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import jinja2
import pytest

from postane.tls.store import Store
from support.pebble import make_server_certificate

TEMPLATE = Path(__file__).parents[4] / "roles/dovecot/templates/usr/local/sbin/postane-dovecot-names.j2"
pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


class Command:
    """Dovecot's part is played by commands of our own: `refuses` is what `doveconf` says then; reloads are counted."""

    def __init__(self, folder: Path, language: str) -> None:
        self.store = Store(folder / "state")
        self.names = folder / "dovecot/postane-names.conf"
        self.names.parent.mkdir()
        self._folder = folder
        script = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False).from_string(
            TEMPLATE.read_text()
        )
        text = script.render(
            ansible_managed="made by a test",
            dovecot_tls_domains=str(self.store.folder),
            dovecot_tls_domain_labels=["mail", "imap"],
            __dovecot_language=language,
        )
        (folder / "command").write_text(text.replace("/etc/dovecot", str(self.names.parent)))
        (folder / "bin").mkdir()
        for name, body in {
            "doveconf": f'if [ -e "{folder}/refuses" ]; then cat "{folder}/refuses" >&2; exit 89; fi',
            "systemctl": "exit 0",
            "doveadm": f'echo "$@" >>"{folder}/reloads"',
        }.items():
            (folder / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
            (folder / "bin" / name).chmod(0o755)

    def put(self, domain: str, *names: str) -> str:
        """The folder of the version."""
        make_server_certificate(self._folder, *names)
        chain, key = ((self._folder / f"server.{end}").read_bytes() for end in ("pem", "key"))
        return str(self.store.put(domain, names, chain, key).folder)

    def run(self) -> tuple[int, int, str]:
        """Exit code, reloads so far, errors."""
        path = f"{self._folder / 'bin'}:{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", str(self._folder / "command")], env=os.environ | {"PATH": path}, capture_output=True, text=True
        )
        reloads = self._folder / "reloads"
        assert not list(self.names.parent.glob(".names-*")), "it leaves nothing behind"
        return done.returncode, len(reloads.read_text().splitlines()) if reloads.exists() else 0, done.stderr


@pytest.mark.parametrize(
    ("language", "line"), [("2.3", "ssl_cert = <{}/fullchain.pem"), ("2.4", "ssl_server_cert_file = {}/fullchain.pem")]
)
def test_each_name_is_told_with_the_folder_that_never_changes(tmp_path: Path, language: str, line: str) -> None:
    command = Command(tmp_path, language)
    assert command.run() == (0, 1, ""), "an empty file: nobody yet"
    assert command.names.read_text() == ""
    first = command.put("a.test", "mail.a.test", "autoconfig.a.test")
    command.put("b.test", "imap.b.test")
    assert command.run()[:2] == (0, 2)
    text = command.names.read_text()
    assert line.format(first) in text
    assert [one.split()[1] for one in text.splitlines() if one.startswith("local_name")] == [
        "mail.a.test",
        "imap.b.test",
    ]
    assert command.run()[:2] == (0, 2), "nothing has changed"
    second = command.put("a.test", "mail.a.test")
    assert command.run()[:2] == (0, 3)
    assert line.format(second) in command.names.read_text()


def test_what_does_not_match_or_has_no_name_is_left_out(tmp_path: Path) -> None:
    command = Command(tmp_path, "2.4")
    command.put("good.test", "mail.good.test")
    bad = command.put("bad.test", "mail.bad.test")
    make_server_certificate(tmp_path, "mail.bad.test")
    Path(bad, "privkey.pem").write_bytes((tmp_path / "server.key").read_bytes())
    (command.store.folder / "mail.x {}\n}").symlink_to(".kept/good.test/current")
    (command.store.folder / "mail.nowhere.test").symlink_to("/nowhere")
    assert command.run()[0] == 0
    text = command.names.read_text()
    assert text.count("local_name") == 1
    assert "mail.good.test" in text


def test_what_dovecot_would_not_take_is_taken_back(tmp_path: Path) -> None:
    command = Command(tmp_path, "2.4")
    command.put("a.test", "mail.a.test")
    assert command.run()[:2] == (0, 1)
    before = command.names.read_text()
    command.put("b.test", "mail.b.test")
    (tmp_path / "refuses").write_text("doveconf: Fatal: no\n")
    code, reloads, said = command.run()
    assert (code, reloads) == (1, 1)
    assert "Fatal: no" in said
    assert command.names.read_text() == before
