"""How Alembic reaches the database: by the connection `gateway.database` hands over."""

from __future__ import annotations

from alembic import context
from sqlmodel import SQLModel

from schemas import tables  # noqa: F401  (declares the tables)

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=SQLModel.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
