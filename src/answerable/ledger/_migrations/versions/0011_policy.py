"""Approvals are found by what they were for."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: receipts outlive code."""
    op.create_index("policy_approvals_by_target", "policy_approvals", ["tenant", "name", "target"])
