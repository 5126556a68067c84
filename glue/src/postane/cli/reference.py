"""The reference page of the command, printed from the command: `python -m postane.cli.reference`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import typer
from typer.main import get_command

from postane.cli.main import NOUNS, whole

_HEAD = (
    "# The command `postane`\n\n"
    "Printed from the command by `python -m postane.cli.reference`; a test keeps this page equal to it.\n"
    "`postane --config FILE …` names the configuration, else `$POSTANE_CONFIG`, else `/etc/postane/postane.yml`.\n"
    "Exit codes are those of sysexits(3): 0 done, 1 a check says no, 64 usage, 65 bad data, "
    "69 a service is missing, 74 a file cannot be read or written, 75 try again, 77 not allowed, "
    "78 bad configuration.\n\n"
    "With `--json` a verb prints one JSON document.\n"
    'A verb that changes prints `{"changed": true or false, "item": …}`, where the item is the thing as it is now; '
    'a password that was made stands beside it as `"password"`.\n'
)


def reference() -> str:
    """Markdown: a section for each noun, a part for each verb."""
    return "\n".join([_HEAD, *_items(), *_nouns()])


def _items() -> Iterator[str]:
    from postane.admin.account import AccountView
    from postane.admin.alias import AliasView
    from postane.admin.domain import DkimView, DomainView
    from postane.admin.domain_stage import ClaimView, LifeView
    from postane.admin.tenant import TenantView

    yield "| item of | keys |\n| --- | --- |"
    views: dict[str, type[Any]] = {
        "account": AccountView,
        "alias": AliasView,
        "domain": DomainView,
        "domain claim": ClaimView,
        "domain verify, advance, …": LifeView,
        "domain dkim": DkimView,
        "tenant": TenantView,
    }
    for name, view in views.items():
        yield f"| `{name}` | {', '.join(f'`{field.name}`' for field in fields(view))} |"
    yield ""


def _nouns() -> Iterator[str]:
    root: Any = get_command(whole())
    for name, noun in sorted(root.commands.items()):
        yield f"## postane {name}\n"
        if name in NOUNS:
            yield f"{NOUNS[name]}\n"
        for verb, command in getattr(noun, "commands", {"": noun}).items():
            yield from _verb(f"postane {name} {verb}".rstrip(), command)


def _verb(name: str, command: Any) -> Iterator[str]:
    pieces = [_argument(one) for one in command.params if one.param_type_name == "argument"]
    options = [option for option in command.params if option.param_type_name == "option" and not option.hidden]
    yield f"### `{' '.join([name, *pieces, *(['[OPTIONS]'] if options else [])])}`\n"
    yield f"{(command.help or '').strip()}\n"
    if options:
        yield "| option | meaning |\n| --- | --- |"
        for option in options:
            names = ", ".join(f"`{one}`" for one in [*option.opts, *option.secondary_opts])
            yield f"| {names} | {(option.help or '').replace('|', chr(92) + '|')} |"
        yield ""


def _argument(argument: Any) -> str:
    word = re.sub(r"[^\w]", "", argument.metavar or argument.name).upper()
    return f"{word if argument.required else f'[{word}]'}{'...' if argument.nargs == -1 else ''}"


if __name__ == "__main__":
    typer.echo(reference(), nl=False)
