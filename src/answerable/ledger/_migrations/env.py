"""Alembic's entry: whatever store it is, one transaction a migration."""

from alembic import context

from answerable.ledger import metadata

engine = context.config.attributes["engine"]

with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
