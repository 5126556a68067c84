"""The quarantine as its operator sees and steers it.

What only reads or marks works on the index itself; what sends mail or removes texts is done by the queue process, by
way of its socket.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from postane.admin.queue import ask
from postane.config.model import Config
from postane.core.address import Address, normal_domain
from postane.core.errors import ConfigError, NotFoundError, PermanentError, PostaneError, TemporaryError
from postane.core.ports import Now
from postane.filters.scoring.learn import Kind, learn, password_in
from postane.quarantine import reading
from postane.quarantine.control import Answer, DigestView, Request
from postane.quarantine.items import Item, Selection, State
from postane.quarantine.store import FOLDER, Store


class View(Struct, frozen=True):
    """One message with what can be shown of it. `trouble`: why its text cannot be read."""

    item: Item
    headers: str = ""
    preview: str = ""
    attachments: tuple[str, ...] = ()
    trouble: str = ""


class Done(Struct, frozen=True):
    """What a verb did, or with `dry_run` would do: `count` messages, some of them as they were before; what failed."""

    count: int
    items: tuple[Item, ...] = ()
    failed: tuple[str, ...] = ()


def open_store(config: Config) -> Store:
    return Store(Path(config.state) / FOLDER)


def selection(
    ids: Sequence[str] = (),
    *,
    account: str = "",
    domain: str = "",
    tenant: str = "",
    reason: str = "",
    since: float = 0.0,
    state: State | Literal[""] = "",
) -> Selection:
    """Names in any spelling. Raises AddressError."""
    return Selection(
        ids=tuple(ids),
        account=Address.parse(account).key if account else "",
        domain=normal_domain(domain) if domain else "",
        tenant=tenant,
        reason=reason,
        since=since,
        state=state,
    )


def every(config: Config, wanted: Selection, limit: int = 1000) -> Done:
    """What is there, oldest first; `limit` of it shown."""
    store = open_store(config)
    try:
        return Done(store.index.count(wanted), tuple(store.index.choose(wanted, limit)))
    finally:
        store.close()


def show(config: Config, item_id: str) -> View:
    """One message: its headers and the beginning of its text as plain words. Raises NotFoundError."""
    store = open_store(config)
    try:
        item = _chosen(store, Selection(ids=(item_id,)))[0]
        try:
            octets = reading.beginning([store.text(item)], 512 * 1024)
        except (PostaneError, OSError) as error:
            return View(item, trouble=str(error))
        head = octets[: min(reading.header_end(octets), reading.MOST_HEAD)]
        return View(
            item,
            reading.clean(head.decode("utf-8", "replace")).strip("\n"),
            reading.preview(octets),
            tuple(reading.attachments(octets)),
        )
    finally:
        store.close()


def release(
    config: Config, wanted: Selection, *, by: str, to: str = "", dry_run: bool = False, teach: bool = False
) -> Done:
    """Lets go what is held: into its mailbox, or to the address `to`. `teach`: and Rspamd learns it as ham.

    Raises NotFoundError if nothing of the ids is there.
    """
    if teach and not dry_run:
        _teacher(config)  # known to be there before anything is sent
    answer = _ask(config, Request("release", wanted, to, by, dry_run))
    if wanted.ids and not answer.count and not answer.failed:
        _none_held(config, wanted)
    failed = list(answer.failed)
    if teach and not dry_run:
        failed += _teach(config, answer.items, "ham")
    return Done(answer.count, answer.items, tuple(failed))


def delete(config: Config, wanted: Selection, *, by: str, now: Now, dry_run: bool = False) -> Done:
    """Deletes what is held; `restore` undoes it until the sweep."""
    return _mark(config, wanted, "held", "deleted", by, now, dry_run)


def restore(config: Config, wanted: Selection, *, by: str, now: Now, dry_run: bool = False) -> Done:
    """Undoes `delete`."""
    return _mark(config, wanted, "deleted", "held", by, now, dry_run)


def teach(config: Config, wanted: Selection, kind: Kind, *, dry_run: bool = False) -> Done:
    """Rspamd learns the messages as ham or spam, each text once."""
    _teacher(config)
    store = open_store(config)
    try:
        items = list({item.spool_id: item for item in _chosen(store, wanted)}.values())
    finally:
        store.close()
    if dry_run:
        return Done(len(items), tuple(items))
    failed = _teach(config, items, kind)
    return Done(len(items) - len(failed), tuple(items), tuple(failed))


def digest(config: Config, account: str = "", *, dry_run: bool = False) -> tuple[DigestView, ...]:
    """Tells owners now of what is new, whatever the hour."""
    wanted = Selection(account=Address.parse(account).key if account else "")
    return _ask(config, Request("digest", wanted, dry_run=dry_run)).digests


def sweep(config: Config, *, dry_run: bool = False) -> int:
    """Forgets now what is too old; the queue process does it every hour by itself."""
    return _ask(config, Request("sweep", dry_run=dry_run)).count


def _mark(
    config: Config,
    wanted: Selection,
    source: State,
    to: Literal["held", "deleted"],
    by: str,
    now: Now,
    dry_run: bool,
) -> Done:
    store = open_store(config)
    try:
        items = store.index.choose(msgspec.structs.replace(wanted, state=source))
        if wanted.ids and not items:
            _none(store, wanted, source)
        if dry_run:
            return Done(len(items), tuple(items))
        changed = store.index.mark([item.id for item in items], to, now=now(), by=by)
        return Done(changed, tuple(items))
    finally:
        store.close()


def _chosen(store: Store, wanted: Selection) -> list[Item]:
    items = store.index.choose(wanted)
    if not items and wanted.ids:
        raise NotFoundError(f"{', '.join(wanted.ids)}: no such message in quarantine", hint="postane quarantine list")
    return items


def _none_held(config: Config, wanted: Selection) -> None:
    store = open_store(config)
    try:
        _none(store, wanted, "held")
    finally:
        store.close()


def _none(store: Store, wanted: Selection, source: State) -> None:
    """Says why ids led to nothing. Raises NotFoundError."""
    items = _chosen(store, wanted)
    states = ", ".join(f"{item.id} is {item.state}" for item in items[:5])
    raise NotFoundError(f"nothing of that is {source}: {states}")


def _teacher(config: Config) -> str:
    """The controller's password. Raises ConfigError."""
    if not config.quarantine.learn_url:
        raise ConfigError("quarantine.learn_url is not set: there is nobody to teach")
    return password_in(config.quarantine.learn_secret_file)


def _teach(config: Config, items: Sequence[Item], kind: Kind) -> list[str]:
    """What failed, a sentence each."""
    password = _teacher(config)
    failed = []
    store = open_store(config)
    try:
        for item in items:
            try:
                learn(config.quarantine.learn_url, password, kind, [store.text(item)], recipient=item.mailbox)
                store.index.learned(item.id, kind)
            except (PostaneError, OSError) as error:
                failed.append(f"{item.id}: not learned: {error}")
    finally:
        store.close()
    return failed


def _ask(config: Config, request: Request) -> Answer:
    """Raises ServiceMissingError if no queue process answers, PermanentError or TemporaryError if it cannot."""
    answer = msgspec.json.decode(ask(Path(config.runtime), msgspec.json.encode(request)), type=Answer)
    if answer.error:
        raise (PermanentError if answer.permanent else TemporaryError)(answer.error)
    return answer


__all__ = [
    "Answer",
    "DigestView",
    "Done",
    "Item",
    "Kind",
    "Selection",
    "View",
    "delete",
    "digest",
    "every",
    "open_store",
    "release",
    "restore",
    "selection",
    "show",
    "sweep",
    "teach",
]
