"""Who wants which filters: the configuration, and over it what a tenant, a domain and an account want.

A policy is a document with the keys of the configuration's `filters` section, each of which may be left out:

    {"use": ["rspamd", "lists"], "suspect": "quarantine", "options": {"rspamd": {"reject": false}}}

The nearest wins: for `use` and `suspect` as a whole, for options one by one. Allow and block entries of the filter
`lists` are not replaced but gathered, each level for itself, the nearest first.
One filter object serves all policies in which its options are the same, so that it is asked once a message.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from postane.config.load import WrongValueError
from postane.config.model import Filters
from postane.core.errors import ConfigError
from postane.core.verdict import Suspect
from postane.filters import registry
from postane.filters.base import Filter, Options, Tools
from postane.filters.case import FilterCase, Policy
from postane.filters.pipeline import Judge, Pipeline
from postane.observe.log import get_logger

log = get_logger("filters")

_KEPT = 5_000  # policies and filters in memory
_LAST_CALLS = 120.0  # seconds that a filter nobody uses any more has for calls under way
_CLOSE = 5.0  # seconds for all filters to give back what they hold
LISTS = "lists"
_LEVEL = ("allow", "block")


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one level wants; absent keys say nothing."""

    use: tuple[str, ...] | None = None
    options: dict[str, dict[str, Any]] = {}
    suspect: Suspect | None = None


class Policies:
    """The core.ports.Filters of a worker."""

    def __init__(self, settings: Filters, tools: Tools) -> None:
        """Raises WrongValueError."""
        self._settings = settings
        self._tools = tools
        self._judge = Judge(settings.seconds, tools.metrics)
        self._filters: OrderedDict[tuple[str, bytes], Filter[Options]] = OrderedDict()
        self._known: OrderedDict[tuple[str, ...], Policy] = OrderedDict()
        self.server = self._make(settings)
        self._standing = frozenset(self._filters)  # those of the server's own policy stay, whoever comes and goes

    @property
    def phases(self) -> frozenset[str]:
        return self.server.pipeline.phases

    def open(self) -> FilterCase:
        return FilterCase(self.of, self._judge, self._tools.forget)

    def of(self, wishes: tuple[str, ...]) -> Policy:
        """The policy of one who has these wishes (JSON documents, the widest first).

        They were checked when they were made. What does not fit any more, after an upgrade, is told in the log, and
        the wider levels hold.
        """
        if not wishes:
            return self.server
        known = self._known.get(wishes)
        if known is not None:
            self._known.move_to_end(wishes)
        else:
            try:
                known = self._make(effective(self._settings, wishes))
            except (WrongValueError, ConfigError) as error:
                log.error("policy_unusable", reason=str(error), wishes=wishes)
                known = self.of(wishes[:-1])
            self._known[wishes] = known
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return known

    async def close(self) -> None:
        """Whatever a filter does at its end, the others come to theirs, and the worker to its own."""
        closing = {asyncio.ensure_future(_closed(one)): one.name for one in self._filters.values()}
        if not closing:
            return
        _, late = await asyncio.wait(closing, timeout=_CLOSE)
        for task in late:
            task.cancel()
        for task in closing:
            if task in late or task.cancelled() or task.result():
                reason = "late" if task in late else "cancelled" if task.cancelled() else task.result()
                log.error("filter_not_closed", filter=closing[task], reason=reason)

    def _make(self, settings: Filters) -> Policy:
        filters = [self._filter(kind, given) for kind, given in registry.options(settings)]
        return Policy(Pipeline(filters, self._judge), settings.suspect)

    def _filter(self, kind: type[Filter[Options]], given: Options) -> Filter[Options]:
        key = (kind.name, hashlib.sha256(msgspec.json.encode(given)).digest())  # options may be long lists
        found = self._filters.get(key)
        if found is None:
            found = self._filters[key] = kind(given, self._tools)
            if len(self._filters) > _KEPT:
                old = self._filters.pop(next(one for one in self._filters if one not in self._standing))
                self._known.clear()  # some of them may still name it
                asyncio.get_running_loop().call_later(_LAST_CALLS, lambda: asyncio.ensure_future(old.close()))
        else:
            self._filters.move_to_end(key)
        return found


async def _closed(one: Filter[Options]) -> str:
    """Why it could not be closed, "" if it could."""
    try:
        await one.close()
    except asyncio.CancelledError:
        raise
    except BaseException as error:  # sys.exit too: in a task it would end the event loop
        return repr(error)
    return ""


def check(settings: Filters, wishes: Sequence[str]) -> None:
    """Raises WrongValueError if the wishes cannot be laid over the settings, or name what is not there."""
    for _ in registry.options(effective(settings, wishes)):
        pass


def effective(settings: Filters, wishes: Sequence[str]) -> Filters:
    """The section that holds for one who has these wishes. Raises WrongValueError."""
    use, suspect = settings.use, settings.suspect
    options: dict[str, dict[str, Any]] = {name: dict(given) for name, given in settings.options.items()}
    levels = [_level(settings.options.get(LISTS, {}))]
    for wish in map(read, wishes):
        use = use if wish.use is None else wish.use
        suspect = wish.suspect or suspect
        for name, given in wish.options.items():
            options[name] = {**options.get(name, {}), **given}
        levels.insert(0, _level(wish.options.get(LISTS, {})))
    if LISTS in use:
        mine = {key: value for key, value in options.get(LISTS, {}).items() if key not in _LEVEL}
        options[LISTS] = {**mine, "levels": [level for level in levels if level]}
    for name in use:
        for wish in map(read, wishes):
            settle(name, wish.options.get(name, {}))
    # A wider level may have options for what a nearer one does not use.
    options = {name: given for name, given in options.items() if name in use}
    return msgspec.structs.replace(settings, use=use, suspect=suspect, options=options)


def settle(name: str, given: Mapping[str, Any]) -> None:
    """Raises WrongValueError where these options of a filter are the host's own matter, or there is no such filter."""
    if own := registry.filter_class(name).host & given.keys():
        place = f"filters.options.{name}.{min(own)}"
        raise WrongValueError(place, "is the host's own matter: only the configuration says it, no policy")


def read(document: str) -> Wish:
    """Raises WrongValueError for what is no policy."""
    try:
        return msgspec.json.decode(document, type=Wish)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise WrongValueError("filters", str(error)) from error


def _level(given: Mapping[str, Any]) -> dict[str, Any]:
    return dict(_entries(given))


def _entries(given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in _LEVEL:
        if given.get(key):
            yield key, given[key]
