"""Tenants, domains, accounts, credentials, aliases, DKIM keys, and the views for Dovecot."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import SchemaItem

revision = "0001"
down_revision = None


def _id(table: str) -> list[SchemaItem]:
    return [sa.Column("id", sa.Integer, nullable=False), sa.PrimaryKeyConstraint("id", name=f"pk_{table}")]


def _created() -> sa.Column[float]:
    return sa.Column("created_at", sa.Double, nullable=False)


def _of(table: str, other: str, column: str, ondelete: str | None = None) -> list[SchemaItem]:
    return [
        sa.Column(column, sa.Integer, nullable=False),
        sa.ForeignKeyConstraint([column], [f"{other}.id"], name=f"fk_{table}_{column}_{other}", ondelete=ondelete),
    ]


def upgrade() -> None:
    op.create_table(
        "tenants",
        *_id("tenants"),
        sa.Column("name", sa.String, nullable=False),
        _created(),
        sa.UniqueConstraint("name", name="uq_tenants_name"),
    )
    op.create_table(
        "domains",
        *_id("domains"),
        *_of("domains", "tenants", "tenant_id"),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        _created(),
        sa.UniqueConstraint("name", name="uq_domains_name"),
    )
    op.create_index("ix_domains_tenant_id", "domains", ["tenant_id"])
    op.create_table(
        "accounts",
        *_id("accounts"),
        *_of("accounts", "domains", "domain_id"),
        sa.Column("address", sa.String, nullable=False),
        sa.Column("local_part", sa.String, nullable=False),
        sa.Column("display_name", sa.String, nullable=False),
        sa.Column("quota_bytes", sa.BigInteger, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        _created(),
        sa.UniqueConstraint("address", name="uq_accounts_address"),
    )
    op.create_index("ix_accounts_domain_id", "accounts", ["domain_id"])
    op.create_table(
        "credentials",
        *_id("credentials"),
        *_of("credentials", "accounts", "account_id", "CASCADE"),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("label", sa.String, nullable=False),
        sa.Column("hash", sa.String, nullable=False),
        _created(),
        sa.Column("last_used_at", sa.Double),
    )
    op.create_index("ix_credentials_account_id", "credentials", ["account_id"])
    op.create_table(
        "aliases",
        *_id("aliases"),
        *_of("aliases", "domains", "domain_id"),
        sa.Column("address", sa.String, nullable=False),
        _created(),
        sa.UniqueConstraint("address", name="uq_aliases_address"),
    )
    op.create_index("ix_aliases_domain_id", "aliases", ["domain_id"])
    op.create_table(
        "alias_targets",
        *_id("alias_targets"),
        *_of("alias_targets", "aliases", "alias_id", "CASCADE"),
        sa.Column("address", sa.String, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.UniqueConstraint("alias_id", "address", name="uq_alias_targets_alias_id_address"),
    )
    op.create_index("ix_alias_targets_alias_id", "alias_targets", ["alias_id"])
    op.create_index("ix_alias_targets_address", "alias_targets", ["address"])
    op.create_table(
        "dkim_keys",
        *_id("dkim_keys"),
        *_of("dkim_keys", "domains", "domain_id", "CASCADE"),
        sa.Column("selector", sa.String, nullable=False),
        sa.Column("algorithm", sa.String, nullable=False),
        sa.Column("public_key", sa.String, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        _created(),
        sa.UniqueConstraint("domain_id", "selector", name="uq_dkim_keys_domain_id_selector"),
    )
    op.create_index("ix_dkim_keys_domain_id", "dkim_keys", ["domain_id"])
    op.execute(
        """
        CREATE VIEW mail_logins AS
        SELECT a.address AS address, c.hash AS password
          FROM accounts a
          JOIN domains d ON d.id = a.domain_id
          JOIN credentials c ON c.account_id = a.id AND c.kind = 'main'
         WHERE a.active AND d.active
        """
    )
    op.execute(
        """
        CREATE VIEW mail_users AS
        SELECT a.address AS address, d.name AS domain, a.local_part AS local_part,
               '/var/vmail/' || d.name || '/' || a.local_part AS home, a.quota_bytes AS quota_bytes
          FROM accounts a
          JOIN domains d ON d.id = a.domain_id
         WHERE a.active AND d.active
        """
    )


def downgrade() -> None:
    for view in ("mail_users", "mail_logins"):
        op.execute(f"DROP VIEW {view}")
    for table in ("dkim_keys", "alias_targets", "aliases", "credentials", "accounts", "domains", "tenants"):
        op.drop_table(table)
