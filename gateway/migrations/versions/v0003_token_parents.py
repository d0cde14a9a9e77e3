"""Which token a token was made with: revoked with it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("tokens") as table:
        table.add_column(sa.Column("parent", sa.String(32), nullable=False, server_default=""))
    op.create_index("ix_tokens_parent", "tokens", ["parent"])


def downgrade() -> None:
    op.drop_index("ix_tokens_parent", "tokens")
    with op.batch_alter_table("tokens") as table:
        table.drop_column("parent")
