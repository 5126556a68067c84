"""All data of a domain in a folder, for whoever leaves or moves: people, settings, records, and the mail of each.

    domain.json      domain, settings, accounts, aliases, policies; with `secrets` the hashes of passwords too
    records.zone     the DNS records that are ours
    keys/            with `secrets`: the private DKIM keys
    mail/ADDRESS.tar the folder of each account: its Maildir and its Sieve scripts, without indexes
    manifest.json    what has been taken of whom; a run that goes on where another was stopped reads it
    SHA256SUMS       for `sha256sum --check`

Each file is whole or not there. A second run writes anew only the mail of accounts that have changed since, so one that
is taken early and again at the end is quick at the end. Mail that arrives or is read meanwhile is in it or in the next.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import select
from sqlalchemy.orm import Session

from postane.admin import audit, mailboxes
from postane.admin.domain_facts import own_of
from postane.admin.names import domain_name
from postane.admin.site import Site, hosted_domain
from postane.core.errors import ConflictError, NotAllowedError, UsageError
from postane.directory.key import folder_of
from postane.dns.records import Record, zone_file
from postane.storage.durable import sync_folder, write_file
from postane.storage.schema import Account, Alias, Credential, Domain, Mailbox, OwnedRecord, Policy

FORMAT = 1
MANIFEST = "manifest.json"
_INDEXES = ("dovecot.index", "dovecot.list.index", "dovecot.mailbox.log")  # made again from the mail
_SPECIAL = ":"  # begins the flags of a Maildir file's name

Told = Callable[[int, int, str, int], None]
"""Progress: how many of how many accounts are done, the one that is, and its octets (-1: it had not changed)."""


class Box(msgspec.Struct, frozen=True):
    """Of one account: `state` is a digest of what was in its folder; `sha256` and `octets` are the file's."""

    state: str
    sha256: str
    octets: int
    messages: int


class Manifest(msgspec.Struct):
    format: int
    domain: str
    taken_at: float
    boxes: dict[str, Box]


@dataclass(frozen=True, slots=True)
class Exported:
    """`written` of `accounts` were taken in this run, the others had not changed; `missing` have no folder yet."""

    domain: str
    folder: str
    accounts: int
    written: int
    missing: int
    messages: int
    octets: int


@dataclass(frozen=True, slots=True)
class _Person:
    address: str
    folder: Path


def export(
    site: Site,
    name: str,
    to: Path,
    *,
    secrets: bool = False,
    root: Path | None = None,
    told: Told = lambda *_: None,
    who: str = "",
) -> Exported:
    """Writes it, or goes on with what is there. Its mail is taken as the export that a leaving domain waits for.

    Raises ConflictError where the folder holds something else, NotAllowedError, OSError (a full disk).
    """
    key = domain_name(name)
    begun = time.time()
    with site.database.session() as session:
        row = hosted_domain(session, key)
        described = _described(session, row, secrets=secrets)
        records = _records(session, row)
        people = _people(session, row, root or mailboxes.root_of(site))
    manifest = _opened(to, key)
    (to / "mail").mkdir(mode=0o700, exist_ok=True)
    write_file(to / "domain.json", msgspec.json.format(msgspec.json.encode(described), indent=2) + b"\n")
    write_file(to / "records.zone", zone_file(records).encode())
    if secrets:
        _keys(site, key, to / "keys")
    written, missing = 0, 0
    for done, one in enumerate(people):
        file = to / "mail" / f"{one.address}.tar"
        box = _mail(one, file, manifest.boxes.get(one.address))
        missing += not one.folder.is_dir()
        if box is not manifest.boxes.get(one.address):
            manifest.boxes[one.address] = box
            written += 1
            write_file(to / MANIFEST, msgspec.json.encode(manifest))
            told(done + 1, len(people), one.address, box.octets)
        else:
            told(done + 1, len(people), one.address, -1)
    # Whose account is gone meanwhile has left with what was taken.
    manifest.taken_at = begun
    write_file(to / MANIFEST, msgspec.json.encode(manifest))
    _sums(to, manifest)
    with site.database.change() as session:
        row = hosted_domain(session, key)
        row.exported_at = begun
        audit.note(session, who, "domain export", key, to=str(to), accounts=len(people), secrets=secrets)
    boxes = [manifest.boxes[one.address] for one in people]
    return Exported(
        key,
        str(to),
        len(people),
        written,
        missing,
        sum(one.messages for one in boxes),
        sum(one.octets for one in boxes),
    )


