"""Lookup `role_values`: what roles publish in their defaults, for the playbook to hand to another role.

`lookup('role_values', 'firewall_rules', ['dns', 'web'])` is `dns_firewall_rules + web_firewall_rules`:
each from the inventory where it is set there, else from the role's defaults/main.yml, templated.
A role that publishes nothing adds nothing; a role that is not there is an error.
"""

from __future__ import annotations

from pathlib import Path

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: role_values
short_description: Lists that roles publish in their defaults
description:
  - Joins the lists C(<role>_<value>) of several roles, from the inventory or from each role's defaults.
options:
  _terms:
    description: The value's name without the role, then a list of role names.
    required: true
"""

ROLES = Path(__file__).resolve().parents[3] / "roles"


class LookupModule(LookupBase):
    def run(self, terms, variables=None, **kwargs):
        value, roles = terms
        joined = []
        for role in roles:
            joined += self._published(role, f"{role}_{value}", variables or {})
        return [joined]

    def _published(self, role, name, variables):
        path = ROLES / role / "defaults" / "main.yml"
        if not path.parent.parent.is_dir():
            raise AnsibleLookupError(f"role_values: there is no role {role}")
        defaults = {}
        if path.is_file():
            defaults = self._loader.load_from_file(str(path), trusted_as_template=True) or {}
        known = {**defaults, **variables}
        if name not in known:
            return []
        # A copy: the play's own variables must not see one role's defaults.
        return self._templar.copy_with_new_env(available_variables=known).template(known[name])
