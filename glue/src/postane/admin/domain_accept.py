"""The acceptance run of a hosted domain: an account for it made and removed, the checks run, the page signed and kept.

What lies in `<state>/accepted/<domain>/<time>/`: certificate.json, which is signed, and a page of it in each language.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import select

from postane.acceptance import seal
from postane.acceptance.checks import EACH, TOTAL, accept
from postane.acceptance.document import KIND, VERSION, Run, document
from postane.acceptance.inbox import FirstOf, ImapReader, MaildirReader, Pop3Reader, Reader
from postane.acceptance.net import Net
from postane.acceptance.page import page
from postane.acceptance.result import Case, FailedError, Result
from postane.acceptance.seal import Document
from postane.acceptance.subject import Subject
from postane.acceptance.talk import Imap, Pop3
from postane.acceptance.words import LANGUAGES
from postane.admin import account, alias, audit, clients, mailboxes, quarantine
from postane.admin.domain_facts import known
from postane.admin.names import domain_name, mailbox_address
from postane.admin.site import Site, hosted_domain
from postane.clients.model import Setup
from postane.core.address import Address
from postane.core.errors import (
    ConflictError,
    NotAllowedError,
    NotFoundError,
    PermanentError,
    TemporaryError,
    UsageError,
)
from postane.dns.secured import SecuredResolver
from postane.domains.desired import desired
from postane.domains.life import OURS, State
from postane.quarantine.store import FOLDER as KEPT_BACK
from postane.storage.durable import write_file
from postane.storage.ownership import hand_over
from postane.storage.schema import Account, Alias, Mailbox
from postane.storage.secret import secret

FOLDER = "accepted"
FILE = "certificate.json"
LOCAL = "postane-acceptance"
MADE = "Postane acceptance run"  # the display name of an account that a run has made: no other is ever removed
_RSPAMD = "rspamd"


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asks for. `local` is the name of the account that is made; the rest as in Subject, ""
    for the usual. `ports` are others in tests.
    """

    local: str = LOCAL
    stranger: str = ""
    echo: str = ""
    peer: str = ""
    each: float = EACH
    total: float = TOTAL
    ports: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Accepted:
    """A run that is over, as it was kept."""

    document: Document
    folder: Path

    @property
    def passed(self) -> bool:
        return bool(self.document["verdict"] == "pass")


@dataclass(frozen=True, slots=True)
class VerifiedView:
    """`good`: the document is as it was signed, by the key that was asked for, which is this host's if none was."""

    good: bool
    domain: str
    host: str
    begun: str
    verdict: str
    fingerprint: str
    trouble: str


def run(
    site: Site, name: str, wishes: Wishes, told: Callable[[Result], None] = lambda _: None, who: str = ""
) -> Accepted:
    """Raises UsageError, AddressError, NotFoundError, ConflictError for a domain that has no mail here, TemporaryError
    while another run is under way. The account that is made is removed whatever comes; what a killed run left, by the
    next.
    """
    key = domain_name(name)
    _check(wishes)
    setup, state, led_here = _stands(site, key)
    folder = Path(site.config.state) / FOLDER / key
    _make(folder, Path(site.config.state))
    with _alone(folder):
        names = _Names.of(key, wishes.local)
        password = secrets.token_urlsafe(24)
        _remove(site, names)
        begun = time.time()
        try:
            _add(site, names, password)
            subject = _subject(site, setup, led_here, names, password, wishes)
            results = asyncio.run(_checked(site, subject, wishes, told))
        except (KeyboardInterrupt, asyncio.CancelledError):
            raise TemporaryError("the run was ended before it was over; what it had made is removed") from None
        finally:
            _remove(site, names)
            with suppress(NotAllowedError, NotFoundError):  # root's to delete on a host; they are empty
                mailboxes.purge(site, [names.account, names.copy])
        about = Run(key, setup.shown, setup.host, setup.provider, version("postane"), state.value, begun, time.time())
        signed = seal.sign(document(about, results), secret(Path(site.config.state), seal.KEY))
        accepted = Accepted(signed, _keep(folder, signed))
        with site.database.change() as session:
            audit.note(session, who, "domain accept", key, verdict=signed["verdict"], folder=accepted.folder.name)
        return accepted


def last(site: Site, name: str) -> Accepted:
    """The newest run that was kept. Raises NotFoundError."""
    key = domain_name(name)
    folder = Path(site.config.state) / FOLDER / key
    for one in sorted(folder.glob(f"*/{FILE}"), reverse=True):
        return Accepted(_read(one), one.parent)
    raise NotFoundError(f"{name} has not been accepted yet", hint=f"postane domain accept {name}")


