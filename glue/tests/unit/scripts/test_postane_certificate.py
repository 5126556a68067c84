"""The command that keeps the host's certificate: its key stays at a renewal, and the next one serves when it may."""

from __future__ import annotations

import grp
import os
import shutil
import subprocess
from pathlib import Path

import jinja2
import pytest

from postane.admin import host_key
from postane.admin.site import Site
from postane.config.model import Config, Tls
from postane.domains.rollover import Keys

TEMPLATE = Path(__file__).parents[4] / "roles/tls/templates/usr/local/sbin/postane-certificate.j2"
pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")

HOST = "mail.host.test"


class Command:
    """`may`: what the question for the next key is answered with, as by `postane certificate host`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tls" / HOST
        self.folder.mkdir(parents=True)
        self._script = folder / "postane-certificate"
        self._script.write_text(jinja2.Template(TEMPLATE.read_text()).render(ansible_managed="made by a test"))
        self._conf = folder / "certificate.conf"
        self.configure()
        (folder / "bin").mkdir()
        self._answer = folder / "bin" / "postane"
        self.may(False)
        self._env = os.environ | {
            "POSTANE_CERTIFICATE_CONF": str(self._conf),
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        }

    def configure(self, *, mode: str = "ca", names: str = HOST) -> None:
        group = grp.getgrgid(os.getgid()).gr_name
        root = self.folder.parent
        self._conf.write_text(
            f'MODE={mode}\nHOST={HOST}\nNAMES="{names}"\nGROUP={group}\nROOT={root}\nCHALLENGES={root}\nDAYS=90\n'
            "RENEW_DAYS=30\nAUTHORITY_DAYS=3650\nACME_DIRECTORY=\nACME_EMAIL=\nACME_DIRECTORY_CA=\n"
        )

    def may(self, yes: bool) -> None:
        self._answer.write_text(f'#!/bin/sh\n[ "$*" = "certificate host" ] && exit {0 if yes else 1}\nexit 70\n')
        self._answer.chmod(0o755)

    def __call__(self, verb: str) -> str:
        done = subprocess.run(["sh", self._script, verb], env=self._env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def keys(self) -> Keys:
        """As the plan of the domain's records sees them."""
        place = str(self.folder)
        tls = Tls(certificate=f"{place}/fullchain.pem", key=f"{place}/privkey.pem")
        return host_key.keys_of(Site(Config(host=HOST, state=str(self.folder.parent), tls=tls)))


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


def test_the_key_stays_when_the_certificate_is_renewed(command: Command) -> None:
    assert command("provide") == "changed"
    first, chain = command.keys(), (command.folder / "fullchain.pem").read_bytes()
    assert first.serves.startswith("3 1 1 ")
    assert command("provide") == ""
    command.configure(names=f"{HOST} webmail.host.test")
    assert command("provide") == "changed"
    assert (command.folder / "fullchain.pem").read_bytes() != chain
    assert command.keys().serves == first.serves
    assert (command.folder / "privkey.pem").stat().st_mode & 0o777 == 0o640


def test_the_next_key_serves_when_it_may_and_not_before(command: Command) -> None:
    command("provide")
    first = command.keys()
    command("next")
    waiting = command.keys()
    assert waiting.serves == first.serves
    assert waiting.follows.startswith("3 1 1 ")
    assert waiting.follows != first.serves
    assert (command.folder / "next.key").stat().st_mode & 0o777 == 0o640
    assert (command.folder / "next.pem").stat().st_mode & 0o777 == 0o644
    command("next")  # once more: the one that waits is not lost
    assert command.keys() == waiting
    # A renewal meanwhile is made with the present key.
    command.configure(names=f"{HOST} webmail.host.test")
    assert command("provide") == "changed"
    assert command.keys().serves == first.serves
    assert command("check") == ""
    command.may(True)
    assert command("check") == "changed"
    assert command("provide") == "changed"
    after = command.keys()
    assert (after.serves, after.follows) == (waiting.follows, "")
    assert not (command.folder / "next.key").exists()
    assert command("provide") == ""


def test_a_next_key_that_is_not_of_its_public_key_is_not_taken(command: Command) -> None:
    command("provide")
    first = command.keys()
    command("next")
    (command.folder / "next.key").write_bytes((command.folder / "privkey.pem").read_bytes())
    command.may(True)
    assert command("provide") == ""
    assert command.keys().serves == first.serves
