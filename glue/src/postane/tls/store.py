"""Certificates on the disk, in `<state>/tls/domains/`: no reader meets half a file, or a key of another certificate.

    .kept/<domain>/<version>/fullchain.pem, privkey.pem     written once, never changed
    .kept/<domain>/current -> <version>                     switched in one step
    .kept/<domain>/state.json                               what was tried, and what came of it
    <service name> -> .kept/<domain>/current                one for each name of the certificate
    .changed                                                written after each change: for those that have to be told

The version before the present one stays for those who are just reading it.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from postane.core.errors import PermanentError, TemporaryError
from postane.storage.durable import sync_folder, write_file
from postane.storage.ownership import hand_over
from postane.tls.layout import CHAIN, FOLDER, KEY

_KEPT, _CURRENT, _CHANGED, _LOCK = ".kept", "current", ".changed", ".lock"
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Held:
    """A certificate in place. Times are seconds since the epoch; `pem` is the leaf alone."""

    names: tuple[str, ...]
    not_before: float
    not_after: float
    issuer: str
    serial: str
    folder: Path
    pem: bytes


class Store:
    """`state` is the state folder. Raises OSError where the disk does not do as it is told."""

    def __init__(self, state: Path) -> None:
        self.folder = state / FOLDER
        self._state = state

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One run at a time. Raises TemporaryError while another one is at work."""
        self._make(self.folder, 0o750)
        fd = os.open(self.folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            hand_over(self.folder / _LOCK, self.folder)
            try:
                flock(fd, LOCK_EX | LOCK_NB)
            except BlockingIOError as error:
                raise TemporaryError(
                    "certificates are being renewed by another process", hint="wait for it, or look at its log"
                ) from error
            yield
        finally:
            os.close(fd)

    def domains(self) -> list[str]:
        """Of which something is kept."""
        with suppress(FileNotFoundError):
            return sorted(one.name for one in (self.folder / _KEPT).iterdir() if not one.name.startswith("."))
        return []

    def read(self, domain: str) -> Held | None:
        """The certificate in place, None if there is none that can be used."""
        folder = (self._kept(domain) / _CURRENT).resolve()
        try:
            return held_at(folder)
        except (OSError, ValueError):
            return None

    def state(self, domain: str) -> bytes:
        """b"" where nothing is kept."""
        with suppress(FileNotFoundError):
            return (self._kept(domain) / "state.json").read_bytes()
        return b""

    def save_state(self, domain: str, octets: bytes) -> None:
        self._make(self._kept(domain), 0o750)
        write_file(self._kept(domain) / "state.json", octets, self.folder)

    def put(self, domain: str, names: Sequence[str], chain: bytes, key: bytes) -> Held:
        """Puts a certificate in place of the present one. Raises PermanentError, and changes nothing, for a key and a
        chain that do not belong together.
        """
        kept = self._kept(domain)
        self._make(kept, 0o750)
        for old in kept.glob(".new-*"):  # of a run that was killed
            shutil.rmtree(old, ignore_errors=True)
        work = kept / f".new-{secrets.token_hex(4)}"
        self._make(work, 0o750)
        try:
            for name, octets, mode in ((KEY, key, 0o640), (CHAIN, chain, 0o644)):
                fd = os.open(work / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with os.fdopen(fd, "wb") as file:
                    file.write(octets)
                    file.flush()
                    os.fsync(file.fileno())
                self._own(work / name, mode)
            try:
                held_at(work)
            except ValueError as error:
                raise PermanentError(f"{domain}: the authority's answer cannot be used: {error}") from error
            sync_folder(work)
            version = kept / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{work.name.removeprefix('.new-')}"
            work.rename(version)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        sync_folder(kept)
        before = (kept / _CURRENT).resolve().name
        self._link(kept / _CURRENT, version.name)
        self._point({domain: names}, self._links(domain))
        for old in kept.iterdir():
            if old.is_dir() and not old.is_symlink() and old.name not in (version.name, before):
                shutil.rmtree(old, ignore_errors=True)
        self._tell()
        return held_at(version)

    def settle(self, domains: Mapping[str, Sequence[str]]) -> None:
        """Ends what a run that was killed had begun: to each of these certificates lead just these names."""
        if self._point(domains, self._links()):
            self._tell()

    def forget(self, domain: str) -> bool:
        """Removes all of a domain; False if there was nothing."""
        kept = self._kept(domain)
        there = kept.exists()
        self._point({domain: ()}, self._links(domain))
        shutil.rmtree(kept, ignore_errors=True)
        if there:
            self._tell()
        return there

    def places(self) -> dict[str, Path]:
        """The service names, each with the folder of the version that it leads to."""
        found = {}
        with suppress(FileNotFoundError):
            for one in self.folder.iterdir():
                if one.is_symlink() and (one / CHAIN).exists():
                    found[one.name] = one.resolve()
        return found

    def _links(self, domain: str = "") -> dict[str, str]:
        """Where names lead: all, or those in a domain. Service names lie in their domain."""
        found = {}
        with suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            for one in entries:
                if one.name[0] != "." and one.name.endswith(domain) and one.is_symlink():
                    found[one.name] = os.readlink(one)  # noqa: PTH115 (of thousands)
        return found

    def _point(self, domains: Mapping[str, Sequence[str]], links: Mapping[str, str]) -> bool:
        changed = False
        wanted = {_target(domain): frozenset(names) for domain, names in domains.items()}
        for target, names in wanted.items():
            for name in sorted(names):
                if links.get(_checked(name)) != target:
                    self._link(self.folder / name, target)
                    changed = True
        for name, target in links.items():
            if name not in wanted.get(target, (name,)):
                (self.folder / name).unlink(missing_ok=True)
                changed = True
        return changed

    def _link(self, place: Path, target: str) -> None:
        new = place.with_name(f".new-{place.name}")
        new.unlink(missing_ok=True)
        new.symlink_to(target)
        hand_over(new, self.folder)
        new.rename(place)
        sync_folder(place.parent)

    def _tell(self) -> None:
        write_file(self.folder / _CHANGED, f"{time.time():.6f}\n".encode(), self.folder)

    def _kept(self, domain: str) -> Path:
        return self.folder / _KEPT / _checked(domain)

    def _make(self, folder: Path, mode: int) -> None:
        missing = [one for one in (folder, *folder.parents) if not one.exists()]
        for one in reversed(missing):
            one.mkdir(mode=mode, exist_ok=True)
            self._own(one, mode if one.is_relative_to(self.folder) else 0o755)

    def _own(self, path: Path, mode: int) -> None:
        """The group is that of the folder: those who may read the keys. On a host the folder's mode hands it down
        (setgid), since the unit may neither change owners nor set that bit: so it is not touched where it is right.
        """
        now = path.stat().st_mode
        if now & 0o777 != mode:
            path.chmod(mode | (now & stat.S_ISGID))
        like = self.folder if self.folder.exists() and path != self.folder else self._state
        hand_over(path, like)


def held_at(folder: Path) -> Held:
    """The certificate in a folder of one version. Raises OSError, ValueError for what is none, or none of this key."""
    chain = (folder / CHAIN).read_bytes()
    certificate = x509.load_pem_x509_certificates(chain)[0]
    key = load_pem_private_key((folder / KEY).read_bytes(), None)
    if key.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    ) != certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):
        raise ValueError("the certificate is not of this key")
    return held_of(certificate, folder)


def held_of(certificate: x509.Certificate, folder: Path) -> Held:
    """What a certificate says of itself."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        dns = tuple(sorted(name.lower() for name in names.get_values_for_type(x509.DNSName)))
    except x509.ExtensionNotFound:
        dns = ()
    common = certificate.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return Held(
        dns,
        certificate.not_valid_before_utc.timestamp(),
        certificate.not_valid_after_utc.timestamp(),
        str(common[0].value) if common else certificate.issuer.rfc4514_string(),
        f"{certificate.serial_number:x}",
        folder,
        certificate.public_bytes(Encoding.PEM),
    )


def _target(domain: str) -> str:
    return f"{_KEPT}/{domain}/{_CURRENT}"


def _checked(name: str) -> str:
    """A domain name in the form that is safe as a name in a folder. Raises PermanentError."""
    if not _NAME.fullmatch(name) or ".." in name or "." not in name:
        raise PermanentError(f"{name!r} is no domain name")
    return name
