"""Mailboxes with rows of their own, reports of other servers, and what a move and a leave need to know."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_LOGINS = """
    CREATE VIEW mail_logins AS
    SELECT a.address AS address, c.hash AS password
      FROM accounts a
      JOIN domains d ON d.id = a.domain_id
      JOIN credentials c ON c.account_id = a.id AND c.kind = 'main'
     WHERE a.active AND d.active AND d.state NOT IN ('claimed', 'suspended', 'removed'){}
    """
_USERS = """
    CREATE VIEW mail_users AS
    SELECT a.address AS address, d.name AS domain, a.local_part AS local_part,
           '/var/vmail/' || {} AS home, a.quota_bytes AS quota_bytes
      FROM accounts a
      JOIN domains d ON d.id = a.domain_id{}
     WHERE a.active AND d.active AND d.state NOT IN ('claimed', 'removed')
    """


def upgrade() -> None:
    op.execute("DROP VIEW mail_users")
    op.execute("DROP VIEW mail_logins")
    op.create_table(
        "mailboxes",
        sa.Column("id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_mailboxes"),
        sa.Column("address", sa.String, nullable=False),
        sa.Column("tenant", sa.String, nullable=False, server_default=""),
        sa.Column("folder", sa.String, nullable=False),
        sa.UniqueConstraint("folder", name="uq_mailboxes_folder"),
        sa.Column("made_at", sa.Double, nullable=False),
        sa.Column("left_at", sa.Double, nullable=True),
        sa.Column("removed_at", sa.Double, nullable=True),
    )
    op.create_index("ix_mailboxes_address", "mailboxes", ["address"])
    op.add_column("accounts", sa.Column("mailbox_id", sa.Integer, nullable=True))
    op.create_index("ix_accounts_mailbox_id", "accounts", ["mailbox_id"], unique=True)
    # Those that are there keep their folders. What was removed before may have left one too, which nobody has noted:
    # from now on no new mailbox gets a folder by its name alone.
    op.execute(
        """INSERT INTO mailboxes (address, tenant, folder, made_at)
           SELECT a.address, t.name, d.name || '/' || a.local_part, a.created_at FROM accounts a
             JOIN domains d ON d.id = a.domain_id JOIN tenants t ON t.id = d.tenant_id"""
    )
    op.execute("UPDATE accounts SET mailbox_id = (SELECT id FROM mailboxes m WHERE m.address = accounts.address)")
    op.execute(
        "INSERT INTO mailboxes (address, tenant, folder, made_at)"
        " SELECT '', '', '', 0 WHERE EXISTS (SELECT 1 FROM domains)"
    )
    # A suspended domain that leaves is still suspended.
    op.execute(_LOGINS.format(" AND d.came_from NOT LIKE '%suspended%'"))
    op.execute(_USERS.format("m.folder", "\n      JOIN mailboxes m ON m.id = a.mailbox_id"))
    op.add_column("domains", sa.Column("exported_at", sa.Double, nullable=True))
    op.create_table(
        "elsewhere",
        sa.Column("id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_elsewhere"),
        sa.Column("domain_id", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["domain_id"], ["domains.id"], name="fk_elsewhere_domain_id_domains", ondelete="CASCADE"
        ),
        sa.Column("address", sa.String, nullable=False),
        sa.UniqueConstraint("address", name="uq_elsewhere_address"),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_index("ix_elsewhere_domain_id", "elsewhere", ["domain_id"])
    op.create_table(
        "reports",
        sa.Column("id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_reports"),
        sa.Column("domain_id", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(["domain_id"], ["domains.id"], name="fk_reports_domain_id_domains", ondelete="CASCADE"),
        *(sa.Column(name, sa.String, nullable=False) for name in ("kind", "reporter", "report_id")),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("begins", "ends", "taken_at")),
        sa.UniqueConstraint("domain_id", "kind", "reporter", "report_id", name="uq_reports_domain_id_kind"),
    )
    op.create_index("ix_reports_begins", "reports", ["begins"])
    op.create_table(
        "report_sources",
        sa.Column("id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_report_sources"),
        sa.Column("report_id", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["report_id"], ["reports.id"], name="fk_report_sources_report_id_reports", ondelete="CASCADE"
        ),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("passed", sa.BigInteger, nullable=False),
        sa.Column("failed", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_report_sources_report_id", "report_sources", ["report_id"])


def downgrade() -> None:
    op.execute("DROP VIEW mail_users")
    op.execute("DROP VIEW mail_logins")
    op.execute(_LOGINS.format(""))
    for table in ("report_sources", "reports", "elsewhere"):
        op.drop_table(table)
    op.drop_column("domains", "exported_at")
    op.drop_index("ix_accounts_mailbox_id", "accounts")
    op.drop_column("accounts", "mailbox_id")
    op.drop_table("mailboxes")
    op.execute(_USERS.format("d.name || '/' || a.local_part", ""))
