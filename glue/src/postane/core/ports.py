"""Protocols between the floors: what a stage asks of its neighbour, without knowing it.

The SMTP service (smtpd) knows the directory, the filters and the spool only by these;
the queue knows delivery, bounces and the spool only by these. `daemon` puts the real ones in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from postane.core.address import Address
from postane.core.envelope import Envelope, Recipient
from postane.core.outcome import Action, Outcome, Progress
from postane.core.peer import Peer
from postane.core.reply import Reply
from postane.core.verdict import Ruling, Verdict


@dataclass(frozen=True, slots=True)
class Resolved:
    """What the directory says of a recipient address.

    `known_domain`: the domain is hosted here. `targets`: where mail for the address goes, aliases already followed
    (local mailboxes by their key, remote addresses as given); empty with a known domain means: no such mailbox.
    `tenant` owns the domain. `policies` holds, by the address of a target, what its tenant, domain and account want
    of the filters (see filters.policies), the widest first; a target that is not there has no wishes. `closed`: the
    domain is suspended and takes nothing, for now ("4xx") or at all ("5xx").
    """

    known_domain: bool
    targets: tuple[Recipient, ...] = ()
    tenant: str = ""
    policies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    closed: str = ""


@dataclass(frozen=True, slots=True)
class Mailbox:
    """Where the mail of an account lies: `folder` below the root of all mailboxes, `since` seconds since the epoch.

    Each account has one of its own, for good: one that is made later with the same address has another.
    """

    id: int
    folder: str
    since: float


FindMailbox = Callable[[str], Awaitable[Mailbox | None]]
"""The mailbox that an address (a normal form) has now, None without an active account; may raise TemporaryError."""


@dataclass(frozen=True, slots=True)
class Login:
    """A successful login: the account's key (normal address), its tenant, and what they want of the filters."""

    account: str
    tenant: str = ""
    policies: tuple[str, ...] = ()


class Directory(Protocol):
    """Answers the questions of a mail dialogue. Every method answers from memory when it can.

    `resolve_cached` returns None when the answer is not in memory; then `resolve` is awaited.
    All raise TemporaryError when the directory cannot answer (database away): the peer hears 451.
    """

    def resolve_cached(self, address: Address) -> Resolved | None: ...

    async def resolve(self, address: Address) -> Resolved: ...

    async def authenticate(self, login: str, password: str) -> Login | None:
        """None for a wrong name or password; takes the same time for both."""
        ...

    async def may_send_as(self, account: str, sender: Address) -> bool:
        """True if the envelope sender belongs to the account: its own address (tags allowed) or an alias to it."""
        ...


class Case(Protocol):
    """The filters of one session. Never raises: a failing filter has become a Verdict.

    A refusal at connect or MAIL is kept for RCPT, where the recipient's own policy decides, unless it is `at_once`.
    `wishes` are the policies of the one who logged in, as Login has them.
    """

    async def connect(self, peer: Peer) -> Verdict: ...

    async def mail(self, peer: Peer, sender: str, wishes: tuple[str, ...] = ()) -> Verdict:
        """Begins a transaction: what was said of an earlier one is forgotten."""
        ...

    async def rcpt(
        self, peer: Peer, sender: str, recipient: Address, resolved: Resolved
    ) -> tuple[Verdict, tuple[Recipient, ...]]:
        """Which of the targets take the message; if none does, the verdict refuses."""
        ...

    async def unknown(self, peer: Peer, sender: str, recipient: Address) -> Verdict:
        """For a recipient who does not exist: what refuses is said in place of 550 5.1.1."""
        ...

    async def data(self, peer: Peer, envelope: Envelope, body: Body) -> list[Ruling]:
        """A ruling for each group of recipients who were accepted in `rcpt`; every one is in just one of them."""
        ...


class Filters(Protocol):
    """The filters of a worker."""

    @property
    def phases(self) -> frozenset[str]:
        """The phases ("connect", "mail", "rcpt", "data") in which a filter of the configuration is active.

        Recipients and logins with wishes of their own may have others.
        """
        ...

    def open(self) -> Case:
        """For one session."""
        ...

    async def close(self) -> None:
        """Gives back connections."""
        ...


class Body(Protocol):
    """A message's octets (CRLF line ends, dots unstuffed), in memory or in a file; never joined unless asked."""

    @property
    def size(self) -> int: ...

    def chunks(self) -> Sequence[bytes | bytearray | memoryview]: ...

    def bytes(self) -> bytes:
        """The whole text as one object: costs a copy; for filters that need it."""
        ...


class Claimed(Protocol):
    """A message that the queue has in hand: as it was accepted, with what became of it so far.

    `progress` is kept up to date by the queue. `doubtful`: a delivery of it was under way when an earlier run of the
    queue ended, so a recipient who is still owed it may have it.
    """

    progress: Progress

    @property
    def id(self) -> str: ...

    @property
    def envelope(self) -> Envelope: ...

    @property
    def size(self) -> int: ...

    @property
    def doubtful(self) -> bool: ...

    def rest(self) -> None:
        """It will wait: the envelope need not be in memory until it is asked for again."""
        ...

    def chunks(self) -> Sequence[bytes | memoryview]:
        """The message's octets, CRLF line ends. Raises CorruptSpoolError. Not to be kept beyond the delivery."""
        ...

    def read(self) -> bytes:
        """The whole message as one object. Raises CorruptSpoolError."""
        ...


