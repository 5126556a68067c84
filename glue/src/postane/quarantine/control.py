"""What the operator's command and the API ask of the quarantine, by the queue's socket (see queue.control)."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from postane.quarantine.items import Item, Selection

PART = "quarantine"


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """`release`: into the mailbox, or to the address `to`; `by` says who wants it. `limit` bounds what is shown."""

    do: Literal["release", "digest", "sweep"]
    selection: Selection = Selection()
    to: str = ""
    by: str = ""
    dry_run: bool = False
    limit: int = 1000
    part: str = PART


class DigestView(Struct, frozen=True):
    """A digest that was sent, or would be: `messages` are new to the owner."""

    mailbox: str
    messages: int


class Answer(Struct, frozen=True, omit_defaults=True):
    """`count` were changed, or would be; `items` shows them as they were before. `failed` tells what was not done.

    `error` is one sentence: then nothing was done, and `permanent` says that it will not go well by waiting.
    """

    error: str = ""
    permanent: bool = False
    count: int = 0
    items: tuple[Item, ...] = ()
    failed: tuple[str, ...] = ()
    digests: tuple[DigestView, ...] = ()
