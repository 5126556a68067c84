"""The reference page of the filters, printed from their options."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from postane.config.reference import rows
from postane.filters.registry import BUILTIN, filter_class

_HEAD = """# Filters

Printed by `postane filters reference` from the code; a test keeps this page equal to it.
`filters.use` in `postane.yml` names those that run; `filters.options.<name>` holds their options.
Every filter has its page in `filters/`; `howto/filters.md` tells how to write one.
"""


def reference() -> str:
    """Markdown: one table a built-in filter."""
    return "\n".join([_HEAD, *(line for name in sorted(BUILTIN) for line in _filter(name))])


def _filter(name: str) -> Iterator[str]:
    found = filter_class(name)
    made = found.options_type
    phases = ", ".join(found.phases())
    yield f"## `{name}`\n"
    yield f"{(made.__doc__ or '').strip()}"
    yield f"Phases: {phases}.\n"
    yield "| option | kind | default | meaning |\n| --- | --- | --- | --- |"
    yield from rows(made)
    yield ""
    if found.host:
        yield f"Of these, no policy may change {_names(found.host)}."
    if found.owner:
        yield f"Who has a policy may change {_names(found.owner)} in it."
    if found.host or found.owner:
        yield ""


def _names(options: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(options))
