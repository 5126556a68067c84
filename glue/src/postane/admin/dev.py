"""Prepares the folder of `postane dev`: configuration, certificate, directory, accounts. Twice is as good as once."""

from __future__ import annotations

import datetime
import os
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import yaml

from postane.admin.names import domain_name
from postane.config.load import parse
from postane.config.model import Config, Delivery, Dkim, Dns, Filters, Listen, Log, Queue, Smtp, Tls
from postane.core.address import Address
from postane.core.errors import ConfigError, PermanentError, ServiceMissingError, UsageError
from postane.directory.passwords import verify_password
from postane.filters.registry import check as good_filters
from postane.storage.durable import write_file
from postane.storage.migrations import HEAD
from postane.storage.place import url_of
from postane.storage.reader import open_reader


@dataclass(frozen=True, slots=True)
class Plan:
    """What the command line asked for. `accounts` are `name:password` or `name@domain:password`."""

    folder: Path
    smtp: str
    submission: str
    domains: tuple[str, ...]
    accounts: tuple[str, ...]
    workers: int
    builtin: bool
    filters_file: Path | None
    nameserver: str | None


def prepare(plan: Plan) -> Config:
    """Everything is in place afterwards. The configuration is written too, so that every other verb works on it by
    `--config DIR/postane.yml`.
    """
    domains = [domain_name(name) for name in plan.domains]
    host = f"mail.{domains[0]}"
    plan.folder.mkdir(parents=True, exist_ok=True)
    certificate = _certificate(plan.folder / "tls" / f"{host}.pem", host)
    config = Config(
        host=host,
        state=str(plan.folder),
        runtime=str(plan.folder / "run"),
        smtp=Smtp(
            workers=plan.workers,
            listen=Listen(smtp=(plan.smtp,), submission=(plan.submission,), submissions=()),
        ),
        tls=Tls(certificate=str(certificate), key=str(certificate)),
        delivery=Delivery(local="maildir", maildir=str(plan.folder / "vmail")),
        # Deliveries that wait together share one round of syncs: the more, the faster (delivery/maildir.py).
        queue=Queue(concurrency_local=500),
        dns=Dns(nameservers=(plan.nameserver,) if plan.nameserver else ()),
        dkim=Dkim(sign=plan.builtin),
        filters=_filters(plan) if plan.builtin else Filters(),
        log=Log(level="info"),
    )
    (plan.folder / "run").mkdir(exist_ok=True)
    accounts = [_account(text, domains[0]) for text in plan.accounts]
    # What this loads and leaves in memory would be the daemon's for all its life.
    _apart(lambda: _fill(config, domains, accounts))
    plain = msgspec.to_builtins(config)
    if plan.filters_file is not None:
        del plain["filters"]
    written = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    file = plan.folder / "postane.yml"
    if plan.filters_file is not None:
        try:
            # On top, so that the lines which an error names are those of the file.
            written = f"{plan.filters_file.read_text('utf-8')}\n{written}"
        except UnicodeDecodeError as error:
            raise ConfigError(f"{plan.filters_file}: the file is not UTF-8") from error
        config = parse(written, str(plan.filters_file), good_filters)
    if not file.exists() or file.read_text("utf-8") != written:
        file.write_text(written, "utf-8")
    return config


def _filters(plan: Plan) -> Filters:
    """Where a name server is given, which is then a test's and answers: those that need no other service.

    Peers come from this machine, and are judged all the same. Elsewhere none: a program that is being written is to
    see its mails arrive as they are, also where no name server can be reached.
    """
    if plan.nameserver is None:
        return Filters()
    return Filters(
        use=("authentication", "attachments", "lists"), options={"authentication": {"trusted_peers": list[str]()}}
    )


def _apart(work: Callable[[], object]) -> None:
    """Does `work` in a process of its own, and raises what it raises."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.close(reading)
            with os.fdopen(writing, "wb") as answer:
                try:
                    work()
                except Exception as error:
                    pickle.dump(error, answer)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        said = answer.read()
    _, status = os.waitpid(pid, 0)
    if said:
        raise pickle.loads(said)  # noqa: S301 - our own child's
    if status:
        raise PermanentError("the directory could not be made")


def _account(text: str, first_domain: str) -> tuple[str, str]:
    """Address and password. Raises UsageError."""
    name, colon, password = text.partition(":")
    if not colon:
        raise UsageError(f"--account {text!r}: write name:password")
    return name if "@" in name else f"{name}@{first_domain}", password


def _fill(config: Config, domains: Sequence[str], accounts: Sequence[tuple[str, str]]) -> None:
    if not _stands(config, domains, accounts):
        _make(config, domains, accounts)


def _stands(config: Config, domains: Sequence[str], accounts: Sequence[tuple[str, str]]) -> bool:
    """True if the directory has all of it: asked first, since what makes it takes long to load."""
    reader = open_reader(url_of(config))
    try:
        with reader.snapshot() as ask:
            if ask("SELECT version_num FROM alembic_version") != [(HEAD,)]:
                return False
            if not all(ask("SELECT 1 FROM domains WHERE name = :name", name=name) for name in domains):
                return False
            return all(
                any(verify_password(password, hashed) for (hashed,) in ask(_MAIN, address=Address.parse(address).key))
                for address, password in accounts
            )
    except ServiceMissingError:
        return False
    finally:
        reader.close()


_MAIN = """
    SELECT credentials.hash FROM credentials JOIN accounts ON accounts.id = credentials.account_id
    WHERE accounts.address = :address AND credentials.kind = 'main'"""


def _make(config: Config, domains: Sequence[str], accounts: Sequence[tuple[str, str]]) -> None:
    # Here, not above: all of SQLAlchemy, which a start over a folder that stands has no use for.
    from postane.admin import account, domain
    from postane.admin.site import Site

    site = Site(config)
    site.database.upgrade()
    for name in domains:
        domain.add(site, name)
    for address, password in accounts:
        # A developer's own mail server: any password will do.
        if not account.add(site, address, password, least=1).changed:
            account.set_password(site, address, password, least=1)
    site.database.close()


def _certificate(path: Path, host: str) -> Path:
    """A certificate of its own for this folder, with its key in the same file (0600)."""
    if path.exists():
        return path
    # Here, not above: made once for a folder.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName(host), x509.DNSName("localhost")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # Half a certificate would keep the service from starting ever again.
    write_file(path, private + certificate.public_bytes(serialization.Encoding.PEM))
    return path
