"""People and their signing keys; approvals by several people, with edits and escalation."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _whole(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False)


def upgrade() -> None:
    """Forward only: receipts outlive code."""
    op.create_table(
        "people",
        *map(_text, ("tenant", "person", "roles", "reports_to", "deputy", "deputy_until", "receipt")),
        sa.PrimaryKeyConstraint("tenant", "person"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "signing_keys",
        *map(_text, ("id", "tenant", "person", "kind", "public", "rp", "credential", "since", "receipt")),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "policy_answers",
        *map(_text, ("receipt", "approval", "run", "step", "digest", "person", "decision", "role", "scope", "terms")),
        sa.PrimaryKeyConstraint("receipt"),
        sqlite_with_rowid=False,
    )
    op.create_index("policy_answers_by_action", "policy_answers", ["run", "step", "digest"])
    op.create_table(
        "policy_repeats",
        *map(_text, ("run", "name", "target", "terms", "currency")),
        _whole("amount"),
        _text("receipts"),
        sa.PrimaryKeyConstraint("run", "name", "target", "terms", "currency"),
        sqlite_with_rowid=False,
    )
    _carry_approvals_over()


def _carry_approvals_over() -> None:
    """Approvals of one person, as they were: by one of the role, with the clock denying."""
    with op.batch_alter_table("policy_approvals") as table:
        for name in ("kind", "target", "currency", "terms"):
            table.add_column(sa.Column(name, sa.Text(), nullable=False, server_default=""))
        for name in ("amount", "stage", "answers", "votes"):
            table.add_column(sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    op.execute(
        "UPDATE policy_approvals SET kind = 'tool', answers = CASE WHEN decided != '' THEN 1 ELSE 0 END, "
        "votes = CASE WHEN state = 'approved' THEN 1 ELSE 0 END, "
        "terms = 'approve:role=' || role || ',n=1,distinct' || "
        "CASE WHEN not_initiator THEN ',not=initiator' ELSE '' END || ',timeout=259200s,on_timeout=deny'"
    )
    op.execute(
        "INSERT INTO policy_answers SELECT decided, approval, run, step, digest, '', 'approve', role, '', terms "
        "FROM policy_approvals WHERE state = 'approved'"
    )
    with op.batch_alter_table("policy_approvals") as table:
        table.drop_column("not_initiator")
        for name in ("kind", "target", "currency", "terms", "amount", "stage", "answers", "votes"):
            table.alter_column(name, server_default=None)