# -- what is known of it ----------------------------------------------------------------------------------------------


def _described(session: Session, row: Domain, *, secrets: bool) -> dict[str, Any]:
    accounts = list(session.scalars(select(Account).where(Account.domain_id == row.id).order_by(Account.address)))
    policies = session.execute(
        select(Policy.document, Account.address)
        .join(Account, Account.id == Policy.account_id, isouter=True)
        .where((Policy.domain_id == row.id) | (Account.domain_id == row.id))
        .order_by(Account.address)
    )
    return {
        "format": FORMAT,
        "domain": row.name,
        "tenant": row.tenant.name,
        "state": row.state,
        "old_mx": msgspec.json.decode(row.old_mx),
        "dns": own_of(row),
        "accounts": [
            {
                "address": one.address,
                "name": one.display_name,
                "quota_bytes": one.quota_bytes,
                "active": one.active,
                "created_at": one.created_at,
                **({"credentials": _credentials(session, one)} if secrets else {}),
            }
            for one in accounts
        ],
        "aliases": [
            {"address": one.address, "targets": [target.address for target in one.targets]}
            for one in session.scalars(select(Alias).where(Alias.domain_id == row.id).order_by(Alias.address))
        ],
        "policies": [
            {"of": address or row.name, "document": msgspec.json.decode(document)} for document, address in policies
        ],
    }


def _credentials(session: Session, account: Account) -> list[dict[str, str]]:
    query = select(Credential).where(Credential.account_id == account.id).order_by(Credential.id)
    return [{"kind": one.kind, "label": one.label, "hash": one.hash} for one in session.scalars(query)]


def _records(session: Session, row: Domain) -> list[Record]:
    query = select(OwnedRecord).where(OwnedRecord.domain_id == row.id)
    return [Record(one.name, one.type, one.data, one.ttl) for one in session.scalars(query)]


def _people(session: Session, row: Domain, root: Path) -> list[_Person]:
    query = select(Account.address, Mailbox.folder).join(Mailbox, Mailbox.id == Account.mailbox_id)
    found = session.execute(query.where(Account.domain_id == row.id).order_by(Account.address))
    return [_Person(address, root / folder) for address, folder in found]


# -- the folder -------------------------------------------------------------------------------------------------------


def _opened(to: Path, domain: str) -> Manifest:
    """What an earlier run has left there. Raises ConflictError, UsageError."""
    try:
        to.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise UsageError(f"{to} is no folder") from error
    file = to / MANIFEST
    if not file.exists():
        if any(to.iterdir()):
            raise ConflictError(f"{to} is not empty, and holds no export", hint="name a new folder")
        manifest = Manifest(FORMAT, domain, 0.0, {})
        write_file(file, msgspec.json.encode(manifest))
        return manifest
    try:
        manifest = msgspec.json.decode(file.read_bytes(), type=Manifest)
    except msgspec.DecodeError as error:
        raise ConflictError(f"{file} cannot be read: {error}", hint="name a new folder") from error
    if manifest.domain != domain or manifest.format != FORMAT:
        raise ConflictError(f"{to} holds an export of {manifest.domain}", hint="name a new folder")
    return manifest


def _writer(file: Path) -> io.BufferedWriter:
    """For its owner alone."""
    file.unlink(missing_ok=True)  # what a run that was killed has left, or a link
    return os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb")


def _keys(site: Site, domain: str, to: Path) -> None:
    to.mkdir(mode=0o700, exist_ok=True)
    for file in sorted(Path(folder_of(site.config.state, domain)).glob("*.pem")):
        write_file(to / file.name, file.read_bytes())


