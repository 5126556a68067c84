"""The directory's tables. One schema for SQLite and PostgreSQL; times are seconds since the epoch.

Addresses are stored in their normal form (core.address.Address.key), domains as A-labels, so that equality in SQL is
equality of mailboxes. The views `mail_logins` and `mail_users` are the contract with Dovecot: they show active
accounts of active domains that are proved, whatever the tables behind them become.
"""

from __future__ import annotations

import time

from sqlalchemy import BigInteger, ForeignKey, MetaData, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

# Names for all constraints: a migration can only change what it can name, on SQLite as on PostgreSQL.
_NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=_NAMES)


def _now() -> float:
    return time.time()


class Tenant(Base):
    """Whose domains: a customer of the provider. Every row of mail belongs to one."""

    __tablename__ = "tenants"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[float] = mapped_column(default=_now)


class Domain(Base):
    """A hosted domain. `dns_target`: one of dns.targets, "" for the default; `kinds` of record that Postane keeps, by
    spaces, "" for those of the configuration; `settings` is JSON (see admin.domain_facts).

    `state` is one of domains.life, `came_from` the one that a suspended or leaving domain goes back to, `refusal`
    ("4xx" or "5xx") what a suspended one says; `proof` says by what it was proved ("" not yet), `token` is waited for.
    `old_mx` is JSON (domains.life.OldMx). `holds` is what held it at the last look, `check_again_at` when to look next.
    `exported_at`: when its data was taken last.
    """

    __tablename__ = "domains"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenants.id"), index=True)
    name: Mapped[str] = mapped_column(unique=True)
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[float] = mapped_column(default=_now)
    dns_target: Mapped[str] = mapped_column(default="", server_default="")
    kinds: Mapped[str] = mapped_column(default="", server_default="")
    settings: Mapped[str] = mapped_column(default="{}", server_default="{}")
    state: Mapped[str] = mapped_column(default="cutover", server_default="cutover")
    state_since: Mapped[float] = mapped_column(default=_now, server_default="0")
    proof: Mapped[str] = mapped_column(default="operator", server_default="operator")
    token: Mapped[str] = mapped_column(default="", server_default="")
    came_from: Mapped[str] = mapped_column(default="", server_default="")
    refusal: Mapped[str] = mapped_column(default="", server_default="")
    old_mx: Mapped[str] = mapped_column(default="{}", server_default="{}")
    holds: Mapped[str] = mapped_column(default="", server_default="")
    checked_at: Mapped[float | None]
    check_again_at: Mapped[float | None]
    exported_at: Mapped[float | None]

    tenant: Mapped[Tenant] = relationship(lazy="joined")


class Claim(Base):
    """Another tenant's claim to a domain that one has already: it is theirs who proves it."""

    __tablename__ = "domain_claims"
    __table_args__ = (UniqueConstraint("name", "tenant_id", name="uq_domain_claims_name_tenant_id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"))
    token: Mapped[str]
    created_at: Mapped[float] = mapped_column(default=_now)


class Mailbox(Base):
    """Where an account's mail lies: `folder` below the root of all mailboxes, never used twice.

    The row stays when its account goes, however that goes: mail is kept until `removed_at`. `address`, `tenant` and
    `left_at` (when the account went) are for the operator. One whose address is "" stands for all that a directory from
    before mailboxes had rows may have left on the disk.
    """

    __tablename__ = "mailboxes"

    id: Mapped[int] = mapped_column(primary_key=True)
    address: Mapped[str] = mapped_column(index=True)
    tenant: Mapped[str] = mapped_column(default="", server_default="")
    folder: Mapped[str] = mapped_column(unique=True)
    made_at: Mapped[float] = mapped_column(default=_now)
    left_at: Mapped[float | None]
    removed_at: Mapped[float | None]


class Account(Base):
    """A person's, with a mailbox (`mailbox_id`, of which no other has the same). `quota_bytes` 0: no quota.

    No foreign key: a mailbox's row is never deleted, and SQLite could only add one by copying the table.
    """

    __tablename__ = "accounts"

    id: Mapped[int] = mapped_column(primary_key=True)
    domain_id: Mapped[int] = mapped_column(ForeignKey("domains.id"), index=True)
    mailbox_id: Mapped[int | None] = mapped_column(index=True, unique=True)
    address: Mapped[str] = mapped_column(unique=True)
    local_part: Mapped[str]
    display_name: Mapped[str] = mapped_column(default="")
    quota_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[float] = mapped_column(default=_now)

    domain: Mapped[Domain] = relationship(lazy="joined")


class Credential(Base):
    """A password hash. `kind` "main" is the account's own (one each), "app" one for a single program."""

    __tablename__ = "credentials"

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str] = mapped_column(default="main")
    label: Mapped[str] = mapped_column(default="")
    hash: Mapped[str]
    created_at: Mapped[float] = mapped_column(default=_now)
    last_used_at: Mapped[float | None]


class Alias(Base):
    """An address that stands for others; "*@domain" catches all that no account or alias has."""

    __tablename__ = "aliases"

    id: Mapped[int] = mapped_column(primary_key=True)
    domain_id: Mapped[int] = mapped_column(ForeignKey("domains.id"), index=True)
    address: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[float] = mapped_column(default=_now)

    targets: Mapped[list[AliasTarget]] = relationship(
        order_by="AliasTarget.position", cascade="all, delete-orphan", lazy="selectin"
    )


