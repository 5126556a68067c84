"""Prepares the folder of `postane dev`: configuration, certificate, directory, accounts. Twice is as good as once."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

import msgspec
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from postane.admin import account, domain
from postane.admin.site import Site, domain_name
from postane.config.model import Config, Delivery, Dkim, Dns, Listen, Log, Queue, Smtp, Tls
from postane.core.errors import UsageError


@dataclass(frozen=True, slots=True)
class Plan:
    """What the command line asked for. `accounts` are `name:password` or `name@domain:password`."""

    folder: Path
    smtp: str
    submission: str
    domains: tuple[str, ...]
    accounts: tuple[str, ...]
    workers: int
    sign: bool
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
        dkim=Dkim(sign=plan.sign),
        log=Log(level="info"),
    )
    (plan.folder / "run").mkdir(exist_ok=True)
    site = Site(config)
    site.database.upgrade()
    for name in domains:
        domain.add(site, name)
    for text in plan.accounts:
        name, colon, password = text.partition(":")
        if not colon:
            raise UsageError(f"--account {text!r}: write name:password")
        address = name if "@" in name else f"{name}@{domains[0]}"
        # A developer's own mail server: any password will do.
        if not account.add(site, address, password, least=1).changed:
            account.set_password(site, address, password, least=1)
    site.database.close()
    written = yaml.safe_dump(msgspec.to_builtins(config), sort_keys=False, allow_unicode=True)
    (plan.folder / "postane.yml").write_text(written, "utf-8")
    return config


def _certificate(path: Path, host: str) -> Path:
    """A certificate of its own for this folder, with its key in the same file (0600)."""
    if path.exists():
        return path
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
    path.touch(mode=0o600)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path
