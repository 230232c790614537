"""SQL written in SQLAlchemy Core, compiled once, run through the driver.

MEASURED: going through Core on every call costs 26–35 % of a step's throughput.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import insert  # with ON CONFLICT, which both databases understand
from sqlalchemy.engine import Dialect
from sqlalchemy.sql.compiler import SQLCompiler

__all__ = ["Prepared", "Spoken", "insert", "metadata"]

metadata = sa.MetaData()
"""Every table of the store, whoever owns it: one schema, one history of migrations."""

_numbers = itertools.count()
_POSTGRES: Dialect = postgresql.base.PGDialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]


class Spoken(NamedTuple):
    """A statement as a database wants it.

    Args:
        name: of the statement, the same for every connection of this process.
        arrange: from parameters by name to parameters by position; raises KeyError where one is missing.
    """

    name: bytes
    text: str
    arrange: Callable[[dict[str, Any]], Sequence[Any]]


class Prepared:
    """One statement and the names of its parameters (`sa.bindparam("run")` or a column's own name).

    Parameters are given by name and bound by position: MEASURED, `sqlite3` takes 8 µs longer to bind
    thirteen by name.
    """

    def __init__(self, clause: sa.ClauseElement) -> None:
        self._clause = clause
        self._of_rows: dict[int, str] = {}

    @cached_property
    def _of_sqlite(self) -> Spoken:
        return self._spoken(sqlite.dialect(paramstyle="qmark"))

    @cached_property
    def sqlite(self) -> str:
        """The text for Python's `sqlite3`, with `?` parameters."""
        return self._of_sqlite.text

    def of_rows(self, count: int) -> str:
        """The text of an INSERT of this many rows, for Python's `sqlite3`."""
        text = self._of_rows.get(count)
        if text is None:
            head, _, values = self.sqlite.partition(" VALUES ")
            row, _, rest = values.partition(")")
            text = self._of_rows[count] = f"{head} VALUES {', '.join([row + ')'] * count)}{rest}"
        return text

    @cached_property
    def arrange(self) -> Callable[[dict[str, Any]], Sequence[Any]]:
        """From parameters by name to those that `sqlite` takes by position."""
        return self._of_sqlite.arrange

    @cached_property
    def postgres(self) -> Spoken:
        """The same for Postgres, with `$1` parameters."""
        return self._spoken(_POSTGRES)

    @cached_property
    def kinds(self) -> Sequence[sa.types.TypeEngine[Any]]:
        """The types of its parameters for Postgres, by position."""
        compiled = self._compiled(_POSTGRES)
        return [compiled.binds[name].type for name in compiled.positiontup or ()]

    def _compiled(self, dialect: Dialect) -> SQLCompiler:
        compiled = self._clause.compile(dialect=dialect)
        assert isinstance(compiled, SQLCompiler)
        return compiled

    def _spoken(self, dialect: Dialect) -> Spoken:
        compiled = self._compiled(dialect)
        names = tuple(compiled.positiontup or ())
        # Values written into the statement itself, which the driver still wants.
        constants = {name: bind.value for name, bind in compiled.binds.items() if not bind.required}
        return Spoken(b"answerable_%d" % next(_numbers), str(compiled), _arranging(names, constants))


def _arranging(names: Sequence[str], constants: dict[str, Any]) -> Callable[[dict[str, Any]], Sequence[Any]]:
    if constants:
        return lambda given: [given[name] if name in given else constants[name] for name in names]
    if len(names) > 1:
        return itemgetter(*names)
    return lambda given: [given[name] for name in names]