class Elsewhere(Base):
    """An address whose mailbox is still at the host that its domain comes from: its mail goes there."""

    __tablename__ = "elsewhere"

    id: Mapped[int] = mapped_column(primary_key=True)
    domain_id: Mapped[int] = mapped_column(ForeignKey("domains.id", ondelete="CASCADE"), index=True)
    address: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[float] = mapped_column(default=_now)


class AliasTarget(Base):
    __tablename__ = "alias_targets"
    __table_args__ = (UniqueConstraint("alias_id", "address", name="uq_alias_targets_alias_id_address"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    alias_id: Mapped[int] = mapped_column(ForeignKey("aliases.id", ondelete="CASCADE"), index=True)
    address: Mapped[str] = mapped_column(index=True)
    position: Mapped[int] = mapped_column(default=0)


class DkimKey(Base):
    """A signing key; the private half lies in `<state>/keys/dkim/<domain>/<selector>.pem`."""

    __tablename__ = "dkim_keys"
    __table_args__ = (UniqueConstraint("domain_id", "selector", name="uq_dkim_keys_domain_id_selector"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    domain_id: Mapped[int] = mapped_column(ForeignKey("domains.id", ondelete="CASCADE"), index=True)
    selector: Mapped[str]
    algorithm: Mapped[str]
    public_key: Mapped[str]
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[float] = mapped_column(default=_now)


class Policy(Base):
    """What a tenant, a domain or an account wants of the filters and the quarantine; exactly one of them is named.

    `document` is JSON: the keys of the configuration's sections that it changes (see admin.policy).
    """

    __tablename__ = "policies"

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int | None] = mapped_column(ForeignKey("tenants.id", ondelete="CASCADE"), unique=True)
    domain_id: Mapped[int | None] = mapped_column(ForeignKey("domains.id", ondelete="CASCADE"), unique=True)
    account_id: Mapped[int | None] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), unique=True)
    document: Mapped[str]
    changed_at: Mapped[float] = mapped_column(default=_now, onupdate=_now)


class OwnedRecord(Base):
    """A DNS record that Postane made, or put words into (`words`, by spaces): only that is changed or removed.

    The row is written before the record is: after a crash there may be a row without a record, never the reverse.
    """

    __tablename__ = "dns_owned"

    id: Mapped[int] = mapped_column(primary_key=True)
    domain_id: Mapped[int] = mapped_column(ForeignKey("domains.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]
    name: Mapped[str]
    type: Mapped[str]
    data: Mapped[str]
    ttl: Mapped[int]
    words: Mapped[str] = mapped_column(default="")
    target: Mapped[str]
    made_at: Mapped[float] = mapped_column(default=_now)


class DriftLook(Base):
    """When a domain was last compared with the world, and when it is to be again; `asked` questions to servers then.

    `stood`: what has been seen as it should be (domains.drift), one a line: drift is what was right once.
    """

    __tablename__ = "drift_looks"

    domain_id: Mapped[int] = mapped_column(ForeignKey("domains.id", ondelete="CASCADE"), primary_key=True)
    looked_at: Mapped[float]
    due_at: Mapped[float] = mapped_column(index=True)
    stood: Mapped[str] = mapped_column(default="")
    asked: Mapped[int] = mapped_column(default=0)


class DriftFinding(Base):
    """What is, or was, not right with a domain, or with this host (`domain_id` None): see domains.drift_cases.Case.

    The row stays for a while after it is over (`ended_at`). `told_at`: when the operator was last told of it by mail.
    """

    __tablename__ = "drift_findings"

    id: Mapped[int] = mapped_column(primary_key=True)
    domain_id: Mapped[int | None] = mapped_column(ForeignKey("domains.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]
    subject: Mapped[str]
    data: Mapped[str]
    looks: Mapped[int]
    seen: Mapped[int]
    repairs: Mapped[int] = mapped_column(default=0)
    ours: Mapped[bool] = mapped_column(default=False)
    first_seen: Mapped[float]
    last_seen: Mapped[float]
    repaired_at: Mapped[float | None]
    ended_at: Mapped[float | None]
    told_at: Mapped[float | None]


class Audit(Base):
    """What was done: `who` by the name on the host, `scope` what it was done to ("domain:a.test"), `detail` JSON."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[float] = mapped_column(default=_now, index=True)
    who: Mapped[str]
    verb: Mapped[str]
    scope: Mapped[str] = mapped_column(index=True)
    detail: Mapped[str] = mapped_column(default="{}")


class Report(Base):
    """One report that another server has sent about a domain: `kind` "dmarc" or "tls", `begins` and `ends` its span.

    A report that comes twice counts once: `reporter` (who made it) and `report_id` are what tells.
    """

    __tablename__ = "reports"
    __table_args__ = (UniqueConstraint("domain_id", "kind", "reporter", "report_id", name="uq_reports_domain_id_kind"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    domain_id: Mapped[int] = mapped_column(ForeignKey("domains.id", ondelete="CASCADE"))
    kind: Mapped[str]
    reporter: Mapped[str]
    report_id: Mapped[str]
    begins: Mapped[float] = mapped_column(index=True)
    ends: Mapped[float]
    taken_at: Mapped[float] = mapped_column(default=_now)


class ReportSource(Base):
    """What a report says of one source: a client's address (dmarc), or a policy (tls); messages, or sessions."""

    __tablename__ = "report_sources"

    id: Mapped[int] = mapped_column(primary_key=True)
    report_id: Mapped[int] = mapped_column(ForeignKey("reports.id", ondelete="CASCADE"), index=True)
    source: Mapped[str]
    passed: Mapped[int] = mapped_column(BigInteger)
    failed: Mapped[int] = mapped_column(BigInteger)