def _sums(to: Path, manifest: Manifest) -> None:
    sums = {f"mail/{address}.tar": box.sha256 for address, box in manifest.boxes.items()}
    files = [to / "domain.json", to / "records.zone", to / MANIFEST, *sorted(to.glob("keys/*.pem"))]
    sums |= {str(one.relative_to(to)): hashlib.sha256(one.read_bytes()).hexdigest() for one in files}
    write_file(to / "SHA256SUMS", "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())).encode())


# -- mail -------------------------------------------------------------------------------------------------------------


def _mail(person: _Person, file: Path, before: Box | None) -> Box:
    """The account's folder in a file; `before` itself where it is there already and nothing has changed."""
    try:
        found = sorted(_files(person.folder))
    except PermissionError as error:
        raise NotAllowedError(f"{error.filename}: not allowed", hint="mail is exported by root") from error
    state = hashlib.sha256("\n".join(f"{name}\t{size}\t{at}" for name, size, at in found).encode("utf-8", "replace"))
    if before is not None and before.state == state.hexdigest() and _is_of(file, before.octets):
        return before
    part = file.with_name(f"{file.name}.part")
    messages = 0
    with _writer(part) as out:
        hashing = _Hashing(out)
        with tarfile.open(fileobj=hashing, mode="w|", format=tarfile.PAX_FORMAT) as archive:
            for name, _, _ in found:
                messages += _add(archive, person.folder, name) and _is_message(name)
        out.flush()
        os.fsync(out.fileno())
    part.replace(file)
    sync_folder(file.parent)
    return Box(state.hexdigest(), hashing.digest.hexdigest(), hashing.octets, messages)


def _files(folder: Path) -> Iterator[tuple[str, int, int]]:
    """What is to be taken: names below the folder, sizes, times. Links are taken as links, and never followed."""
    if folder.is_symlink():
        return  # not made by Postane: it may lead to another's
    for place, folders, names in os.walk(folder, onerror=_raise):
        if Path(place).name == "tmp":  # mail that has not arrived yet
            folders.clear()
            continue
        for name in names:
            if name.startswith(_INDEXES):
                continue
            path = Path(place, name)
            with suppress(FileNotFoundError):
                known = path.lstat()
                if stat.S_ISREG(known.st_mode) or stat.S_ISLNK(known.st_mode):
                    yield str(path.relative_to(folder)), known.st_size, known.st_mtime_ns


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _add(archive: tarfile.TarFile, folder: Path, name: str) -> bool:
    """False if it is gone. Who reads a mail meanwhile gives its file another name: of new/ in cur/, or with flags."""
    for candidate in _names(folder, name):
        path = folder / candidate
        try:
            if path.is_symlink():
                entry = _entry(candidate, path.lstat())
                entry.type, entry.linkname = tarfile.SYMTYPE, str(path.readlink())
                archive.addfile(entry)
                return True
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                entry = _entry(candidate, os.fstat(file.fileno()))
                if _is_message(name):
                    entry.size = os.fstat(file.fileno()).st_size
                    archive.addfile(entry, file)
                else:  # may be written on while it is read; a mail never is
                    content = file.read()
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
            return True
        except FileNotFoundError:
            continue
    return False


def _names(folder: Path, name: str) -> Iterator[str]:
    yield name
    path = Path(name)
    if path.parent.name in ("new", "cur"):
        base = path.name.partition(_SPECIAL)[0]
        box = path.parent.parent
        for place in ("cur", "new"):
            with suppress(FileNotFoundError):
                for found in os.scandir(folder / box / place):
                    if found.name.partition(_SPECIAL)[0] == base:
                        yield str(box / place / found.name)


def _entry(name: str, known: os.stat_result) -> tarfile.TarInfo:
    """Whose it is on this host means nothing elsewhere; each mail is for itself, also where two are one on the disk."""
    entry = tarfile.TarInfo(name)
    entry.mtime, entry.mode = known.st_mtime, 0o600
    return entry


def _is_message(name: str) -> bool:
    return Path(name).parent.name in ("new", "cur")


def _is_of(file: Path, octets: int) -> bool:
    try:
        return file.stat().st_size == octets
    except FileNotFoundError:
        return False


class _Hashing(io.RawIOBase):
    """A file that is written once, from its beginning to its end, with its digest."""

    def __init__(self, out: io.BufferedWriter) -> None:
        super().__init__()
        self._out = out
        self.digest = hashlib.sha256()
        self.octets = 0

    def write(self, block: Any) -> int:
        self.digest.update(block)
        self.octets += len(block)
        return self._out.write(block)
