"""The reference page of the configuration, printed from the model."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any

import msgspec

from postane.config.model import Config

_HEAD = """# Configuration

Printed by `postane config reference` from the model; a test keeps this page equal to it.
The file is `/etc/postane/postane.yml`; `postane config check FILE` refuses a bad one with file and line.
Sizes are octets, durations seconds.
"""


def reference() -> str:
    """Markdown: one table a section, in the order of the model."""
    return "\n".join([_HEAD, *_section(Config, "")])


def _section(section: type[msgspec.Struct], place: str) -> Iterator[str]:
    inner: list[tuple[str, type[msgspec.Struct]]] = []
    for name, hint in typing.get_type_hints(section, include_extras=True).items():
        path = f"{place}.{name}" if place else name
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            inner.append((path, hint))
        elif entry := _entry(hint):
            inner.append((f"{path}.NAME", entry))
    lines = list(rows(section))
    yield f"## {f'`{place}`' if place else 'Top level'}\n"
    yield f"{(section.__doc__ or '').strip()}\n"
    if lines:
        yield "| key | kind | default | meaning |\n| --- | --- | --- | --- |"
        yield from lines
        yield ""
    for name, kind in inner:
        yield from _section(kind, name)


def _entry(hint: Any) -> type[msgspec.Struct] | None:
    """The section that each value of a mapping is; None for anything else."""
    bare = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
    if typing.get_origin(bare) is not dict:
        return None
    value = typing.get_args(bare)[1]
    return value if isinstance(value, type) and issubclass(value, msgspec.Struct) else None


def rows(section: type[msgspec.Struct]) -> Iterator[str]:
    """A line of the table for each field that is no section itself."""
    hints = typing.get_type_hints(section, include_extras=True)
    for field in msgspec.structs.fields(section):
        hint = hints[field.name]
        if not (isinstance(hint, type) and issubclass(hint, msgspec.Struct)):
            yield f"| `{field.encode_name}` | {_kind(hint)} | {_default(field)} | {_words(hint)} |"


def _kind(hint: Any) -> str:
    origin = typing.get_origin(hint)
    if origin is typing.Annotated:
        return _kind(typing.get_args(hint)[0])
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in typing.get_args(hint))
    if origin is tuple:
        return f"list of {_kind(typing.get_args(hint)[0])}"
    if origin is dict:
        return "keys with values"
    if origin is typing.Union or isinstance(hint, types.UnionType):
        return " or ".join(_kind(one) for one in typing.get_args(hint))
    if issubclass(hint, msgspec.Struct):
        return "keys with values"
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}.get(hint.__name__, "")


def _default(field: Any) -> str:
    if field.default_factory is dict:
        return "empty"
    if field.default is msgspec.NODEFAULT:
        return "needed"
    value = field.default
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return ", ".join(f"`{one}`" for one in value) or "empty"
    return f"`{value}`" if value != "" else "empty"


def _words(hint: Any) -> str:
    if typing.get_origin(hint) is not typing.Annotated:
        return ""
    return next((meta.description for meta in typing.get_args(hint)[1:] if meta.description), "")
