#!/usr/bin/python
"""Module `postane_account`: a mailbox with its password is there, or is not."""

from __future__ import annotations

import os
import re
import secrets
import string
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.postane_command import COMMON, Postane, difference

DOCUMENTATION = r"""
module: postane_account
short_description: A mailbox and its password
description:
  - Adds an account to the directory of the Postane that runs on the host, or removes it.
  - An account that is made without a password gets one of its own, kept on the host in O(password_store).
options:
  address:
    description: The account's address.
    type: str
    required: true
  password:
    description: The password of a new account, and of an existing one where O(update_password=always).
    type: str
  update_password:
    description: Whether an existing account's password is made so. One that no password is given for keeps its own.
    type: str
    choices: [on_create, always]
    default: on_create
  password_store:
    description: >-
      Folder on the host for generated passwords, one file an account, for root alone.
      It is written before the account is made, so that a password is never lost.
    type: path
    default: /root/postane-initial-passwords
  display_name:
    description: The name of who reads it. An existing account's name stays where none is given.
    type: str
  quota:
    description: Space of the mailbox, such as C(500M) or C(5 GiB); C(0) for no limit. It stays where none is given.
    type: str
  state:
    description: C(absent) leaves the mailbox on disk.
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
- name: Make a mailbox with a password of its own
  postane_account:
    address: ayse@example.org
    display_name: Ayşe Yılmaz
    quota: 5 GiB

- name: Make a mailbox with the password of a file on the controller
  postane_account:
    address: mehmet@example.org
    password: "{{ lookup('file', '~/.postane/mehmet@example.org') }}"
"""

RETURN = r"""
account:
  description: What the directory says of the account; null if it is not there.
  type: dict
  returned: always
password_file:
  description: File on the host with the generated password.
  type: str
  returned: when one was generated
"""

ALPHABET = string.ascii_letters + string.digits
LENGTH = 20  # about 119 bits


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            **COMMON,
            "address": {"type": "str", "required": True},
            "password": {"type": "str", "no_log": True},
            "password_store": {"type": "path", "default": "/root/postane-initial-passwords", "no_log": False},
            "update_password": {
                "type": "str",
                "choices": ["on_create", "always"],
                "default": "on_create",
                "no_log": False,
            },
            "display_name": {"type": "str"},
            "quota": {"type": "str"},
        },
        supports_check_mode=True,
    )
    postane = Postane(module)
    address = module.params["address"]
    before = postane.show("account", address)
    if module.params["state"] == "absent":
        changed = before is not None and postane.tell("account", "remove", "--", address)
        done = {"changed": changed, "account": None}
    elif before is None:
        done = make(module, postane)
    else:
        done = keep(module, postane, before)
    module.exit_json(**done, diff=difference(before, done["account"], f"account {address}"))


def make(module: AnsibleModule, postane: Postane) -> dict[str, Any]:
    address, password = module.params["address"], module.params["password"]
    done: dict[str, Any] = {}
    if not password:
        path = Path(module.params["password_store"]) / file_name(address)
        done["password_file"] = str(path)
        if not module.check_mode:
            password = first_password(path)
            module.no_log_values.add(password)
    done["changed"] = postane.tell(
        "account", "add", "--password-stdin", *settings(module), "--", address, stdin=f"{password}\n"
    )
    done["account"] = wanted(module, {"address": address, "display_name": "", "quota_bytes": 0, "active": True})
    if not module.check_mode:
        done["account"] = postane.show("account", address)
    return done


def keep(module: AnsibleModule, postane: Postane, before: dict[str, Any]) -> dict[str, Any]:
    address, password = module.params["address"], module.params["password"]
    after, changed = wanted(module, before), False
    if after != before:
        changed = postane.tell("account", "set", *settings(module), "--", address)
    if password and module.params["update_password"] == "always":  # noqa: S105
        told = f"{password}\n"
        if not postane.agrees("account", "check-password", "--password-stdin", "--", address, stdin=told):
            changed |= postane.tell("account", "passwd", "--password-stdin", "--", address, stdin=told)
    return {"changed": changed, "account": after}


def settings(module: AnsibleModule) -> list[str]:
    name, quota = module.params["display_name"], module.params["quota"]
    return [*([] if name is None else [f"--name={name}"]), *([] if quota is None else [f"--quota={quota}"])]


def wanted(module: AnsibleModule, account: dict[str, Any]) -> dict[str, Any]:
    """The account as it is to be."""
    after = dict(account)
    if module.params["display_name"] is not None:
        after["display_name"] = module.params["display_name"]
    if module.params["quota"] is not None:
        after["quota_bytes"] = octets(module, module.params["quota"])
    return after


def octets(module: AnsibleModule, text: str) -> int:
    """As the command reads it: powers of 1024."""
    found = re.fullmatch(r"(\d{1,12})\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if not found:
        module.fail_json(msg=f"quota: {text!r} is no size; write 500M, 5 GiB, or 0 for no limit")
    return int(found[1]) * 1024 ** " KMGT".index(found[2].upper() or " ")


def first_password(path: Path) -> str:
    """The password kept in the file, which an earlier run that came no further may have left; made if there is none."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    kept = path.read_text(encoding="utf-8").strip() if path.exists() else ""
    if kept:
        return kept
    password = "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))
    partial = path.with_name(f"{path.name}.partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(f"{password}\n")
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)
    return password


def file_name(address: str) -> str:
    """A local part may hold a slash (RFC 5321 section 4.1.2)."""
    return address.replace("%", "%25").replace("/", "%2F")


if __name__ == "__main__":
    main()
