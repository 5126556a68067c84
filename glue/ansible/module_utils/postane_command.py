"""The command `postane` of the host that a module runs on, asked with --json. Used by the modules postane_*."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import shutil
from typing import Any

from ansible.module_utils.basic import AnsibleModule

COMMON = {
    "command": {"type": "path", "default": "/usr/local/bin/postane"},
    "run_as": {"type": "str", "default": "postane"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}

PROGRESS = re.compile(r"[\w ]+: \d+ of \d+ \w+")
EX_DATAERR = 65  # sysexits(3): what the command says, among other things, of a name that it does not know


class Postane:
    """Asks and tells. Whatever goes wrong ends the module with the command's own words."""

    def __init__(self, module: AnsibleModule) -> None:
        self._module = module
        self._command = module.params["command"]
        self.installed = shutil.which(self._command) is not None
        # In a dry run of a whole site the roles before have only said that they would install it.
        if not self.installed and not module.check_mode:
            module.fail_json(msg=f"{self._command} is not there: install Postane first (role postane)")

    def show(self, noun: str, name: str) -> dict[str, Any] | None:
        """What the directory says of it; None if there is no such thing.

        None for a malformed name too: the verb that would make it says what is wrong.
        """
        if not self.installed:
            return None
        code, answer, said = self._run(noun, "show", "--json", "--", name)
        if code not in (0, EX_DATAERR):
            self._fail(code, said)
        return answer if code == 0 else None

    def agrees(self, *words: str, stdin: str) -> bool:
        """A check: exit code 0 or 1."""
        code, _, said = self._run(*words, stdin=stdin)
        if code not in (0, 1):
            self._fail(code, said)
        return code == 0

    def ask(self, *words: str, stdin: str | None = None, good: tuple[int, ...] = (0, 1)) -> Any:
        """The JSON answer of a verb, whatever mode the module runs in: for those that change nothing."""
        code, answer, said = self._run(*words, stdin=stdin)
        if code not in good or answer is None:
            self._fail(code, said)
        return answer

    def tell(self, noun: str, verb: str, *words: str, stdin: str | None = None) -> bool:
        """Does it, where this is no dry run. True if that changed something."""
        if self._module.check_mode:
            return True
        code, answer, said = self._run(noun, verb, "--json", *words, stdin=stdin)
        if code or answer is None:
            self._fail(code, said)
        return bool((answer or {}).get("changed"))

    def _run(self, *words: str, stdin: str | None = None) -> tuple[int, Any, str]:
        """Exit code, JSON answer (None: there was none), and what was said for people."""
        line = [self._command, *words]
        # Keys and the database belong to the daemon's user: nothing of root's may come among them.
        if self._module.params["run_as"] and os.geteuid() == 0:
            line = ["runuser", "-u", self._module.params["run_as"], "--", *line]
        code, out, err = self._module.run_command(line, data=stdin, cwd="/")
        try:
            answer = json.loads(out)
        except ValueError:
            answer = None
        # Progress goes to standard error too, and ends before what went wrong is said.
        lines = [line for line in err.splitlines() if not PROGRESS.fullmatch(line)]
        said = "\n".join(lines).strip() or (out.strip() if answer is None else "") or f"exit code {code}"
        return code, answer, f"`{shlex.join(['postane', *words])}`: {said}"

    def _fail(self, code: int, said: str) -> None:
        self._module.fail_json(msg=said, rc=code)


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as the table of `postane domain import`; None and what is missing say nothing."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([cell(row.get(column)) for column in columns])
    return out.getvalue()


def cell(value: Any) -> str:
    return "" if value is None else " ".join(map(str, value)) if isinstance(value, list) else str(value)


def difference(before: dict[str, Any] | None, after: dict[str, Any] | None, what: str) -> dict[str, str]:
    """For --diff: both sides, a line for each value."""

    def lines(values: dict[str, Any] | None) -> str:
        return "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in (values or {}).items())

    return {"before_header": what, "after_header": what, "before": lines(before), "after": lines(after)}
