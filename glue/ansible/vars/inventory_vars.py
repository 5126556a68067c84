"""Vars plugin `inventory_vars`: Ansible's own group_vars and host_vars, with the place of a YAML mistake.

Ansible's plugin says what is wrong with a file, but neither which file nor where.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from ansible.errors import AnsibleError, AnsibleParserError
from ansible.plugins.vars import host_group_vars

DOCUMENTATION = """
name: inventory_vars
short_description: Loads group_vars and host_vars, and says where a mistake is
description:
  - Does what ansible.builtin.host_group_vars does; an error names the file and the line.
options:
  stage:
    ini:
      - key: stage
        section: vars_inventory_vars
    env:
      - name: ANSIBLE_VARS_PLUGIN_STAGE
extends_documentation_fragment:
  - vars_plugin_staging
"""


class VarsModule(host_group_vars.VarsModule):
    def load_found_files(self, loader, data, found_files):
        for path in found_files:
            try:
                data = super().load_found_files(loader, data, [path])
            except AnsibleError as error:
                raise AnsibleParserError(f"{_place(path)}: {error}") from error
        return data


def _place(path):
    try:
        yaml.compose(Path(path).read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        return f"{path}:{error.problem_mark.line + 1}"
    except (OSError, ValueError, yaml.YAMLError):
        pass
    return str(path)
