"""Keys of agents and of people in one table."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward only: receipts outlive code."""
    op.create_table(
        "access_keys",
        *(
            sa.Column(name, sa.Text(), nullable=False)
            for name in ("id", "tenant", "kind", "agent", "roles", "digest", "since", "receipt")
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO access_keys SELECT k.id, k.tenant, 'agent', k.agent, '', k.digest, k.since, r.id "
        "FROM agent_keys k JOIN receipts r ON r.once = 'key:' || k.id || '\\:in use'"
    )
    op.execute(
        "INSERT INTO access_keys SELECT id, tenant, 'person', '', roles, digest, since, receipt FROM person_keys"
    )
    op.drop_table("agent_keys")
    op.drop_table("person_keys")
