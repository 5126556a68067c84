"""Alembic's entry: applies revisions over the connection that storage.engine hands over."""

from __future__ import annotations

from alembic import context

from postane.storage.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite changes a table only by copying it
)
with context.begin_transaction():
    context.run_migrations()