def verify(site: Site, file: Path, fingerprint: str = "") -> VerifiedView:
    """Whether a document is as it was signed. `fingerprint`: of another host's key. Raises UsageError, OSError."""
    found = _read(file)
    ours = seal.fingerprint_of(secret(Path(site.config.state), seal.KEY))
    seen = seal.verify(found)
    wanted = fingerprint.lower().strip() or ours
    trouble = seen.trouble
    if not trouble and seen.fingerprint != wanted:
        trouble = "it was signed with another key" if fingerprint else "it was signed with another key than this host's"
    text = {key: str(found.get(key, "")) for key in ("domain", "host", "begun", "verdict")}
    return VerifiedView(not trouble, fingerprint=seen.fingerprint, trouble=trouble, **text)


def write_to(accepted: Accepted, to: Path) -> list[Path]:
    """Copies of the files of a run, for whoever is to have them. Raises OSError."""
    to.mkdir(parents=True, exist_ok=True)
    made = []
    for name, text in _files(accepted.document).items():
        (to / name).write_bytes(text)
        made.append(to / name)
    return made


# -- the domain ---------------------------------------------------------------------------------------------------


def _check(wishes: Wishes) -> None:
    """They go into commands as they are."""
    for text in filter(None, (wishes.stranger, wishes.echo)):
        if not str(Address.parse(text)).isascii():
            raise UsageError(f"{text!r}: other servers may not take an address with such letters: name another one")
    host, _, port = wishes.peer.rpartition(":")
    if wishes.peer and not (host and port.isdecimal() and 0 < int(port) < 65_536):
        raise UsageError(f"--peer {wishes.peer!r}: write HOST:PORT")


def _stands(site: Site, key: str) -> tuple[Setup, State, bool]:
    """The model, where the domain stands, and whether its mail is led here."""
    with site.database.session() as session:
        row = hosted_domain(session, key)
        state, active, before = State(row.state), row.active, row.came_from.split()
    if not active or state in (State.CLAIMED, State.SUSPENDED):
        raise ConflictError(f"{key} is {'switched off' if not active else state}: it has no mail here to be tried")
    setup = clients.setup_of(site, key)
    if setup is None:
        raise ConflictError(f"{key} is {state}: it has no mail here to be tried")
    return setup, state, State(before[-1] if before else state) in OURS


@dataclass(frozen=True, slots=True)
class _Names:
    """What is made in the domain for a run."""

    account: str
    copy: str
    alias: str

    @classmethod
    def of(cls, domain: str, local: str) -> _Names:
        """Raises AddressError."""
        names = [mailbox_address(f"{local}{end}@{domain}").key for end in ("", "-forward", "-alias")]
        return cls(*names)


def _add(site: Site, names: _Names, password: str) -> None:
    for address in (names.account, names.copy):
        made = account.add(site, address, password, display_name=MADE)
        if not made.made:
            raise ConflictError(f"{address} is somebody's account", hint="name another one by --account")
    alias.put(site, names.alias, [names.account])


def _remove(site: Site, names: _Names) -> None:
    """What a run has made; nobody else's account of these names is touched. Raises ConflictError for one."""
    with site.database.session() as session:
        there = {
            row.address: row.display_name
            for row in session.scalars(select(Account).where(Account.address.in_((names.account, names.copy))))
        }
        led = session.scalar(select(Alias).where(Alias.address == names.alias))
        targets = [] if led is None else [one.address for one in led.targets]
    if targets and targets != [names.account]:
        raise ConflictError(f"{names.alias} is somebody's alias", hint="name another account by --account")
    for address, display_name in there.items():
        if display_name != MADE:
            raise ConflictError(f"{address} is somebody's account", hint="name another one by --account")
    if targets:
        alias.remove(site, names.alias)
    for address in there:
        account.remove(site, address)


def _subject(site: Site, setup: Setup, led_here: bool, names: _Names, password: str, wishes: Wishes) -> Subject:
    config = site.config
    (facts,) = known(site, [setup.domain])
    with site.database.session() as session:
        catch_all = session.scalar(select(Alias.id).where(Alias.address == f"*@{setup.domain}")) is not None
    return Subject(
        setup=setup,
        led_here=led_here,
        kinds=frozenset(one.kind for one in desired(facts.facts)),
        addresses=config.dns.addresses,
        account=names.account,
        copy=names.copy,
        alias=names.alias,
        password=password,
        stranger=wishes.stranger or f"{LOCAL}@{config.host}",
        echo=wishes.echo,
        peer=wishes.peer,
        catch_all=catch_all,
        signs=config.dkim.sign,
        suspects=_RSPAMD in config.filters.use,
        mail_port=config.delivery.smtp_port,
        held=lambda token: _held(site, names.account, token),
    )


