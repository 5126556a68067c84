#!/usr/bin/python
"""Module `postane_domain_table`: the domains of a table are there, and as it says."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.postane_command import COMMON, Postane, table

DOCUMENTATION = r"""
module: postane_domain_table
short_description: Many hosted domains at once
description:
  - Brings in domains from rows such as those of a spreadsheet, in one call of the command for all of them.
  - What is right already is left alone and costs little, so that a run that was killed is taken up by the next.
  - In check mode it is said what would be done; the records that new domains would get are shown as a difference.
options:
  rows:
    description: >-
      A dictionary for each domain with the columns of C(postane domain import); the lookup C(domain_table) makes them
      of a file.
    type: list
    elements: dict
    required: true
  records:
    description: Plan the records of new domains in check mode.
    type: bool
    default: true
  password_store:
    description: Folder on the host for the passwords of new accounts; by default C(initial-passwords) in the state.
    type: path
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
- name: Bring in the customers' domains
  postane_domain_table:
    rows: "{{ lookup('domain_table', 'customers.csv') }}"
"""

RETURN = r"""
states:
  description: How many rows there are of each state (made, changed, unchanged, failed).
  type: dict
  returned: always
domains:
  description: What was done, or would be, of each domain of which anything was.
  type: dict
  returned: always
password_files:
  description: Where the passwords of new accounts lie on the host, by domain.
  type: dict
  returned: always
"""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **{key: value for key, value in COMMON.items() if key != "state"},
            "rows": {"type": "list", "elements": "dict", "required": True},
            "records": {"type": "bool", "default": True},
            "password_store": {"type": "path", "no_log": False},
        },
        supports_check_mode=True,
    )
    postane = Postane(module)
    rows = [{key: value for key, value in row.items() if key != "line"} for row in module.params["rows"]]
    if not rows or not postane.installed:
        module.exit_json(changed=bool(rows), states={}, domains={}, password_files={})
    words = ["--json"]
    if module.params["password_store"]:
        words.append(f"--passwords={module.params['password_store']}")
    if module.check_mode:
        words += ["--dry-run", *(["--records"] if module.params["records"] else [])]
    # Rows that fail are in the answer: only where there is none was the table as a whole refused.
    answer = postane.ask("domain", "import", *words, "-", stdin=table(rows), good=tuple(range(256)))
    result = summed_up(answer)
    failed = [one for one in answer["items"] if one["error"]]
    if failed:
        msg = f"{len(failed)} of {len(rows)} domains failed, the first: {failed[0]['domain']}: {failed[0]['error']}"
        module.fail_json(msg=msg, **result)
    module.exit_json(**result)


def summed_up(answer: dict[str, Any]) -> dict[str, Any]:
    states: dict[str, int] = {}
    for one in answer["items"]:
        states[one["state"]] = states.get(one["state"], 0) + 1
    told = {one["domain"]: ([one["error"]] if one["error"] else one["what"]) for one in answer["items"]}
    domains = {name: words for name, words in told.items() if words}
    after = "".join(f"{name}: {', '.join(words)}\n" for name, words in domains.items())
    return {
        "changed": answer["changed"],
        "states": states,
        "domains": domains,
        "password_files": {one["domain"]: one["password_file"] for one in answer["items"] if one["password_file"]},
        "diff": {"before": "", "after": after + records(answer.get("plans") or []), "after_header": "domains"},
    }


def records(plans: list[dict[str, Any]]) -> str:
    """The records that new domains would get, a line each."""
    return "".join(
        f"{line['record']['name']} {line['record']['ttl']} {line['record']['type']} {line['record']['data']}\n"
        for one in plans
        if one["plan"]
        for line in one["plan"]["lines"]
        if line["action"] in ("add", "change") and line["record"]
    )


if __name__ == "__main__":
    main()
