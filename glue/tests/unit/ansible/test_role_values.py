"""The lookup by which a playbook hands what roles publish to another role."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[4]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
DEFAULT = yaml.safe_load((ROOT / "roles/fail2ban/defaults/main.yml").read_text())["fail2ban_mail_ports"]


def run(tmp_path: Path, *roles: str, **variables: object) -> tuple[int, str]:
    expression = f"{{{{ lookup('role_values', 'mail_ports', {list(roles)!r}) | to_json }}}}"
    task = {"ansible.builtin.debug": {"msg": f"joined={expression} own={{{{ fail2ban_ban | default('unseen') }}}}"}}
    play = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [task]}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump(play))
    done = subprocess.run(
        [PLAYBOOK, tmp_path / "play.yml", "--inventory", "localhost,", "--extra-vars", json.dumps(variables)],
        cwd=ROOT,
        env=os.environ | {"ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_from_the_defaults_and_from_the_inventory(tmp_path: Path) -> None:
    # The first from its defaults, the second publishes nothing, the third stands in the inventory as a template.
    code, said = run(tmp_path, "fail2ban", "base", "firewall", firewall_mail_ports=["{{ mine }}"], mine=7)
    assert code == 0, said
    assert f"joined={json.dumps([*DEFAULT, 7])}" in said
    assert "own=unseen" in said, "a role's defaults leak into the play"


def test_a_role_that_is_not_there(tmp_path: Path) -> None:
    code, said = run(tmp_path, "fail3ban", fail2ban_mail_ports=[])
    assert code != 0
    assert "there is no role fail3ban" in said
