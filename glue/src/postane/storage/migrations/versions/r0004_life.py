"""Where domains stand in their lives, who else claims them, and who did what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

# Domains from before were added by the operator and take their mail here.
_WORDS = {
    "state": "cutover",
    "proof": "operator",
    "token": "",
    "came_from": "",
    "refusal": "",
    "old_mx": "{}",
    "holds": "",
}
_TIMES = ("checked_at", "check_again_at")

_LOGINS = """
    CREATE VIEW mail_logins AS
    SELECT a.address AS address, c.hash AS password
      FROM accounts a
      JOIN domains d ON d.id = a.domain_id
      JOIN credentials c ON c.account_id = a.id AND c.kind = 'main'
     WHERE a.active AND d.active{}
    """
_USERS = """
    CREATE VIEW mail_users AS
    SELECT a.address AS address, d.name AS domain, a.local_part AS local_part,
           '/var/vmail/' || d.name || '/' || a.local_part AS home, a.quota_bytes AS quota_bytes
      FROM accounts a
      JOIN domains d ON d.id = a.domain_id
     WHERE a.active AND d.active{}
    """


def upgrade() -> None:
    _drop_views()
    for name, default in _WORDS.items():
        op.add_column("domains", sa.Column(name, sa.String, nullable=False, server_default=default))
    op.add_column("domains", sa.Column("state_since", sa.Double, nullable=False, server_default="0"))
    for name in _TIMES:
        op.add_column("domains", sa.Column(name, sa.Double, nullable=True))
    op.execute("UPDATE domains SET state_since = created_at")
    op.create_table(
        "domain_claims",
        sa.Column("id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_domain_claims"),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("tenant_id", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name="fk_domain_claims_tenant_id_tenants", ondelete="CASCADE"
        ),
        sa.Column("token", sa.String, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.UniqueConstraint("name", "tenant_id", name="uq_domain_claims_name_tenant_id"),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sa.Column("at", sa.Double, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in ("who", "verb", "scope", "detail")),
    )
    for column in ("at", "scope"):
        op.create_index(f"ix_audit_{column}", "audit", [column])
    # Nobody logs in at a domain that is unproven or suspended; what is on the way to a suspended one still arrives.
    op.execute(_LOGINS.format(" AND d.state NOT IN ('claimed', 'suspended', 'removed')"))
    op.execute(_USERS.format(" AND d.state NOT IN ('claimed', 'removed')"))


def downgrade() -> None:
    _drop_views()
    for table in ("audit", "domain_claims"):
        op.drop_table(table)
    for name in (*_TIMES, "state_since", *_WORDS):
        op.drop_column("domains", name)
    op.execute(_LOGINS.format(""))
    op.execute(_USERS.format(""))


def _drop_views() -> None:
    for view in ("mail_users", "mail_logins"):
        op.execute(f"DROP VIEW {view}")
