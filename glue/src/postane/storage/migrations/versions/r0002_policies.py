"""What tenants, domains and accounts want of the filters and the quarantine."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.schema import SchemaItem

revision = "0002"
down_revision = "0001"


def _of(other: str, column: str) -> list[SchemaItem]:
    """One policy each, which goes with what it belongs to."""
    return [
        sa.Column(column, sa.Integer, nullable=True),
        sa.ForeignKeyConstraint([column], [f"{other}.id"], name=f"fk_policies_{column}_{other}", ondelete="CASCADE"),
        sa.UniqueConstraint(column, name=f"uq_policies_{column}"),
    ]


def upgrade() -> None:
    op.create_table(
        "policies",
        sa.Column("id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_policies"),
        *_of("tenants", "tenant_id"),
        *_of("domains", "domain_id"),
        *_of("accounts", "account_id"),
        sa.Column("document", sa.String, nullable=False),
        sa.Column("changed_at", sa.Double, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("policies")
