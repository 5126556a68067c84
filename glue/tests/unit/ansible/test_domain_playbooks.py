"""The playbooks of domains as an operator runs them, on this machine, over a directory of their own.

Each run takes seconds of a processor: POSTANE_PLAYBOOKS=1 also runs them dry, again, and to the domain's end.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from postane.admin import account
from postane.admin.domain_life import Desk
from postane.admin.site import Site
from postane.config.load import load

ROOT = Path(__file__).parents[4]
BIN = Path(sys.executable).parent
LONG = bool(os.environ.get("POSTANE_PLAYBOOKS"))
Play = Callable[..., str]

TABLE = """\ufeffDomain;Tenant;Plan;Admin;Start
müze.example;museum;small;info;move
far.example;library;;;claim
"""
VARS = """
domains_command: {folder}/postane
domains_run_as: ""
domains_password_store: {folder}/passwords
domains_publish: true
domains_report: {folder}/reports
postane_plans: {{small: {{quota: 2 GiB}}}}
postane_domains_table: {folder}/inventory/customers.csv
postane_domains:
  - name: shop.example
    tenant: bakery
    dmarc: reject
    accounts: [{{name: ayse}}]
    aliases: [{{name: info, targets: [ayse@shop.example]}}]
"""
CONFIG = 'host: mail.host.test\nstate: {folder}/state\ndns: {{nameservers: ["127.0.0.1:1"], timeout: 0.1}}\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    (tmp_path / "postane.yml").write_text(f"{CONFIG.format(folder=tmp_path)}domains: {{look_timeout: 0.2}}\n")
    command = tmp_path / "postane"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m postane.cli.main --config {tmp_path}/postane.yml "$@"\n')
    command.chmod(0o755)
    (tmp_path / "inventory/group_vars").mkdir(parents=True)
    host = f"{{ansible_connection: local, ansible_become: false, ansible_python_interpreter: {sys.executable}}}"
    (tmp_path / "inventory/hosts.yml").write_text(f"mail:\n  hosts:\n    mail.host.test: {host}\n")
    (tmp_path / "inventory/group_vars/all.yml").write_text(VARS.format(folder=tmp_path))
    (tmp_path / "inventory/customers.csv").write_text(TABLE, encoding="utf-8")
    return tmp_path


@pytest.fixture
def site(folder: Path) -> Site:
    made = Site(load(folder / "postane.yml"))
    made.database.upgrade()
    return made


@pytest.fixture
def play(folder: Path) -> Play:
    def run(name: str, *words: str, fails: bool = False) -> str:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        done = subprocess.run(
            [BIN / "ansible-playbook", f"playbooks/{name}.yml", "-i", folder / "inventory", *words],
            cwd=ROOT,
            env=environment | {"ANSIBLE_NOCOLOR": "1", "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert (done.returncode != 0) is fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def changed(output: str) -> int:
    found = re.search(r"changed=(\d+)", output)
    assert found
    return int(found[1])


def states(site: Site) -> dict[str, str]:
    return {one.shown: one.state for one in Desk(site).every()}


def test_domains_of_the_inventory_and_of_its_table(folder: Path, site: Site, play: Play) -> None:
    if LONG:
        dry = play("domains", "--check", "--diff")
        assert "+xn--mze-hoa.example: taken in while its mail is elsewhere" in dry
        assert states(site) == {}
    first = play("domains", "--diff")
    assert states(site) == {"müze.example": "verified", "far.example": "claimed", "shop.example": "cutover"}
    assert account.show(site, "info@müze.example").quota_bytes == 2 << 30
    assert "1 to 2 of 2" in first
    assert "what stands at shop.example and" in first  # what is left in the DNS
    [file] = (folder / "state/initial-passwords").iterdir()
    assert file.read_text().strip() not in first
    if LONG:
        assert changed(play("domains")) == 0
    page = (folder / "reports/mail.host.test.html").read_text()
    assert "müze.example" in page
    assert (folder / "reports/mail.host.test.csv").read_bytes().startswith(b"\xef\xbb\xbfdomain,")


def test_a_bad_table_is_refused_with_its_place(folder: Path, play: Play) -> None:
    (folder / "inventory/customers.csv").write_text("domain;tenat\nx.example;y\n")
    refused = play("domains", fails=True)
    assert f"{folder}/inventory/customers.csv:1: there is no column 'tenat'; did you mean tenant?" in refused


def test_a_domain_comes_and_goes(folder: Path, site: Site, play: Play) -> None:
    words = ("-e", "domain=müze.example", "-e", "tenant=museum", "-e", "admin=info", "-e", f"export_to={folder}/export")
    if LONG:
        dry = play("onboard", "--check", "--diff", *words)
        assert "taken in while its mail is elsewhere, account info@" in dry
        assert states(site) == {}
    first = play("onboard", *words)
    assert states(site) == {"müze.example": "shadow"}
    assert "where its mail goes cannot be known now" in first
    if not LONG:
        return
    assert changed(play("onboard", *words)) == 0
    gone = play("offboard", *words)
    assert states(site) == {"müze.example": "leaving"}
    assert "where its mail goes cannot be known now" in gone
    [export] = (folder / "export").iterdir()
    assert (export / "domain.json").exists()


def test_a_domain_that_nobody_names(play: Play) -> None:
    assert "say -e domain=example.org" in play("onboard", fails=True)
