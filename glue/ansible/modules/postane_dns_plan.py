#!/usr/bin/python
"""Module `postane_dns_plan`: the records of hosted domains are as they should be."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.postane_command import COMMON, Postane

DOCUMENTATION = r"""
module: postane_dns_plan
short_description: The records of hosted domains
description:
  - Plans the records of domains and carries the plans out, wherever each domain's DNS is kept.
  - In check mode the plans are made and shown, and nothing is changed.
  - Only what Postane made is changed or removed. What is in the way otherwise is left, and told in RV(left).
options:
  names:
    description: The domains; by default all hosted ones that are on.
    type: list
    elements: str
  take:
    description: Kinds of record of which those that others made are replaced, such as C(mx) at the cutover.
    type: list
    elements: str
    default: []
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
- name: Bring the records of all domains to what they should be
  postane_dns_plan:

- name: Move a domain's mail here
  postane_dns_plan:
    names: [example.org]
    take: [mx]
"""

RETURN = r"""
states:
  description: How many domains there are of each state (done, unchanged, manual, failed; in a dry run, would change).
  type: dict
  returned: always
left:
  description: What is left to a person, by domain; conflicts, and records that are put in by hand.
  type: dict
  returned: always
failed_domains:
  description: Domains whose records could not be looked at or changed, each with the reason.
  type: dict
  returned: always
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **{key: value for key, value in COMMON.items() if key != "state"},
            "names": {"type": "list", "elements": "str"},
            "take": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    postane = Postane(module)
    names = module.params["names"]
    if names == [] or not postane.installed:
        module.exit_json(changed=not postane.installed, states={}, left={}, failed_domains={})
    words = ["--all"] if names is None else ["--", *names]
    take = [f"--take={kind}" for kind in module.params["take"]]
    dry = ["--dry-run"] if module.check_mode else []
    # Domains that fail are in the answer: only where there is none has the command as a whole.
    found = postane.ask("domain", "apply", "--json", *take, *dry, *words, good=tuple(range(256)))
    result = summed_up(found)
    result["diff"] = {
        "before_header": "records",
        "after_header": "records",
        "before": lines(found, "removed"),
        "after": lines(found, "added"),
    }
    if result["failed_domains"]:
        name, reason = next(iter(result["failed_domains"].items()))
        count = len(result["failed_domains"])
        module.fail_json(msg=f"{count} of {len(found)} domains failed, the first: {name}: {reason}", **result)
    module.exit_json(**result)


def summed_up(found: list[dict[str, Any]]) -> dict[str, Any]:
    """The answer of `postane domain apply`, one entry a domain and zone, as the module's."""
    states: dict[str, int] = {}
    left: dict[str, list[str]] = {}
    failed: dict[str, str] = {}
    for one in found:
        states[one["state"]] = states.get(one["state"], 0) + 1
        if one["error"]:
            failed[one["domain"]] = one["error"]
        if one["left"]:
            left.setdefault(one["domain"], []).extend(one["left"])
        if one["state"] == "manual":
            by_hand = f"its records are put in by hand: postane domain letter {one['domain']}"
            left.setdefault(one["domain"], []).append(by_hand)
    changed = any(one["state"] in ("done", "would change") for one in found)
    return {"changed": changed, "states": states, "left": left, "failed_domains": failed}


def lines(found: list[dict[str, Any]], side: str) -> str:
    """For --diff: the records of one side, a line each."""
    return "".join(
        f"{record['name']} {record['ttl']} {record['type']} {record['data']}\n"
        for one in found
        if one["state"] in ("done", "would change")
        for record in one[side]
    )


if __name__ == "__main__":
    main()
