"""Labels of what lasts: files and records that a run under a label wrote to."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: receipts outlive code."""
    op.create_table(
        "policy_kept_labels",
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "target"),
        sqlite_with_rowid=False,
    )
