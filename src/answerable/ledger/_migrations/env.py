"""Alembic's entry: one SQLite file, one transaction a migration."""

from sqlite3 import Connection as Driver
from typing import Any

from alembic import context
from sqlalchemy import Connection, create_engine, event

from answerable.ledger import metadata

config = context.config
engine = create_engine(f"sqlite:///{config.attributes['path']}")


@event.listens_for(engine, "connect")
def _explicit_transactions(driver: Driver, record: Any) -> None:
    driver.isolation_level = None  # the driver would otherwise commit before DDL


@event.listens_for(engine, "begin")
def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
