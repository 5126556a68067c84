"""The preflight playbook as an operator runs it: what is shown, where the fault is, and that the run ends there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
HOSTS = """\
postane_hosts:
  children: {mail: {}, dns: {}, web: {}}
mail:
  hosts:
    mail.ornek.dev:
dns:
  children: {mail: {}}
web:
  children: {mail: {}}
"""
VARS = """\
postane_public_ipv4: 9.9.9.9
postane_domains:
  - name: ornek.dev
    accounts:
      - name: ayse
        password_file: "{{ inventory_dir }}.secrets/ayse"
"""


@pytest.fixture
def inventory(tmp_path: Path) -> Path:
    """A sound inventory outside the repository, its secrets beside it."""
    folder = tmp_path / "hosts"
    (folder / "group_vars").mkdir(parents=True)
    (folder / "hosts.yml").write_text(HOSTS)
    (folder / "group_vars/all.yml").write_text(VARS)
    secret = tmp_path / "hosts.secrets/ayse"
    secret.parent.mkdir()
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    return folder


def preflight(inventory: Path, *more: str) -> tuple[int, str]:
    """Judges the inventory alone: no host is looked at."""
    # Only what the terminal would have: Ansible's own settings from outside would change what is shown.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    done = subprocess.run(
        [PLAYBOOK, "playbooks/preflight.yml", "--inventory", inventory, "--tags", "inventory", *more],
        cwd=ROOT,
        env=environment | {"ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_sound_inventory_passes(inventory: Path) -> None:
    code, said = preflight(inventory)
    assert code == 0, said
    assert "failed=0" in said


def test_all_faults_are_shown_at_once_each_with_its_place(inventory: Path) -> None:
    file = inventory / "group_vars/all.yml"
    file.write_text(file.read_text().replace("9.9.9.9", "10.0.0.5") + "postane_hostnam: x\n")
    secret = Path(f"{inventory}.secrets/ayse")
    secret.unlink()
    # A host outside the limit is judged too.
    (inventory / "hosts.yml").write_text(HOSTS.replace("mail.ornek.dev:", "mail.ornek.dev:\n    mailhost:"))
    code, said = preflight(inventory, "--limit", "mail.ornek.dev")
    assert code != 0
    refused = said.partition("refused: |-\n")[2].partition("\n\n")[0].splitlines()
    shown = [re.sub(f"^{re.escape(str(inventory))}/", "", line.strip()) for line in refused]
    missing = f"the password file {secret} does not exist"
    unreachable = "10.0.0.5 is a private address: no other mail server can reach an MX there"
    assert sorted(shown) == sorted(
        [
            "mailhost: not a full host name, such as mail.ornek.dev",
            "group_vars/all.yml:7: postane_hostnam: there is no such variable; did you mean postane_hostname?",
            f"group_vars/all.yml:1: mail.ornek.dev: postane_public_ipv4: {unreachable}",
            f"group_vars/all.yml:1: mailhost: postane_public_ipv4: {unreachable}",
            f"group_vars/all.yml:6: account ayse@ornek.dev: {missing}",
        ]
    )


def test_secrets_and_templates(inventory: Path) -> None:
    file = inventory / "group_vars/all.yml"
    file.write_text(
        file.read_text()
        + """\
      - name: mehmet
        password: s3cret
      - name: deniz
        password_file: "{{ inventory_dir }}/deniz"
      - name: can
        password: "{{ lookup('file', inventory_dir ~ '.secrets/ayse') }}"
postane_secrets: "{{ nowhere }}"
"""
    )
    code, said = preflight(inventory)
    assert code != 0
    assert f"{file}:8: account mehmet@ornek.dev: the password stands there in clear text" in said
    assert (
        f"the password file {inventory}/deniz lies in the inventory, where Ansible reads it as a list of hosts" in said
    )
    assert "account can@ornek.dev" not in said
    assert "s3cret" not in said
    assert "mail.ornek.dev: postane_secrets cannot be worked out: 'nowhere' is undefined" in said


def test_broken_yaml_among_the_hosts_ends_the_run(inventory: Path) -> None:
    (inventory / "hosts.yml").write_text("postane_hosts: [mail\n  a: b\n")
    code, said = preflight(inventory)
    assert code != 0
    assert f"{inventory}/hosts.yml:2" in said
    assert "PLAY [" not in said


def test_broken_yaml_among_the_variables_ends_the_run(inventory: Path) -> None:
    file = inventory / "group_vars/all.yml"
    file.write_text(file.read_text() + "postane_demo: [1\n  a: b\n")
    code, said = preflight(inventory)
    assert code != 0
    assert f"[ERROR]: {file}:8: YAML parsing failed" in said
    assert "TASK [" not in said


def test_the_example_is_refused_until_it_is_changed() -> None:
    code, said = preflight(ROOT / "inventories/single")
    assert code != 0
    assert "203.0.113.25 is a documentation address" in said
    assert "domain example.org: a name reserved for examples and tests" in said
    assert "there is no such variable" not in said
