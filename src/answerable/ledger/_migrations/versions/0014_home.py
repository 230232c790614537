"""Which database a record is at home in, so that a copy put back from a dump is known; whose code a run is left to."""

import sqlalchemy as sa
from alembic import op

revision = "0014_since_0013"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: receipts outlive code. The first gate that finds none says which it is."""
    op.add_column("slices", sa.Column("build", sa.Text(), nullable=True))
    op.create_table(
        "homes",
        sa.Column("store", sa.Text(), nullable=False),
        sa.Column("since", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("store"),
        sqlite_with_rowid=False,
    )
