"""Finds filters by their name, and reads their options from the configuration.

Built-in ones are named here; a Python package adds its own by the entry point group `postane.filters`
(name = "package.module:Class"). A module is imported only if its filter is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import msgspec

from postane.config.load import WrongValueError
from postane.config.model import Config, Filters
from postane.filters.base import Filter, Options
from postane.filters.store.place import parse

GROUP = "postane.filters"

BUILTIN = {
    "attachments": "postane.filters.builtin.attachments:Attachments",
    "authentication": "postane.filters.builtin.authentication:Authentication",
    "backscatter": "postane.filters.builtin.backscatter:Backscatter",
    "clamav": "postane.filters.builtin.clamav:ClamAV",
    "disclaimer": "postane.filters.builtin.disclaimer:Disclaimer",
    "dnsbl": "postane.filters.builtin.dnsbl:Dnsbl",
    "greylist": "postane.filters.builtin.greylist:Greylist",
    "helo": "postane.filters.builtin.helo:HeloName",
    "iprev": "postane.filters.builtin.iprev:Iprev",
    "journal": "postane.filters.builtin.journal:Journal",
    "lists": "postane.filters.builtin.lists:Lists",
    "rates": "postane.filters.builtin.rates:Rates",
    "rspamd": "postane.filters.builtin.rspamd:Rspamd",
    "spf": "postane.filters.builtin.spf:Spf",
}


def known() -> dict[str, str]:
    """Names of all filters that are installed, each with its `module:Class`; a package cannot replace a built-in."""
    from importlib.metadata import entry_points  # slow to load, and not needed for the built-in ones

    return {point.name: point.value for point in entry_points(group=GROUP)} | BUILTIN


def filter_class(name: str) -> type[Filter[Options]]:
    """Raises WrongValueError if there is no such filter or its package is broken."""
    places = BUILTIN if name in BUILTIN else known()
    if name not in places:
        raise WrongValueError("filters.use", f"there is no filter {name!r}; known here: {', '.join(sorted(places))}")
    module, _, attribute = places[name].partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:  # a package may do anything when it is imported
        raise WrongValueError("filters.use", f"the filter {name!r} cannot be loaded: {error!r}") from error
    if not (isinstance(found, type) and issubclass(found, Filter)):
        raise WrongValueError("filters.use", f"{places[name]} is no subclass of postane.filters.base.Filter")
    if found.name != name:  # the log, the metrics and the marks on a message speak of it by its own
        raise WrongValueError("filters.use", f"{places[name]} has the name {found.name!r} and not {name!r}")
    return found


def options(settings: Filters) -> Iterator[tuple[type[Filter[Options]], Options]]:
    """Each filter in use with its options. Raises WrongValueError with the place in the configuration."""
    for name in settings.use:
        found = filter_class(name)
        try:
            yield found, msgspec.convert(settings.options.get(name, {}), found.options_type)
        except msgspec.ValidationError as error:
            raise WrongValueError(f"filters.options.{name}", str(error)) from error


def check(config: Config) -> None:
    """For config.load: all filters are known, their options and their store good. Raises WrongValueError."""
    parse(config.filters.store)
    for _ in options(config.filters):
        pass
