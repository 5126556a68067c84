"""What a filter is: one file, one class, its options, at most one method a phase, and a Verdict as its answer.

    class Options(base.Options, frozen=True):
        limit: Annotated[int, Meta(description="Octets.")] = 5

    class TooLong(Filter[Options]):
        name = "too_long"
        options_type = Options

        async def data(self, peer, envelope, body):
            if body.size <= self.options.limit:
                return ACCEPT
            return Verdict(Decision.REJECT, "over the limit", Reply(552, "5.3.4", "Too long"))

A filter overrides the phases it knows; the pipeline calls no other. It may raise and it may be late: the pipeline
turns that into the verdict that the filter's failure policy names, never into an accident.
Filters of a phase run side by side, so none may count on another having run before it in the same phase.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

from msgspec import Meta, Struct

from postane.config.model import Dns
from postane.core.address import Address
from postane.core.envelope import Envelope
from postane.core.peer import Peer
from postane.core.ports import Body, Now, Store
from postane.core.question import Ask
from postane.core.verdict import ACCEPT, Decision, Verdict
from postane.filters.once import Once
from postane.observe.metrics import Metrics
from postane.storage.secret import secret

PHASES = ("connect", "mail", "rcpt", "unknown", "data")

FAILURES = {"defer": Decision.DEFER, "reject": Decision.REJECT, "skip": Decision.ACCEPT}


class Options(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every filter may be told."""

    timeout: Annotated[float, Meta(gt=0, le=60, description="Seconds for one call.")] = 10.0
    on_failure: Annotated[
        Literal["defer", "reject", "skip"],
        Meta(description="When the filter fails or is late: 451, 554, or as if it were not there, with a log line."),
    ] = "defer"


T = TypeVar("T")
O_co = TypeVar("O_co", bound=Options, covariant=True)


def _no_resolver() -> Ask:
    raise RuntimeError("this filter asks the DNS, and was given no resolver")


def _no_store() -> Store:
    raise RuntimeError("this filter shares what it knows, and was given no store")


@dataclass(frozen=True, slots=True)
class Tools:
    """What a filter may use beside its options. `host` is this host's name; `dns` says whom to ask.

    `resolver()` is called by a filter that asks the DNS, once, when it is made; all share one cache of answers.
    `state` is the folder in which what has to last is kept; `store()` is shared by the workers, or by all hosts.
    """

    host: str
    dns: Dns
    now: Now
    resolver: Callable[[], Ask] = _no_resolver
    metrics: Metrics = field(default_factory=Metrics)
    state: Path = Path("/nonexistent")
    store: Callable[[], Store] = _no_store
    tag_separator: str = "+"  # of subaddresses, as in the configuration
    _once: Once = field(default_factory=Once)
    _shared: dict[str, Any] = field(default_factory=dict)

    def shared(self, name: str, make: Callable[[], T]) -> T:
        """What all filters of this process have together, whatever their options: made by the first who asks."""
        if name not in self._shared:
            self._shared[name] = make()
        found: T = self._shared[name]
        return found

    def secret(self, name: str) -> bytes:
        """A key of 32 octets, made at its first use and the same in all processes. Raises PermanentError, OSError."""
        return secret(self.state, name)

    async def once(self, message_id: str, name: str, make: Callable[[], Awaitable[T]]) -> T:
        """What several filters, or one with several options, need of one message: made by the first who asks.

        Raises what `make` raises, to all who asked.
        """
        return await self._once.get(message_id, name, make)

    def forget(self, message_id: str) -> None:
        """All that was made by `once` of a message: it is judged."""
        self._once.forget(message_id)


class Filter(Generic[O_co]):
    """Base of all filters; made in the process that uses it, closed at its end."""

    name: ClassVar[str] = ""
    members: ClassVar[bool] = False  # True: it also judges what our own users and the host's own programs send
    by_sender: ClassVar[bool] = False  # True: what our own users send it judges by the sender's policy alone
    by_recipient: ClassVar[bool] = False  # True: by the recipient's alone
    options_type: ClassVar[type[Options]] = Options
    # Which options a policy of a tenant, a domain or an account may change: none of `host`; where its owner does it and
    # not the operator, only those of `owner`.
    host: ClassVar[frozenset[str]] = frozenset()
    owner: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, options: O_co, tools: Tools) -> None:
        """May raise ConfigError for options that cannot go together."""
        self.options = options
        self.tools = tools

    async def connect(self, peer: Peer) -> Verdict:
        return ACCEPT

    async def mail(self, peer: Peer, sender: str) -> Verdict:
        return ACCEPT

    async def rcpt(self, peer: Peer, sender: str, recipient: Address) -> Verdict:
        return ACCEPT

    async def unknown(self, peer: Peer, sender: str, recipient: Address) -> Verdict:
        """In place of `rcpt` for a recipient who does not exist: a refusal is said instead of 550 5.1.1."""
        return ACCEPT

    async def data(self, peer: Peer, envelope: Envelope, body: Body) -> Verdict:
        return ACCEPT

    async def close(self) -> None:
        """Gives back connections."""

    @classmethod
    def phases(cls) -> tuple[str, ...]:
        """The phases that this class overrides, in their order."""
        return tuple(phase for phase in PHASES if getattr(cls, phase) is not getattr(Filter, phase))
