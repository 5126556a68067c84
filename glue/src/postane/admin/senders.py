"""Whose mail a tenant, a domain or an account refuses or trusts, and who may write to it: options of the filter `lists`
in its policy, changed entry by entry.

An entry stands on one side only: who allows what was blocked takes it off the other side.
An alias has no policy of its own; who may write to it stands in its domain's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from postane.admin import alias, policy
from postane.admin.policy import Document, Scope
from postane.admin.site import Change, Site
from postane.core.errors import AddressError, NotFoundError, PermanentError, UsageError
from postane.filters.senders.entries import normal

MOST = 10_000  # entries of one scope
FILTER = "lists"

Side = Literal["allow", "block"]
_SIDES: tuple[Side, Side] = ("allow", "block")
_WORDS = ("anyone", "domain", "members")


@dataclass(frozen=True, slots=True)
class SendersView:
    """`who` may write to the scope's addresses, empty if it says nothing of that.

    `in_use`: the filter runs for the scope, so that all this has an effect.
    """

    scope: str
    allow: tuple[str, ...]
    block: tuple[str, ...]
    who: tuple[str, ...] = ()
    in_use: bool = True


def show(site: Site, scope: Scope) -> SendersView:
    """Raises NotFoundError if there is no such owner."""
    if _is_alias(site, scope):
        return _alias_view(site, scope, policy.get(site, _domain_of(scope)).document)
    return _view(site, scope, policy.get(site, scope).document)


def put(site: Site, scope: Scope, side: Side, entries: Iterable[str]) -> Change[SendersView]:
    """Raises AddressError for what is no entry, UsageError where there are too many."""
    wanted = [normal(text) for text in entries]
    return _change(site, scope, lambda lists: _put(lists, dict.fromkeys(wanted, side)))


def forget(site: Site, scope: Scope, entries: Iterable[str]) -> Change[SendersView]:
    """Takes entries off either side. Raises NotFoundError for one that is on neither; then nothing is changed."""
    wanted = [normal(text) for text in entries]

    def mutate(lists: Document) -> None:
        for text in wanted:
            sides = [side for side in _SIDES if text in lists.get(side, ())]
            if not sides:
                raise NotFoundError(f"{scope} neither allows nor blocks {text}", hint=f"postane senders show {scope}")
            for side in sides:
                lists[side].remove(text)

    return _change(site, scope, mutate)


def only(site: Site, scope: Scope, who: Sequence[str]) -> Change[SendersView]:
    """Who may write to the scope's addresses: one of the words, or entries with the words domain and members.

    The scope may be an alias's address. Raises AddressError, UsageError.
    """
    wanted = list(dict.fromkeys(one if one in _WORDS else normal(one) for one in who))
    if not wanted or ("anyone" in wanted and len(wanted) > 1):
        raise UsageError("who may write: anyone, or any of domain, members and entries")

    said = wanted[0] if len(wanted) == 1 and wanted[0] in _WORDS else wanted
    if _is_alias(site, scope):
        done = _change(
            site, _domain_of(scope), lambda lists: lists.setdefault("addresses", {}).update({scope.name: said})
        )
        return Change(done.changed, show(site, scope))
    return _change(site, scope, lambda lists: lists.update({"from": said}))


def text_of(view: SendersView) -> str:
    """One entry a line, as `load` reads it."""
    return "".join(f"{side} {entry}\n" for side in _SIDES for entry in getattr(view, side))


def load(site: Site, scope: Scope, text: str, *, replace: bool = False) -> Change[SendersView]:
    """Adds the entries of a text, a side and an entry a line; empty lines and what follows a # count for nothing.

    With `replace` it has just these afterwards. Raises PermanentError with the number of the line that is wrong.
    """
    wanted: dict[str, Side] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2 or words[0] not in _SIDES:
            raise PermanentError(f"line {number}: {line.strip()[:80]!r} is not `allow ENTRY` or `block ENTRY`")
        try:
            entry = normal(words[1])
        except AddressError as error:
            raise PermanentError(f"line {number}: {error}") from error
        side: Side = "allow" if words[0] == "allow" else "block"
        if wanted.setdefault(entry, side) != side:
            raise PermanentError(f"line {number}: {entry} is both allowed and blocked")

    def mutate(lists: Document) -> None:
        if replace:
            for side in _SIDES:
                lists.pop(side, None)
        _put(lists, wanted)

    return _change(site, scope, mutate)


# -- inside -------------------------------------------------------------------------------------------------------


def _is_alias(site: Site, scope: Scope) -> bool:
    if scope.kind != "account":
        return False
    try:
        alias.show(site, scope.name)
    except NotFoundError:
        return False
    return True


def _domain_of(scope: Scope) -> Scope:
    return Scope("domain", scope.name.rpartition("@")[2])


def _put(lists: Document, wanted: dict[str, Side]) -> None:
    for side in _SIDES:
        there = {entry for entry in lists.get(side, ()) if wanted.get(entry, side) == side}
        lists[side] = sorted(there | {entry for entry, wanted_side in wanted.items() if wanted_side == side})
    if sum(len(lists[side]) for side in _SIDES) > MOST:
        raise UsageError(f"more than {MOST} entries", hint="a domain or a network stands for all that is in it")


def _change(site: Site, scope: Scope, mutate: Callable[[Document], None]) -> Change[SendersView]:
    def whole(document: Document) -> None:
        lists = document.setdefault("filters", {}).setdefault("options", {}).setdefault(FILTER, {})
        mutate(lists)
        for side in _SIDES:
            if not lists.get(side):
                lists.pop(side, None)

    if _is_alias(site, scope):
        hint = f"they belong to accounts, domains and tenants, such as {_domain_of(scope)}"
        raise UsageError(f"{scope} is an alias, and has no entries of its own", hint=hint)
    done = policy.change(site, scope, whole)
    return Change(done.changed, _view(site, scope, done.item.document), done.made)


def _view(site: Site, scope: Scope, document: Document) -> SendersView:
    lists: dict[str, Any] = document.get("filters", {}).get("options", {}).get(FILTER, {})
    who = lists.get("from", ())
    return SendersView(
        str(scope),
        tuple(lists.get("allow", ())),
        tuple(lists.get("block", ())),
        (who,) if isinstance(who, str) else tuple(who),
        _in_use(site, scope),
    )


def _alias_view(site: Site, scope: Scope, document: Document) -> SendersView:
    lists: dict[str, Any] = document.get("filters", {}).get("options", {}).get(FILTER, {})
    who = lists.get("addresses", {}).get(scope.name, ())
    return SendersView(
        str(scope), (), (), (who,) if isinstance(who, str) else tuple(who), _in_use(site, _domain_of(scope))
    )


def _in_use(site: Site, scope: Scope) -> bool:
    return any(held.key == "filters.use" and FILTER in held.value for held in policy.effective(site, scope))
