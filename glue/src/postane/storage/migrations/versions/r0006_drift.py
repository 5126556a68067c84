"""What is not right with hosted domains in the DNS, and when each was looked at."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "drift_looks",
        sa.Column("domain_id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("domain_id", name="pk_drift_looks"),
        sa.ForeignKeyConstraint(
            ["domain_id"], ["domains.id"], name="fk_drift_looks_domain_id_domains", ondelete="CASCADE"
        ),
        sa.Column("looked_at", sa.Double, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("stood", sa.String, nullable=False),
        sa.Column("asked", sa.Integer, nullable=False),
    )
    op.create_index("ix_drift_looks_due_at", "drift_looks", ["due_at"])
    op.create_table(
        "drift_findings",
        sa.Column("id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_drift_findings"),
        sa.Column("domain_id", sa.Integer, nullable=True),
        sa.ForeignKeyConstraint(
            ["domain_id"], ["domains.id"], name="fk_drift_findings_domain_id_domains", ondelete="CASCADE"
        ),
        *(sa.Column(name, sa.String, nullable=False) for name in ("kind", "subject", "data")),
        *(sa.Column(name, sa.Integer, nullable=False) for name in ("looks", "seen", "repairs")),
        sa.Column("ours", sa.Boolean, nullable=False),
        *(sa.Column(name, sa.Double, nullable=False) for name in ("first_seen", "last_seen")),
        *(sa.Column(name, sa.Double, nullable=True) for name in ("repaired_at", "ended_at", "told_at")),
    )
    op.create_index("ix_drift_findings_domain_id", "drift_findings", ["domain_id"])


def downgrade() -> None:
    for table in ("drift_findings", "drift_looks"):
        op.drop_table(table)
