"""Queues: whose turn it is, and what limits how many are advanced at once."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: receipts outlive code. Runs of before count as begun when they are next advanced."""
    with op.batch_alter_table("slices") as table:
        table.add_column(sa.Column("agent", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("priority", sa.Integer(), nullable=False, server_default="5"))
        table.add_column(sa.Column("opened", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("begun", sa.Text()))
    op.execute(
        "UPDATE slices SET agent = (SELECT agent FROM runs WHERE runs.run = slices.run), "
        "opened = (SELECT started FROM runs WHERE runs.run = slices.run) "
        "WHERE run IN (SELECT run FROM runs)"
    )
    with op.batch_alter_table("slices") as table:
        for name in ("agent", "priority", "opened"):
            table.alter_column(name, server_default=None)
    op.create_index("slices_in_line", "slices", ["state", "tenant", "agent", "priority", "opened"])
    op.create_index("slices_by_begin", "slices", ["tenant", "begun"])
    op.create_table(
        "queues",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        *(sa.Column(name, sa.Integer()) for name in ("concurrency", "rate", "period_s", "waiting", "priority")),
        sa.Column("since", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "scope"),
        sqlite_with_rowid=False,
    )
