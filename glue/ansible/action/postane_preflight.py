"""Action `postane_preflight`: refuses a bad inventory on the controller, one line a fault, all at once.

Thin: what is a fault is decided by postane.admin.inventory. Touches no host. Returns `refused`, a
line for each fault; the playbook fails by them.
`releases: true` judges the Debian releases of the play's hosts by the facts gathered before.
"""

from __future__ import annotations

import sys
from pathlib import Path

import yaml
from ansible.errors import AnsibleError
from ansible.plugins.action import ActionBase
from ansible.release import __version__

ROOT = Path(__file__).resolve().parents[3]

try:
    from postane.admin import inventory
except ImportError:  # An Ansible outside .venv: the package lies beside this file.
    sys.path.insert(0, str(ROOT / "glue" / "src"))
    try:
        from postane.admin import inventory
    except ImportError as error:
        raise AnsibleError(f"{error}: run .venv/bin/ansible-playbook (scripts/tools makes it)") from error


class ActionModule(ActionBase):
    _VALID_ARGS = frozenset({"releases"})
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        del tmp
        if self._task.args.get("releases"):
            found = inventory.release_findings(_releases(task_vars))
        else:
            hosts, broken = _hosts(task_vars)
            version = tuple(int(part) for part in __version__.split(".")[:2])
            secrets = inventory.Secrets(_file_fault(task_vars.get("ansible_inventory_sources") or ()), _in_clear)
            found = broken + inventory.findings(hosts, _role_variables(), ansible_version=version, secrets=secrets)
        lines = [f"{_place(finding.value)}{finding.text}" for finding in found]
        faults = "1 fault" if len(lines) == 1 else f"{len(lines)} faults"
        # The lines stand beside `msg`, since Ansible shows the message of a failed task twice; and as one text with
        # line ends, since it would wrap the lines of a list.
        return {
            "changed": False,
            "refused": "".join(f"{line}\n" for line in lines),
            "msg": f"refused for {faults}" if lines else "nothing to refuse",
        }


def _hosts(task_vars):
    """All hosts of the inventory, and a finding for each variable that cannot be worked out."""
    hosts, broken = [], []
    for name in task_vars["groups"]["all"]:
        values = task_vars["hostvars"][name]
        variables = {}
        for key in values:
            if key.startswith("ansible_") and key not in ("ansible_host", "ansible_port"):
                continue
            try:
                variables[key] = values[key]
            except Exception as error:  # whatever the template raised
                broken.append(inventory.Finding(f"{name}: {key} cannot be worked out: {error}"))
        hosts.append(
            inventory.Host(
                name=name,
                groups=frozenset(variables.pop("group_names", ())),
                address=str(variables.pop("ansible_host", "") or ""),
                port=_port(variables.pop("ansible_port", None)),
                variables=variables,
            )
        )
    return hosts, broken


def _port(value):
    try:
        return int(value or 22)
    except ValueError:  # Ansible itself says so when it connects
        return 0


def _role_variables():
    """What roles document in their defaults."""
    names = set()
    for path in ROOT.glob("roles/*/defaults/main.yml"):
        names.update(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    return names


def _releases(task_vars):
    releases = {}
    for name in task_vars["ansible_play_hosts_all"]:
        facts = task_vars["hostvars"][name].get("ansible_facts") or {}
        if facts:
            releases[name] = (facts.get("distribution", ""), facts.get("distribution_major_version", ""))
    return releases


def _file_fault(sources):
    """A look at a password file that knows what Ansible does with files in a folder that is an inventory."""
    folders = [Path(source) for source in sources if Path(source).is_dir()]

    def fault(path):
        for folder in folders:
            if Path(path).expanduser().is_relative_to(folder):
                return f"the password file {path} lies in the inventory, where Ansible reads it as a list of hosts"
        return inventory.secret_fault(path)

    return fault


def _origin(value):
    """(file, line) where a value is written, (None, 0) where Ansible does not know.

    Ansible keeps it for text that came as written or from a template there; not in its public API.
    """
    try:
        from ansible._internal._datatag._tags import Origin

        origin = Origin.get_tag(value)
        return Path(origin.path), origin.line_num or 0
    except (ImportError, AttributeError, TypeError):
        return None, 0


def _place(value):
    """`file:line: ` for people, empty where it is not known."""
    path, line = _origin(value)
    if path is None:
        return ""
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f"{shown}:{line}: " if line else f"{shown}: "


def _in_clear(value):
    """True if the very text of the value stands in its line: it is neither encrypted nor fetched by a template."""
    path, line = _origin(value)
    try:
        return str(value) in path.read_text(encoding="utf-8").splitlines()[line - 1]
    except (AttributeError, OSError, ValueError, IndexError):
        return False
