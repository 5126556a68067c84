"""The lookup by which a playbook hands what roles publish to another role."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[4]
PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
DEFAULT = yaml.safe_load((ROOT / "roles/fail2ban/defaults/main.yml").read_text())["fail2ban_mail_ports"]


def look_up(tmp_path: Path, *roles: str, **variables: object) -> tuple[int, str]:
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


@pytest.mark.parametrize(
    ("variables", "joined"),
    [
        ({}, DEFAULT),
        ({"fail2ban_mail_ports": [1]}, [1]),
        ({"fail2ban_mail_ports": ["{{ base }}"], "base": 7}, [7]),
        ({"base_mail_ports": [2]}, [*DEFAULT, 2]),
    ],
)
def test_defaults_and_the_inventory(tmp_path: Path, variables: dict[str, object], joined: list[int]) -> None:
    code, said = look_up(tmp_path, "fail2ban", "base", **variables)
    assert code == 0, said
    assert f"joined={json.dumps(joined)}" in said
    assert "own=unseen" in said, "a role's defaults leak into the play"


def test_a_role_that_is_not_there(tmp_path: Path) -> None:
    code, said = look_up(tmp_path, "fail3ban")
    assert code != 0
    assert "there is no role fail3ban" in said
