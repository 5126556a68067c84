"""Which DNS records Postane made, and what a domain wants of its own in the DNS."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_COLUMNS = {"dns_target": "", "kinds": "", "settings": "{}"}


def upgrade() -> None:
    for name, default in _COLUMNS.items():
        op.add_column("domains", sa.Column(name, sa.String, nullable=False, server_default=default))
    op.create_table(
        "dns_owned",
        sa.Column("id", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_dns_owned"),
        sa.Column("domain_id", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["domain_id"], ["domains.id"], name="fk_dns_owned_domain_id_domains", ondelete="CASCADE"
        ),
        *(sa.Column(name, sa.String, nullable=False) for name in ("kind", "name", "type", "data")),
        sa.Column("ttl", sa.Integer, nullable=False),
        sa.Column("words", sa.String, nullable=False),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("made_at", sa.Double, nullable=False),
    )
    op.create_index("ix_dns_owned_domain_id", "dns_owned", ["domain_id"])


def downgrade() -> None:
    op.drop_table("dns_owned")
    for name in _COLUMNS:
        op.drop_column("domains", name)
