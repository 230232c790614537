"""Erasures and legal holds; which texts concern people."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def upgrade() -> None:
    """Forward only: receipts outlive code."""
    op.create_table(
        "erasures",
        *map(_text, ("tenant", "name", "erasure", "at", "receipt")),
        sa.PrimaryKeyConstraint("tenant", "name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "legal_holds",
        *map(_text, ("tenant", "scope", "reason", "by", "since", "receipt")),
        sa.PrimaryKeyConstraint("tenant", "scope"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "retained",
        *map(_text, ("tenant", "agent", "kind", "until")),
        sa.PrimaryKeyConstraint("tenant", "agent", "kind"),
        sqlite_with_rowid=False,
    )
    op.create_index("runs_by_end", "runs", ["tenant", "ended"])
    of_people = sa.text("subjects >= 'party_' AND subjects < 'party`'")
    op.create_index(
        "receipts_of_people", "receipts", ["tenant", "subjects"], sqlite_where=of_people, postgresql_where=of_people
    )
