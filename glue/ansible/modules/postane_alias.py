#!/usr/bin/python
"""Module `postane_alias`: an address stands for others, or does not."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.postane_command import COMMON, Postane, difference

DOCUMENTATION = r"""
module: postane_alias
short_description: An address that stands for others
description:
  - Gives an alias just the targets that are named, in their order, or removes it.
options:
  address:
    description: The alias; C(*@domain) catches what no other name of the domain has.
    type: str
    required: true
  targets:
    description: Where its mail goes, addresses here or elsewhere. Required where O(state=present).
    type: list
    elements: str
  state:
    description: Whether it is there.
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
- name: Let info@ reach two people
  postane_alias:
    address: info@example.org
    targets: [ayse@example.org, mehmet@example.org]
"""

RETURN = r"""
alias:
  description: What the directory says of the alias; null if it is not there.
  type: dict
  returned: always
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **COMMON,
            "address": {"type": "str", "required": True},
            "targets": {"type": "list", "elements": "str"},
        },
        required_if=[("state", "present", ["targets"])],
        supports_check_mode=True,
    )
    postane = Postane(module)
    address, targets = module.params["address"], module.params["targets"]
    before = postane.show("alias", address)
    after, changed = before, False
    if module.params["state"] == "absent":
        if before is not None:
            changed = postane.tell("alias", "remove", "--", address)
            after = None
    elif before is None or [comparable(target) for target in targets] != before["targets"]:
        # The command has the last word on whether two spellings are one address.
        changed = postane.tell("alias", "add", "--", address, *targets)
        after = {**(before or {"address": address}), "targets": targets}
        if not module.check_mode:
            after = postane.show("alias", address)
    module.exit_json(changed=changed, alias=after, diff=difference(before, after, f"alias {address}"))


def comparable(address: str) -> str:
    """As the directory writes a target: the local part as it is, since another host may care for its spelling."""
    local, _, domain = address.strip().rpartition("@")
    try:
        return f"{local}@{domain.rstrip('.').lower().encode('idna').decode()}"
    except UnicodeError:
        return address


if __name__ == "__main__":
    main()
