"""Rules stored by the API with their history, and alerts told to the break-glass receiver."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stored_rules",
        sa.Column("tenant", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("draft", sa.Text(), nullable=False),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("author", sa.String(128), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("updated_ms", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "rule_versions",
        sa.Column("tenant", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("version", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("verb", sa.String(32), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("draft", sa.Text(), nullable=False),
        sa.Column("author", sa.String(128), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "told_directly",
        sa.Column("tenant", sa.String(128), primary_key=True),
        sa.Column("fingerprint", sa.String(16), primary_key=True),
        sa.Column("starts_ms", sa.BigInteger(), nullable=False),
        sa.Column("told_ms", sa.BigInteger(), nullable=False),
        sa.Column("receiver", sa.String(128), nullable=False),
        sa.Column("alert", sa.Text(), nullable=False),
        sa.Column("reconciled_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index("ix_told_directly_reconciled_ms", "told_directly", ["reconciled_ms"])


def downgrade() -> None:
    op.drop_table("told_directly")
    op.drop_table("rule_versions")
    op.drop_table("stored_rules")
