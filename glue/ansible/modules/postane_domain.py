#!/usr/bin/python
"""Module `postane_domain`: a hosted domain is there, or is not."""

from __future__ import annotations

from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.postane_command import COMMON, Postane, difference, table

DOCUMENTATION = r"""
module: postane_domain
short_description: A hosted domain
description:
  - Adds a domain to the directory of the Postane that runs on the host, sets what it wants of its own, or removes it.
  - With O(up_to) it is led on in its life, as far as nothing holds it.
  - A new domain gets its DKIM keys at once. Its records are put in by M(postane_dns_plan).
options:
  name:
    description: The domain, in Unicode or as A-labels.
    type: str
    required: true
  tenant:
    description: Whose it is. An existing domain goes over to the tenant that is named; by default it stays.
    type: str
  start:
    description: >-
      How a new domain comes here: C(host) by the operator's word and with its mail at once, C(move) by the operator's
      word while its mail is elsewhere, C(claim) to be proved by its owner. One that is here already stays as it is.
    type: str
    choices: [host, move, claim]
  plan:
    description: The provider's name for what it pays for, told in reports.
    type: str
  dns_target:
    description: Where its records are put, one of C(dns.targets); C(-) is what the configuration says.
    type: str
  keep:
    description: Kinds of record that Postane keeps for it.
    type: list
    elements: str
  spf:
    description: How SPF names our servers, C(mx), C(a), C(ip) or C(include:NAME); C(-) as the configuration says.
    type: str
  dmarc:
    description: The DMARC policy, C(none), C(quarantine) or C(reject); C(-) as the configuration says.
    type: str
  mta_sts:
    description: C(off), C(none), C(testing) or C(enforce); C(-) as the configuration says.
    type: str
  delegation:
    description: The provider's zone that its CNAMEs lead into; C(-) as the configuration says.
    type: str
  ttl:
    description: TTL of its records in seconds; C(-) as the configuration says.
    type: str
  up_to:
    description: >-
      Lead it on to this state of its life at most, as far as its gates are open; nothing is waited for.
      C(cutover) and C(hardened) are the operator's word for the move of its mail.
    type: str
    choices: [verified, shadow, cutover, hardened]
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

- name: Take a domain in whose mail is elsewhere, and lead it on as far as that goes without moving its mail
  postane_domain:
    name: example.org
    tenant: bakery
    start: move
    dns_target: registrar
    up_to: shadow
"""

RETURN = r"""
domain:
  description: What the directory says of the domain; null if it is not there.
  type: dict
  returned: always
holds:
  description: What holds it where it is, in a line.
  type: str
  returned: with O(up_to)
steps:
  description: The states that it was led to; in a dry run the next one.
  type: list
  returned: with O(up_to)
"""

KEPT = ("name", "tenant", "active", "state")  # what the module speaks of; counts of accounts change by other means
OWN = ("plan", "dns_target", "keep", "spf", "dmarc", "mta_sts", "delegation", "ttl")
LIFE = ("claimed", "verified", "shadow", "cutover", "hardened")
BEGINS = {"host": "cutover", "move": "verified", "claim": "claimed"}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **COMMON,
            "name": {"type": "str", "required": True},
            "tenant": {"type": "str"},
            "start": {"type": "str", "choices": list(BEGINS)},
            "keep": {"type": "list", "elements": "str", "no_log": False},
            **{name: {"type": "str"} for name in OWN if name != "keep"},
            "up_to": {"type": "str", "choices": list(LIFE[1:])},
        },
        supports_check_mode=True,
    )
    postane = Postane(module)
    name, up_to = module.params["name"], module.params["up_to"]
    before = known(postane.show("domain", name))
    done: dict[str, Any] = {}
    if module.params["state"] == "absent":
        changed = before is not None and postane.tell("domain", "remove", "--", name)
        after, own = None, {}
    else:
        changed, after, own = present(module, postane, before)
        if up_to:
            done = lead(module, postane, name, up_to)
            changed |= done.pop("changed")
            if not module.check_mode:
                after = known(postane.show("domain", name))
            elif done["steps"]:
                after = {**(after or {}), "state": done["steps"][-1]}
    told = after and {**after, **own}
    module.exit_json(changed=changed, domain=after, diff=difference(before, told, f"domain {name}"), **done)


def present(module: AnsibleModule, postane: Postane, before: dict | None) -> tuple[bool, dict | None, dict[str, str]]:
    """Whether that changed anything, the domain as it is then, and of its own settings those that changed."""
    name, tenant, start = (module.params[key] for key in ("name", "tenant", "start"))
    after, changed = before, False
    if before is not None and tenant and before["tenant"] != tenant and start == "claim":
        postane.tell("domain", "claim", f"--tenant={tenant}", "--", name)  # refused, with what would prove it
    elif before is not None and tenant and before["tenant"] != tenant:
        changed = postane.tell("domain", "add", f"--tenant={tenant}", "--", name)
        after = {**before, "tenant": tenant}
    own = {key: module.params[key] for key in OWN if module.params[key] is not None}
    said: list[str] = []
    if before is None or own:
        row = {"domain": name, **own, **({"start": start} if start else {})}
        if before is None and tenant:
            row["tenant"] = tenant
        if postane.installed:
            dry = ["--dry-run"] if module.check_mode else []
            answer = postane.ask("domain", "import", "--json", *dry, "-", stdin=table([row]), good=(0,))
            changed |= answer["changed"]
            said = answer["items"][0]["what"]
        else:
            changed = True
    if not module.check_mode:
        after = known(postane.show("domain", name))
    elif before is None:
        after = {"name": name, "tenant": tenant or "default", "active": True, "state": BEGINS[start or "host"]}
    changes = dict(words.split(" ", 1) for words in said if words.split(" ", 1)[0] in OWN)
    return changed, after, changes


def lead(module: AnsibleModule, postane: Postane, name: str, up_to: str) -> dict[str, Any]:
    """Step after step, each tried first, as far as `up_to` and no further. In a dry run the next one is foreseen."""
    steps: list[str] = []
    changed, holds = False, ""
    while postane.installed:
        if module.check_mode and postane.show("domain", name) is None:
            break  # it would only be made now
        would = postane.ask("domain", "advance", "--dry-run", "--json", "--", name)["item"]
        to = would["state"]
        # One that leaves would be removed: that is no way on.
        if would["stepped"] and (to not in LIFE or LIFE.index(to) > LIFE.index(up_to)):
            holds = f"nothing holds it but your word: it would be {to}"
            break
        if module.check_mode:
            steps, holds = [to] if would["stepped"] else [], would["holds"]
            changed = would["stepped"]
            break
        answer = postane.ask("domain", "advance", "--json", "--", name)
        changed |= answer["changed"]
        if not answer["item"]["stepped"]:
            holds = answer["item"]["holds"]
            break
        steps.append(answer["item"]["state"])
    return {"changed": changed, "holds": holds, "steps": steps}


def known(shown: dict | None) -> dict | None:
    return shown and {key: shown[key] for key in KEPT}


if __name__ == "__main__":
    main()
