"""Lookup `domain_table`: the rows of a table of domains in CSV, judged on the controller before a host is touched.

Thin: reading and judging is done by postane.admin.domain_table. A bad table is an error with all its faults, each with
file, line and column.
"""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from ansible.errors import AnsibleError, AnsibleLookupError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: domain_table
short_description: The rows of a table of domains in CSV
description:
  - A list of dictionaries with the columns of C(postane domain import) that say something, one for each domain.
options:
  _terms:
    description: Files.
    required: true
  plans:
    description: What rows of a plan have where they say nothing themselves, by the plan's name.
    type: dict
"""

try:
    from postane.admin import domain_table
except ImportError:  # An Ansible outside .venv: the package lies beside this file.
    sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "glue" / "src"))
    try:
        from postane.admin import domain_table
    except ImportError as error:
        raise AnsibleError(f"{error}: run .venv/bin/ansible-playbook (scripts/tools makes it)") from error


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        self.set_options(var_options=variables, direct=kwargs)
        plans = self.get_option("plans")
        found = []
        for term in terms:
            path = Path(self._loader.path_dwim(str(term))).expanduser()
            try:
                rows = domain_table.read(path.read_bytes(), str(term), plans)
            except OSError as error:
                raise AnsibleLookupError(f"{term}: {error.strerror}") from error
            except domain_table.TableError as error:
                raise AnsibleLookupError(str(error)) from error
            found.append([{key: value for key, value in asdict(row).items() if value} for row in rows])
        return found
