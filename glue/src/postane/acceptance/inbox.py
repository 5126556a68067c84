"""The mailbox of the run: looked at again and again, while many checks wait for a mail each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from postane.acceptance.result import FailedError
from postane.acceptance.talk import Imap, Pop3
from postane.acceptance.words import Words

_PAUSE = 0.5  # seconds between looks
_TRIES = 12  # looks that may fail one after the other: a new account is not known everywhere at once
JUNK = "Junk"
BARRED = (FailedError, OSError, ValueError, IndexError)  # what keeps a reader out: silence, words that make no sense

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message as the mailbox has it, with CRLF."""

    folder: str
    octets: bytes

    def headers(self, name: str) -> list[str]:
        """Fields of that name, unfolded, from the top."""
        head = self.octets.partition(b"\r\n\r\n")[0].decode("utf-8", "replace").replace("\r\n", "\n")
        unfolded = head.replace("\n ", " ").replace("\n\t", " ").split("\n")
        return [line for line in unfolded if line.lower().startswith(f"{name.lower()}:")]


class Reader(Protocol):
    """A way into the mailbox; it blocks, and raises one of BARRED where it is kept out."""

    def new(self) -> list[Arrived]:
        """What came since the last time."""

    def empty(self) -> None:
        """Deletes all there is."""

    def close(self) -> None: ...


class ImapReader:
    """By a session that stays open; a new one where it broke. `opens` makes one that is logged in."""

    def __init__(self, opens: Callable[[], Imap], folders: tuple[str, ...] = ("INBOX", JUNK)) -> None:
        self._opens = opens
        self._folders = folders
        self._session: Imap | None = None
        self._seen: set[tuple[str, int]] = set()

    def new(self) -> list[Arrived]:
        found = []
        try:
            session = self._session = self._session or self._opens()
            for folder in self._there(session):
                for uid in session.uids(folder):
                    if (folder, uid) not in self._seen:
                        found.append(Arrived(folder, session.message(uid)))
                        self._seen.add((folder, uid))
        except BaseException:
            self.close()
            raise
        return found

    def empty(self) -> None:
        session = self._session = self._session or self._opens()
        session.empty(self._there(session))

    def _there(self, session: Imap) -> list[str]:
        """A folder that a host has not is none to look into."""
        listed = " ".join(line for line, _ in session.ask('LIST "" "*"'))
        return [one for one in self._folders if one == "INBOX" or one in listed]

    def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()


class Pop3Reader:
    """A session for each look: POP3 shows what there was when it began."""

    def __init__(self, opens: Callable[[], Pop3]) -> None:
        self._opens = opens
        self._count = 0

    def new(self) -> list[Arrived]:
        with self._opens() as session:
            count = session.count()
            found = [Arrived("INBOX", session.message(number)) for number in range(self._count + 1, count + 1)]
            self._count = count
            session.ask("QUIT")
            return found

    def empty(self) -> None:
        with self._opens() as session:
            for number in range(1, session.count() + 1):
                session.ask(f"DELE {number}")
            session.ask("QUIT")

    def close(self) -> None:
        pass


class FirstOf:
    """By the first reader that gets in: a door that is shut does not hide what came by another."""

    def __init__(self, *readers: Reader) -> None:
        self._readers = readers

    def new(self) -> list[Arrived]:
        return self._by(lambda reader: reader.new())

    def empty(self) -> None:
        self._by(lambda reader: reader.empty())

    def _by(self, does: Callable[[Reader], T]) -> T:
        *others, last = self._readers
        for reader in others:
            with suppress(*BARRED):
                return does(reader)
        return does(last)

    def close(self) -> None:
        for reader in self._readers:
            reader.close()


class MaildirReader:
    """For a host that delivers into folders of its own, without a server to read by (`postane dev`)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: set[str] = set()

    def new(self) -> list[Arrived]:
        found = []
        for sub, folder in (("", "INBOX"), (f".{JUNK}", JUNK)):
            for path in sorted([*(self._folder / sub / "new").glob("*"), *(self._folder / sub / "cur").glob("*")]):
                name = f"{folder} {path.name.partition(':')[0]}"  # the rest are flags, which a reader puts
                if name not in self._seen:
                    self._seen.add(name)
                    found.append(Arrived(folder, path.read_bytes()))
        return found

    def empty(self) -> None:
        for path in self._folder.glob("**/*"):
            if path.parent.name in ("new", "cur"):
                path.unlink()

    def close(self) -> None:
        pass


class Inbox:
    """Watches by one reader; a mail is told to whoever waits for the token that it holds."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._arrived: list[Arrived] = []
        self._news = asyncio.Condition()
        self._barred: FailedError | None = None

    async def watch(self) -> None:
        """Until it is cancelled."""
        failed = 0
        while True:
            try:
                found = await asyncio.to_thread(self._reader.new)
                failed = 0
            except BARRED as error:
                found, failed = [], failed + 1
                if failed >= _TRIES:
                    await self._tell([], FailedError("no_mailbox", said=_words(error)))
                    return
            if found:
                await self._tell(found, None)
            await asyncio.sleep(_PAUSE)

    async def wait(self, token: str, seconds: float) -> Arrived:
        """The mail with that token, "" for any. Raises FailedError where none comes, or the mailbox cannot be read."""
        octets = token.encode()
        try:
            async with asyncio.timeout(seconds), self._news:
                while True:
                    for one in self._arrived:
                        if octets in one.octets:
                            return one
                    if self._barred is not None:
                        raise self._barred
                    await self._news.wait()
        except TimeoutError:
            raise FailedError("not_arrived", seconds=f"{seconds:.0f}") from None

    async def empty(self) -> None:
        with suppress(*BARRED):
            await asyncio.to_thread(self._reader.empty)

    def close(self) -> None:
        with suppress(OSError):
            self._reader.close()

    async def _tell(self, found: list[Arrived], barred: FailedError | None) -> None:
        async with self._news:
            self._arrived += found
            self._barred = barred
            self._news.notify_all()


def _words(error: BaseException) -> str:
    if isinstance(error, FailedError):
        return Words("en").reason(error.reason.key, error.reason.values)
    return str(error) or type(error).__name__