def _held(site: Site, address: str, token: str) -> bool:
    if not Path(site.config.state, KEPT_BACK).is_dir():
        return False
    with suppress(PermanentError, TemporaryError, OSError):
        found = quarantine.every(site.config, quarantine.selection(account=address), 100)
        return any(token in item.subject for item in found.items)
    return False


def _forget_held(site: Site, address: str) -> None:
    if Path(site.config.state, KEPT_BACK).is_dir():
        with suppress(PermanentError, TemporaryError, OSError):
            quarantine.delete(site.config, quarantine.selection(account=address), by=LOCAL, now=time.time)


# -- the run ------------------------------------------------------------------------------------------------------


async def _checked(site: Site, subject: Subject, wishes: Wishes, told: Callable[[Result], None]) -> list[Result]:
    """SIGTERM ends a run as Ctrl-C does: with what it made removed."""
    task = asyncio.current_task()
    assert task is not None
    with suppress(ValueError, RuntimeError):  # only the main thread may
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    net = Net(SecuredResolver(site.config.dns), _authorities(site), wishes.ports)
    reader = await _reader(site, subject, net)
    try:
        return await accept(subject, net, reader, told, each=wishes.each, total=wishes.total)
    finally:
        _forget_held(site, subject.account)


def _authorities(site: Site) -> tuple[Path, ...]:
    """Besides those that the system knows: the host's own, which its people's programs are told to trust."""
    own = Path(site.config.state) / "tls" / "ca.pem"
    return (own,) if own.is_file() else ()


async def _reader(site: Site, subject: Subject, net: Net) -> Reader:
    """By IMAP, or POP3 where people have no other; from the folder itself where nobody serves it."""
    if site.config.delivery.local == "maildir":
        with site.database.session() as session:
            query = select(Mailbox.folder).join(Account, Account.mailbox_id == Mailbox.id)
            folder = session.scalar(query.where(Account.address == subject.account))
        return MaildirReader(mailboxes.root_of(site) / (folder or "") / "Maildir")
    doors = [one for one in subject.setup.services if one.name in ("imaps", "pop3s")]
    host = doors[0].host if doors else subject.host
    addresses: tuple[str, ...] = ()
    with suppress(FailedError, TemporaryError):  # then it cannot be opened, which each check that waits will tell
        addresses = await net.addresses(host)

    def imap() -> Imap:
        return _logged_in(Imap(net.connect_to(addresses, 993), host, Case()), subject)

    def pop3() -> Pop3:
        return _logged_in(Pop3(net.connect_to(addresses, 995), host, Case()), subject)

    ways: dict[str, Reader] = {"imaps": ImapReader(imap), "pop3s": Pop3Reader(pop3)}
    return FirstOf(*(ways[one.name] for one in doors)) if doors else ways["imaps"]


Session = TypeVar("Session", Imap, Pop3)


def _logged_in(session: Session, subject: Subject) -> Session:
    try:
        session.login(subject.account, subject.password, "tls")
    except BaseException:
        session.close()
        raise
    return session


# -- what is kept -------------------------------------------------------------------------------------------------


def _files(signed: Document) -> dict[str, bytes]:
    text = json.dumps(signed, ensure_ascii=False, indent=2) + "\n"
    return {FILE: text.encode(), **{f"certificate.{one}.html": page(signed, one).encode() for one in LANGUAGES}}


def _keep(folder: Path, signed: Document) -> Path:
    """The folder is there whole or not at all."""
    name = str(signed["begun"]).replace(":", "").replace("-", "")
    place, made = folder / name, folder / f".new-{name}"
    while place.exists():  # another run began in the same second
        place = place.with_name(f"{place.name}-2")
    shutil.rmtree(made, ignore_errors=True)
    _make(made, folder)
    for file, octets in _files(signed).items():
        write_file(made / file, octets, like=folder)
    made.rename(place)
    return place


def _make(folder: Path, like: Path) -> None:
    """With those above it, for nobody else to read."""
    for one in [*reversed([one for one in folder.parents if like in one.parents]), folder]:
        if not one.is_dir():
            one.mkdir(mode=0o700)
            hand_over(one, like)


def _read(file: Path) -> Document:
    """Raises UsageError for what is no such document, OSError."""
    try:
        found: Any = json.loads(file.read_bytes())
    except ValueError as error:
        raise UsageError(f"{file}: not JSON: {error}", hint=f"the signed file is {FILE}") from error
    if not isinstance(found, dict) or (found.get("kind"), found.get("version")) != (KIND, VERSION):
        raise UsageError(f"{file}: no acceptance document of version {VERSION}")
    return found


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One run of a domain at a time: so whatever is there of an earlier one is a killed one's."""
    with (folder / ".lock").open("a") as lock:
        hand_over(folder / ".lock", folder)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TemporaryError(
                "another acceptance run of this domain is under way", hint="wait for its end"
            ) from None
        yield
