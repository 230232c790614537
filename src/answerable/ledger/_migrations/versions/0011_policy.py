"""Approvals are found by what they were for; tiers of autonomy."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: receipts outlive code."""
    op.create_index("policy_approvals_by_target", "policy_approvals", ["tenant", "name", "target"])
    names = ("tenant", "agent", "environment", "effect", "tier", "role", "receipt")
    op.create_table(
        "policy_autonomy",
        *(sa.Column(name, sa.Text(), nullable=False) for name in names),
        sa.PrimaryKeyConstraint("tenant", "agent", "environment", "effect"),
        sqlite_with_rowid=False,
    )
