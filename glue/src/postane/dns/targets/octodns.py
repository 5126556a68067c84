"""Any provider of octoDNS as a target: Cloudflare, Route 53, Hetzner, deSEC, … by its package and a token.

octoDNS and its providers are optional: they are loaded when a target names them. They are synchronous, and what they
raise is anybody's guess: each zone is worked on in a thread with a time limit, and errors are sorted by status, class
and words. A thread cannot be ended: one that is late goes on by itself, which the next run sees, and the process does
not wait for it.

A provider has no transactions. What was planned for is compared with what stands just before it is written; where a
change fails, the zone is read again: if nothing of it is there, the error says why; if some of it is, the change is
half done, what is ours stays noted, and the next run does the rest.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from postane.core.errors import (
    ConfigError,
    NotAllowedError,
    NotFoundError,
    PermanentError,
    PostaneError,
    ServiceMissingError,
    TemporaryError,
)
from postane.dns.records import Record, canonical
from postane.dns.targets.base import Change, HalfDoneError, check

SECONDS = 60.0  # for one zone
GIVE_UP_AFTER = 3  # zones in a row without an answer: the others of the run are not tried
_GIVEN_UP = 60.0  # seconds until it is asked again, where a process lives that long

_DENIED = re.compile(r"(?i:unauthori[sz]ed|forbidden|authenticat|access ?denied|invalid (api )?(token|key)|permission)")
_DENIED_DNS = re.compile(r"\b(REFUSED|NOTAUTH|BADKEY|BADSIG|BADTIME|PeerBadKey)\b")
_NO_ZONE = re.compile(r"(?i:not ?found|no such zone|unknown domain)")
_AWAY = re.compile(r"(?i:time[d ]*out|connection|unavailable|throttl|rate ?limit|retries|5xx|SERVFAIL|no route)")

T = TypeVar("T")


class OctoDns:
    """`provider` is octoDNS's object; it is used by `at_once` threads, most `per_minute` zones a minute (0: any).

    `secrets` are hidden in whatever is told.
    """

    writable = True
    whole_zones = False

    def __init__(
        self,
        name: str,
        provider: Any,
        *,
        seconds: float = SECONDS,
        at_once: int = 1,
        per_minute: int = 0,
        text_limit: int = 0,
        least_ttl: int = 0,
        secrets: Sequence[str] = (),
    ) -> None:
        self.name = name
        self.text_limit = text_limit
        self.least_ttl = least_ttl
        self._provider = provider
        self._seconds = seconds
        self._at_once = at_once
        self._pause = 60 / per_minute if per_minute else 0.0
        self._secrets = secrets
        self._turns: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None
        self._next = 0.0
        self._silent = 0
        self._silent_until = 0.0
        _keep_logs_clean(secrets)

    @property
    def types(self) -> frozenset[str]:
        """What the provider can hold."""
        return frozenset(self._provider.SUPPORTS)

    async def read(self, zone: str) -> list[Record] | None:
        """Raises NotFoundError where the provider shows no such zone, else as the others."""
        return await self._in_time(zone, lambda: self._read(zone)[1])

    async def apply(
        self, zone: str, remove: Sequence[Record], add: Sequence[Record], before: Sequence[Record] | None = None
    ) -> None:
        """Set by set. Raises HalfDoneError beside the others."""
        change = Change(zone, tuple(remove), tuple(add), None if before is None else tuple(before))
        await self._in_time(zone, lambda: self._change(change))

    def _read(self, zone: str) -> tuple[Any, list[Record]]:
        from postane.dns.targets.octodns_zone import new_zone, records_of

        # Providers remember what they have read, by this name all of them; what they remember may be old by now.
        if isinstance(seen := getattr(self._provider, "_zone_records", None), dict):
            seen.pop(f"{zone}.", None)
        found = new_zone(zone)
        try:
            exists = self._provider.populate(found, target=True, lenient=True)
        except Exception as error:
            raise self._as_ours(error, f"cannot read {zone}") from error
        if exists is False and not self._lists(zone):
            raise NotFoundError(
                f"{self.name} has no zone {zone}, or does not show it to us",
                hint=f"make the zone there; may the token of dns.targets.{self.name} see it?",
            )
        return found, records_of(found)

    def _lists(self, zone: str) -> bool:
        """Some providers take a zone without records for none."""
        if not hasattr(self._provider, "list_zones"):
            return False
        try:
            return zone in {one.rstrip(".") for one in self._provider.list_zones()}
        except Exception as error:
            raise self._as_ours(error, "cannot list its zones") from error

    def _change(self, change: Change) -> None:
        from postane.dns.targets.octodns_zone import make_plan

        zone, standing = self._read(change.zone)
        check(change, standing)
        plan = make_plan(self._provider, zone, change)
        if not plan.changes:
            return
        try:
            self._provider.apply(plan)
        except Exception as error:
            failed = self._as_ours(error, f"does not take the change of {change.zone}")
            raise self._after(change, standing, failed) from error

    def _after(self, change: Change, before: Sequence[Record], error: PostaneError) -> PostaneError:
        """`error`, unless some of the change may be there."""
        if isinstance(error, TemporaryError):
            return error
        try:
            standing = self._read(change.zone)[1]
        except PostaneError as unread:
            return HalfDoneError(f"{error}; and what is there now is not known: {unread}", hint="run it again")
        sets = {(one.name, one.type) for one in (*change.remove, *change.add)}
        was, now = ({canonical(one) for one in there if (one.name, one.type) in sets} for there in (before, standing))
        if was == now:
            return error
        wanted = was - {canonical(one) for one in change.remove} | {canonical(one) for one in change.add}
        done, all_of_it = len(was ^ now), len(was ^ wanted)
        return HalfDoneError(
            f"{error}; {done} of {all_of_it} records were changed before that", hint="run it again when that is mended"
        )

    def _as_ours(self, error: Exception, what: str) -> PostaneError:
        return sorted_error(self.name, what, error, self._secrets)

    async def _in_time(self, zone: str, do: Callable[[], T]) -> T:
        async with self._turn():
            if self._silent >= GIVE_UP_AFTER and time.monotonic() < self._silent_until:
                raise ServiceMissingError(
                    f"{self.name} was not asked about {zone}: it did not answer about {self._silent} others",
                    hint="run it again when the provider answers",
                )
            await self._pace()
            try:
                async with asyncio.timeout(self._seconds):
                    found = await _in_thread(f"{self.name} {zone}", do)
            except TimeoutError as error:
                self._count_silence()
                raise ServiceMissingError(
                    f"{self.name} was not done with {zone} in {self._seconds:g} s",
                    hint="it may still go on: run it again; is the provider slow, or our rate too high for it?",
                ) from error
            except ServiceMissingError:
                self._count_silence()
                raise
            except PostaneError:
                self._silent = 0
                raise
            self._silent = 0
            return found

    def _count_silence(self) -> None:
        self._silent += 1
        self._silent_until = time.monotonic() + _GIVEN_UP

    def _turn(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        if self._turns is None or self._turns[0] is not loop:
            self._turns = loop, asyncio.Semaphore(self._at_once)
        return self._turns[1]

    async def _pace(self) -> None:
        now = time.monotonic()
        start = max(now, self._next)
        self._next = start + self._pause
        if start > now:
            await asyncio.sleep(start - now)


def load_provider(name: str, place: str, options: Mapping[str, object], secrets: Mapping[str, str]) -> Any:
    """The provider of the target `name`; `place` is the class as octoDNS writes it (octodns_desec.DesecProvider).

    Raises ConfigError, ServiceMissingError.
    """
    module, _, wanted = place.rpartition(".")
    if not module:
        raise ConfigError(
            f"dns.targets.{name}: provider {place!r} is no class such as octodns_cloudflare.CloudflareProvider"
        )
    try:
        importlib.import_module("octodns.provider.base")
        made = getattr(importlib.import_module(module), wanted, None)
    except ImportError as error:
        package = (error.name or module).partition(".")[0].replace("_", "-")
        raise ConfigError(
            f"dns.targets.{name}: {place} needs the package {package}, which is not installed here",
            hint=f"on hosts: postane_extra_packages: [{package}] in the inventory, then playbooks/mail.yml; "
            f"elsewhere: pip install {package}",
        ) from error
    if not (isinstance(made, type) and hasattr(made, "populate") and hasattr(made, "apply")):
        raise ConfigError(f"dns.targets.{name}: {place} is no provider of octoDNS that can be written to")
    try:
        provider = made(name, **options, **secrets)
    except TypeError as error:
        said = without(str(error).replace(f"{wanted}.__init__()", wanted), list(secrets.values()))
        raise ConfigError(
            f"dns.targets.{name}: {said}", hint="options and secret_files are the provider's own: see its README"
        ) from error
    except Exception as error:
        ours = sorted_error(name, "cannot be set up", error, list(secrets.values()))
        if type(ours) is PermanentError:
            ours = ConfigError(f"dns.targets.{ours}")
        raise ours from error
    if getattr(provider, "apply_disabled", False):
        raise ConfigError(f"dns.targets.{name}: with apply_disabled nothing would ever be written", hint="take it out")
    provider.root_ns_warnings = False  # the zone's own name servers are never ours to change
    return provider


def sorted_error(name: str, what: str, error: Exception, secrets: Sequence[str] = ()) -> PostaneError:
    """Whatever a provider raised, as one of ours: who may not, what is not there, what is away, what is wrong."""
    if isinstance(error, PostaneError):
        return error
    said = without(_sentence(error), secrets)
    text = f"{name} {what}: {said}"
    words = " ".join(f"{type(one).__name__} {one}" for one in _chain(error))
    status = _status(error)
    if status in (401, 403) or (status is None and (_DENIED.search(words) or _DENIED_DNS.search(words))):
        if isinstance(error, OSError) and status is None:
            return ServiceMissingError(text)
        return NotAllowedError(text, hint=f"does the token of dns.targets.{name} have the right to do this?")
    if status == 429 or (status or 0) >= 500:
        return ServiceMissingError(text, hint="run it again later; dns.targets has per_minute for a slower pace")
    if status == 404 or (status is None and _NO_ZONE.search(words) and not isinstance(error, OSError)):
        return NotFoundError(text, hint=f"is the zone there, and may the token of dns.targets.{name} see it?")
    if status is None and (isinstance(error, OSError) or _AWAY.search(words)):
        return ServiceMissingError(text, hint="run it again when the provider answers")
    return PermanentError(text)


def without(text: str, secrets: Sequence[str]) -> str:
    """The text with each secret as `***`."""
    for secret in secrets:
        text = text.replace(secret, "***") if secret else text
    return text


def _sentence(error: Exception) -> str:
    words = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _status(error: BaseException) -> int | None:
    """The HTTP status that made it, as requests and boto have it."""
    for one in _chain(error):
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        else:
            status = getattr(response, "status_code", None)
        if isinstance(status, int):
            return status
    return None


def _in_thread(name: str, do: Callable[[], T]) -> asyncio.Future[T]:
    """In a thread that no exit of the process waits for."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(value: Any, error: BaseException | None) -> None:
        if future.done():  # nobody waits any more
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)

    def run() -> None:
        value, failed = None, None
        try:
            value = do()
        except BaseException as error:
            failed = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, value, failed)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


class _Hides(logging.Filter):
    def __init__(self, secrets: Sequence[str]) -> None:
        super().__init__()
        self._secrets = secrets

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = without(record.getMessage(), self._secrets), ()
        return True


def _keep_logs_clean(secrets: Sequence[str]) -> None:
    """Providers log by the standard library; where nobody has said what is to become of that, nothing does."""
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(logging.NullHandler())
    for handler in root.handlers if any(secrets) else ():
        handler.addFilter(_Hides(secrets))
