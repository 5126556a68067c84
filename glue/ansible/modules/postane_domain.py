#!/usr/bin/python
"""Module `postane_domain`: a hosted domain is there, or is not."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.postane_command import COMMON, Postane, difference

DOCUMENTATION = r"""
module: postane_domain
short_description: A hosted domain
description:
  - Adds a domain to the directory of the Postane that runs on the host, or removes it.
  - A new domain gets its DKIM keys at once. Its records are published by C(postane domain publish).
options:
  name:
    description: The domain, in Unicode or as A-labels.
    type: str
    required: true
  tenant:
    description: Whose it is. An existing domain goes over to the tenant that is named; by default it stays.
    type: str
  state:
    description: C(absent) is refused by the command while the domain has accounts or aliases.
    type: str
    choices: [present, absent]
    default: present
  command:
    description: The command on the host.
    type: path
    default: /usr/local/bin/postane
  run_as:
    description: The user that the command is run as where the module runs as root; C("") for root.
    type: str
    default: postane
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
author: Postane contributors
"""

EXAMPLES = r"""
- name: Host a domain
  postane_domain:
    name: example.org
    tenant: bakery
"""

RETURN = r"""
domain:
  description: What the directory says of the domain; null if it is not there.
  type: dict
  returned: always
"""

KEPT = ("name", "tenant", "active")  # what the module speaks of; counts of accounts change by other means


def main() -> None:
    module = AnsibleModule(
        argument_spec={**COMMON, "name": {"type": "str", "required": True}, "tenant": {"type": "str"}},
        supports_check_mode=True,
    )
    postane = Postane(module)
    name, tenant = module.params["name"], module.params["tenant"]
    before = known(postane.show("domain", name))
    after, changed = before, False
    if module.params["state"] == "absent":
        if before is not None:
            changed = postane.tell("domain", "remove", "--", name)
            after = None
    elif before is None or (tenant and before["tenant"] != tenant):
        changed = postane.tell("domain", "add", *([f"--tenant={tenant}"] if tenant else []), "--", name)
        after = {**(before or {"name": name, "active": True}), **({"tenant": tenant} if tenant else {})}
        if not module.check_mode:
            after = known(postane.show("domain", name))
    module.exit_json(changed=changed, domain=after, diff=difference(before, after, f"domain {name}"))


def known(shown: dict | None) -> dict | None:
    return shown and {key: shown[key] for key in KEPT}


if __name__ == "__main__":
    main()