class QueueStore(Protocol):
    """The queue's view over the spools of all workers. One process at a time holds it."""

    def poll(self, most: int = 1_000_000) -> list[Claimed]:
        """Messages that became durable since the last call, each given out once; cheap when there is nothing new.

        At most `most`; if they are fewer there are no more for now. The first of them are all that live from before,
        with their progress.
        """
        ...

    def begin(self, message_id: str) -> None:
        """A delivery of the message starts: known after a crash, see Claimed.doubtful."""
        ...

    def end(self, message_id: str) -> None:
        """The delivery is over and its outcome recorded; after the next `sync` it is not in doubt."""
        ...

    def record(self, message_id: str, update: Progress) -> None:
        """Notes what became of a message: in order, buffered until `sync`."""
        ...

    def finish(self, message_id: str) -> None:
        """Every recipient is done; after the next `sync` the message is gone."""
        ...

    async def sync(self) -> None:
        """All that was recorded and finished before this call is durable. Many callers share one sync."""
        ...

    async def put(self, envelope: Envelope, head: bytes, body: Body) -> None:
        """A message of the queue's own, a bounce; durable when it returns. `poll` gives it out like any other."""
        ...

    def new_id(self) -> str: ...

    async def wait(self, seconds: float) -> None:
        """Until a worker has something new, or for `seconds`."""
        ...


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a recipient's mail goes: `name` ("local", a domain, "smarthost") is what concurrency is counted by."""

    name: str
    local: bool = False


class Routes(Protocol):
    """The doors out, and which of them a recipient leaves by."""

    def destination(self, recipient: Recipient) -> Destination: ...

    async def deliver(self, message: Claimed, recipients: Sequence[Recipient]) -> list[Outcome]:
        """As Transport.deliver; all recipients have one destination."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Notice:
    """A message of the queue's own, ready for QueueStore.put."""

    envelope: Envelope
    head: bytes
    body: Body


class Notices(Protocol):
    """Makes delivery status notifications (bounces, delay warnings, confirmations)."""

    def owed(self, action: Action, envelope: Envelope, recipient: Recipient) -> bool:
        """True if the sender is to be told: there is one, and NOTIFY= (RFC 3461) does not forbid it."""
        ...

    async def make(
        self, action: Action, message: Claimed, about: Sequence[tuple[Recipient, Outcome]], *, new_id: str, until: float
    ) -> Notice | None:
        """One notice about these recipients; `until` is when the queue gives up. None: nobody is there to be told.

        Raises TemporaryError where it cannot be known now who gets it.
        """
        ...


class Transport(Protocol):
    """One way out: LMTP, remote SMTP, Maildir. Each recipient has an Outcome, in order.

    Raises nothing but what reading the message raises (CorruptSpoolError, TemporaryError).
    """

    async def deliver(self, message: Claimed, recipients: Sequence[Recipient]) -> list[Outcome]: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Charge:
    """`cost` is taken from the bucket `key`, if `need` is in it (None: as much as is taken).

    The bucket holds `burst` and fills by `rate` a second; one that nobody knows is full. Both are above 0.
    """

    key: str
    cost: float
    rate: float
    burst: float
    need: float | None = None


class Store(Protocol):
    """A memory that the workers of a host share, and several hosts where it is a server: limits, counters, facts.

    What is in it may be lost without harm, and it forgets by itself. All raise TemporaryError when it cannot answer.
    """

    async def take(self, key: str, cost: float, rate: float, burst: float) -> float:
        """Takes `cost` from a bucket (GCRA): 0.0 granted, else the seconds until it would be, and nothing is taken.

        What is more than `burst` is never granted: infinity.
        """
        ...

    async def take_all(self, charges: Sequence[Charge]) -> list[float]:
        """As `take` for each, but all or nothing: where one is not granted none is taken. Keys differ."""
        ...

    async def get(self, key: str) -> str | None:
        """What `put` or `add` left there; None if nothing did or its time is over."""
        ...

    async def put(self, key: str, value: str, seconds: float) -> None:
        """Kept for `seconds`."""
        ...

    async def add(self, key: str, by: int, seconds: float) -> int:
        """Adds to a counter and returns its value. Its time begins with the first that is added, at 0."""
        ...

    async def close(self) -> None:
        """Gives back connections; who asks again gets new ones."""
        ...


Now = Callable[[], float]
"""Seconds since the epoch; injected so that tests turn the clock by themselves."""


__all__ = [
    "Body",
    "Case",
    "Charge",
    "Claimed",
    "Destination",
    "Directory",
    "Filters",
    "Login",
    "Notice",
    "Notices",
    "Now",
    "QueueStore",
    "Reply",
    "Resolved",
    "Routes",
    "Store",
    "Transport",
]
