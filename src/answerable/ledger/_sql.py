"""SQL written in SQLAlchemy Core, compiled once, run through the driver.

MEASURED: going through Core on every call costs 26–35 % of a step's throughput.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.compiler import SQLCompiler

__all__ = ["Prepared", "metadata"]

metadata = sa.MetaData()
"""Every table of the store, whoever owns it: one schema, one history of migrations."""


class Prepared:
    """One statement and the names of its parameters (`sa.bindparam("run")` or a column's own name).

    Parameters are given by name and bound by position: MEASURED, `sqlite3` takes 8 µs longer to bind
    thirteen by name.
    """

    def __init__(self, clause: sa.ClauseElement) -> None:
        self._clause = clause
        self._of_rows: dict[int, str] = {}

    @cached_property
    def _compiled(self) -> SQLCompiler:
        compiled = self._clause.compile(dialect=sqlite.dialect(paramstyle="qmark"))
        assert isinstance(compiled, SQLCompiler)
        return compiled

    @cached_property
    def sqlite(self) -> str:
        """The text for Python's `sqlite3`, with `?` parameters."""
        return str(self._compiled)

    def of_rows(self, count: int) -> str:
        """The text of an INSERT for this many rows at once."""
        text = self._of_rows.get(count)
        if text is None:
            head, _, values = self.sqlite.partition(" VALUES ")
            row, _, rest = values.partition(")")
            text = self._of_rows[count] = f"{head} VALUES {', '.join([row + ')'] * count)}{rest}"
        return text

    @cached_property
    def arrange(self) -> Callable[[dict[str, Any]], Sequence[Any]]:
        """From parameters by name to parameters by position.

        Raises (the function): KeyError: one is missing.
        """
        names = tuple(self._compiled.positiontup or ())
        # Values written into the statement itself, which the driver still wants.
        constants = {name: bind.value for name, bind in self._compiled.binds.items() if not bind.required}
        if constants:
            return lambda given: [given[name] if name in given else constants[name] for name in names]
        if len(names) > 1:
            return itemgetter(*names)
        return lambda given: [given[name] for name in names]
