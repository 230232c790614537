"""Postgres through libpq, statement by statement prepared once, many of them to a round trip.

MEASURED: on a local socket a prepared statement through `psycopg.pq` takes 97 µs and 35 µs of our CPU, through
`psycopg`'s cursors 193 and 96, through `asyncpg` 235 and 143. So inside a transaction what is written is only
kept, and goes with the next query or the commit.
"""

import contextlib
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, NoReturn, TypeVar
from urllib.parse import urlsplit

import psycopg
import sqlalchemy as sa
from psycopg import pq
from psycopg.conninfo import make_conninfo
from sqlalchemy.ext.compiler import compiles

from answerable.ledger._drivers._failures import ContendedError, StoreRefused, StoreUnreachable, TakenError
from answerable.ledger._drivers._postgres_columns import InColumns, in_columns
from answerable.ledger._drivers._postgres_values import read_rows, to_bytes
from answerable.ledger._schema import bring_up
from answerable.ledger._sql import Prepared
from answerable.ledger._tables import IDENTITY

__all__ = ["Notified", "PostgresConnection", "PostgresStore"]

T = TypeVar("T")
_Query = tuple[Prepared | InColumns, Sequence[Any]]

_BINARY, _TEXT = 1, 0
_ANSWER_S = 60.0  # without a byte from the server for that long, the connection is taken for dead
_CONNECT_S = 5
_PATIENCE_S = 15.0  # how long a read waits for a server that restarts
_PAUSE_S = 0.1
_CONTENDED = {"40001", "40P01", "55P03"}  # serialization failure, deadlock, lock not available
_GONE = ("08", "57P", "25006", "25P03")  # connection, operator, a standby that only reads, idle in a transaction
_OUR_MISTAKE = "08P01"  # a message that is none: among the connection errors, and no sign of a lost one
_UPGRADE = Prepared(sa.text("SELECT pg_advisory_lock(4272019001)"))
_VERSION = Prepared(sa.text("SELECT version_num FROM alembic_version"))
_HAS_STORE = Prepared(sa.text("SELECT to_regclass('alembic_version') IS NOT NULL"))
_STILL = Prepared(sa.text("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"))
_PEN = Prepared(sa.text("SELECT pg_advisory_xact_lock(4272019002)"))
"""Held by whoever writes receipts, from the first statement to the commit: they come one batch after the other."""
_FETCH = Prepared(sa.text("FETCH 1000 FROM answerable_each"))
_CLOSE = Prepared(sa.text("CLOSE answerable_each"))
_BEGIN, _COMMIT, _ROLLBACK = (Prepared(sa.text(word)) for word in ("BEGIN", "COMMIT", "ROLLBACK"))
_SETTINGS = (
    "SET synchronous_commit = on; SET lock_timeout = '30s'; SET timezone = 'UTC'; "
    "SET default_transaction_isolation = 'read committed'"
)
# SECURITY: a worker that is stopped while it holds the pen must not stop the others for longer than this.
_OF_WRITERS = "; SET idle_in_transaction_session_timeout = '5s'"


@compiles(sa.Integer, "postgresql")
def _whole_number(kind: sa.Integer, compiler: Any, **_: Any) -> str:
    """Whole numbers have 64 bits in SQLite, and receipts count on them."""
    return "BIGINT"


class Notified(NamedTuple):
    """What a `NOTIFY` carried."""

    channel: str
    payload: str


class _Driver(psycopg.Connection[Any]):
    """A reader that is dropped closes its connection, as it would a file."""

    def __del__(self, _: Any = None) -> None:
        self.pgconn.finish()


class PostgresStore:
    """A record in a database that many workers write."""

    is_shared = True

    def __init__(self, url: str) -> None:
        self.url = url
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2] or "local"
        self._address = f"postgresql://{host}{parts.path}"
        self.home = ""

    @property
    def address(self) -> str:
        """The server and the database."""
        return self._address

    def exists(self) -> bool:
        """Whether the database has a record's tables."""
        connection = self.connect(writable=False)
        try:
            return bool(connection.rows(_HAS_STORE)[0][0])
        finally:
            connection.close()

    def stay(self) -> None:
        """From now on no other database is written, should one answer at the same address."""
        connection = self.connect(writable=False)
        try:
            self.home = connection.rows(IDENTITY)[0][0]
        finally:
            connection.close()

    def connect(self, *, writable: bool) -> "PostgresConnection":
        """A connection to the database."""
        return PostgresConnection(self, writable=writable)

    def scrub(self) -> bool:
        """False: a server overwrites what was dropped when it needs the room."""
        return False

    def upgrade(self) -> None:
        """Bring the database to this version's schema; of several that try, one does it."""
        connection = self.connect(writable=True)
        try:
            connection.rows(_UPGRADE)
            found = connection.rows(_VERSION)[0][0] if connection.rows(_HAS_STORE)[0][0] else ""
            bring_up(self.address, found, self._engine)
        finally:
            connection.close()

    def _engine(self) -> sa.Engine:
        return sa.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(self.url))

    def dial(self, *, writable: bool) -> "psycopg.Connection[Any]":
        """A connection of the driver's own; raises StoreUnreachable."""
        how = make_conninfo(
            self.url, application_name="answerable", connect_timeout=_CONNECT_S, tcp_user_timeout=10_000
        )
        try:
            return _Driver.connect(how, autocommit=True, target_session_attrs="read-write")
        except psycopg.Error as error:
            if not writable:  # of several hosts the one that takes writes; a standby, if it is all there is
                with contextlib.suppress(psycopg.Error):
                    return _Driver.connect(how, autocommit=True, target_session_attrs="any")
            raise StoreUnreachable(address=self.address, reason=_plain(str(error))) from None


class PostgresConnection:
    """One connection, made again when it is lost. Used by one thread at a time; its own lock holds them to it."""

    def __init__(self, store: PostgresStore, *, writable: bool) -> None:
        self._store = store
        self._is_writable = writable
        self._lock = threading.RLock()
        self._driver: psycopg.Connection[Any] | None = None
        self._known: set[bytes] = set()
        self._unsent: list[_Query] = []
        self._wanted: list[list[bool]] = []
        """Of what was sent and not answered yet, by part: which answers somebody wants."""
        self.is_in_transaction = False
        self.dialled = 0
        """How often it was made: what a session held (locks, notifications) is gone with the one before."""
        if writable:
            self._patiently(self._dial)  # a gate that starts while its server does
        else:
            self._dial()

    # -- the port -----------------------------------------------------------------------------------------------------

    def rows(self, statement: Prepared, /, **params: Any) -> Sequence[Any]:
        """The rows a query finds.

        Raises:
            StoreUnreachable: the server does not answer; outside a transaction, not for a while.
        """
        return self.ask((statement, statement.postgres.arrange(params)))[0]

    def run(self, statement: Prepared, /, **params: Any) -> object:
        """Run a statement; inside a transaction it is sent with the next query, or the commit."""
        self._keep(statement, statement.postgres.arrange(params))
        return None

    def insert(self, statement: Prepared, rows: Sequence[Sequence[Any]], /) -> None:
        """Insert rows of values, given in the order of the statement's parameters."""
        if not rows:
            return
        at_once = in_columns(statement)
        queries: list[_Query] = [(statement, row) for row in rows] if at_once is None else [(at_once, at_once.of(rows))]
        if self.is_in_transaction:
            self._unsent += queries
        else:
            self.ask(*queries)

    def each(self, statement: Prepared) -> Iterator[Any]:
        """The rows a query finds, some at a time, all of one moment: the transaction's, if it is in one."""
        opening = Prepared(sa.text(f"DECLARE answerable_each CURSOR FOR {statement.postgres.text}"))
        is_inside, self.is_in_transaction = self.is_in_transaction, True
        try:
            self.ask(*([] if is_inside else [(_BEGIN, ())]), (opening, ()))
            while page := self.ask((_FETCH, ()))[0]:
                yield from page
        finally:
            if not is_inside:
                self.roll_back()
            elif self.is_in_transaction:  # else it was lost meanwhile, and the cursor with it
                self.run(_CLOSE)

    @contextlib.contextmanager
    def transaction(self, *, only_reads: bool = False) -> Iterator[None]:
        """What is done in the block is on disk together or not at all, and nobody else writes receipts meanwhile."""
        if only_reads:
            self.is_in_transaction = True
            self.ask((_STILL, ()))
        else:
            self.begin()
        try:
            yield
            self.commit()
        except BaseException:
            self.roll_back()
            raise

    def close(self) -> None:
        """Let go of it."""
        with self._lock:
            self._hang_up()
            self._store = _Closed(self._store.url)

    # -- transactions, step by step -----------------------------------------------------------------------------------

    def begin(self, *reads: _Query) -> list[Sequence[Any]]:
        """Begin a transaction once nobody else writes receipts, and read at once; all in one round trip."""
        self._unsent.clear()
        self.is_in_transaction = True
        return self.ask((_BEGIN, ()), (_PEN, ()), *reads)[2:]

    def commit(self) -> None:
        """Send what is unsent, and commit.

        Raises:
            ContendedError, TakenError: nothing was kept.
            StoreUnreachable: nobody knows.
        """
        self.send_commit()
        self.committed()

    def send_commit(self, and_begin: Sequence[_Query] | None = None) -> None:
        """Send what is unsent, and the commit; `committed` waits for it.

        Args:
            and_begin: in the same round trip begin the next transaction as `begin` does, with these reads. Whoever
                waits for the pen has it in between.

        Raises:
            StoreUnreachable: nobody knows.
        """
        unsent, self._unsent = self._unsent, []
        begins: list[list[_Query]] = [] if and_begin is None else [[(_BEGIN, ()), (_PEN, ()), *and_begin]]
        with self._lock:
            self._send_all([*unsent, (_COMMIT, ())], *begins)

    def committed(self) -> list[Sequence[Any]] | None:
        """Once the commit is on disk, what was read as the next transaction began; None where none did.

        Raises as `commit` does.
        """
        with self._lock:
            _, *begun = self._receive_all()
        self.is_in_transaction = bool(begun) and begun[0] is not None
        return None if not begun or begun[0] is None else begun[0][2:]

    def roll_back(self) -> None:
        """End the transaction without a trace; never fails."""
        self._unsent.clear()
        if not self.is_in_transaction:
            return
        try:
            self.ask((_ROLLBACK, ()))
        except (StoreUnreachable, StoreRefused):
            self._hang_up()
        self.is_in_transaction = False

    def ask(self, *queries: _Query) -> list[Sequence[Any]]:
        """Send what is unsent, then these queries, in one round trip; the rows of each come back."""
        unsent, self._unsent = self._unsent, []

        def exchange() -> list[Sequence[Any]]:
            with self._lock:
                return self._exchange([*unsent, *queries])[len(unsent) :]

        return self._patiently(exchange)

    def _patiently(self, work: Callable[[], T]) -> T:
        """Do it again while the server is away, but not in a transaction: all else is a read, or may be done twice."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return work()
            except StoreUnreachable:
                if self.is_in_transaction or time.monotonic() > deadline or isinstance(self._store, _Closed):
                    raise
                time.sleep(_PAUSE_S)

    def ask_once(self, query: _Query) -> Sequence[Any]:
        """The rows of one query, which is not sent again if its answer is lost."""
        with self._lock:
            return self._exchange([query])[0]

    def _keep(self, statement: Prepared, values: Sequence[Any]) -> None:
        if self.is_in_transaction:
            self._unsent.append((statement, values))
        else:
            self.ask((statement, values))

    # -- notifications ------------------------------------------------------------------------------------------------

    def wait(self, timeout_s: float) -> list[Notified]:
        """What was notified since the last look, or within this time.

        Raises:
            StoreUnreachable: the connection is lost, and with it what was notified meanwhile.
        """
        with self._lock:
            conn = self._dialled().pgconn
            try:
                if not (found := _notified(conn)):
                    readable, _, _ = select.select([conn.socket], [], [], timeout_s)
                    if readable:
                        conn.consume_input()
                        found = _notified(conn)
            except psycopg.OperationalError as error:
                self._lose(_plain(str(error)))
            return found

    # -- the wire -----------------------------------------------------------------------------------------------------

    def _exchange(self, queries: Sequence[_Query]) -> list[Sequence[Any]]:
        self._send_all(queries)
        (answers,) = self._receive_all()
        assert answers is not None
        return answers

    def _send_all(self, *parts: Sequence[_Query]) -> None:
        conn = self._dialled().pgconn
        try:
            self._wanted = [self._send(conn, queries) for queries in parts]
        except (psycopg.OperationalError, OSError) as error:
            self._lose(_plain(str(error)))

    def _receive_all(self) -> list[list[Sequence[Any]] | None]:
        """The rows of each part's queries; None for a part after the first that failed, which raises."""
        conn, wanted = self._dialled().pgconn, self._wanted
        try:
            found = [_answers(conn, len(each)) for each in wanted]
        except (psycopg.OperationalError, OSError) as error:
            self._lose(_plain(str(error)))
        rows: list[list[Sequence[Any]] | None] = []
        for answers, are_wanted in zip(found, wanted, strict=True):
            failed = next((each for each in answers if each.status == pq.ExecStatus.FATAL_ERROR), None)
            if failed is not None and not rows:
                self._refused(failed)
            elif failed is not None:
                self._start_over()
                return [*rows, None]
            rows.append([read_rows(answer) for answer, is_wanted in zip(answers, are_wanted, strict=True) if is_wanted])
        return rows

    def _send(self, conn: "pq.abc.PGconn", queries: Sequence[_Query]) -> list[bool]:
        """Send queries, up to a point of synchronisation; of each answer to come, whether it is a query's."""
        wanted = []
        for statement, values in queries:
            spoken = statement.postgres
            if spoken.name not in self._known:
                conn.send_prepare(spoken.name, spoken.text.encode())
                self._known.add(spoken.name)
                wanted.append(False)
            sent = [to_bytes(value) for value in values]
            formats = [_BINARY if isinstance(value, bytes) else _TEXT for value in values]
            conn.send_query_prepared(spoken.name, sent, formats, _BINARY)
            wanted.append(True)
        conn.pipeline_sync()
        return wanted

    def _refused(self, answer: "pq.abc.PGresult") -> NoReturn:
        state = (answer.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
        reason = (answer.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode("utf-8", "replace")
        if state.startswith(_GONE) and state != _OUR_MISTAKE:
            self._lose(reason)
        self._start_over()
        if state in _CONTENDED:
            raise ContendedError(reason)
        if state == "23505":
            raise TakenError(reason)
        raise StoreRefused(address=self._store.address, state=state, reason=reason)

    def _start_over(self) -> None:
        """Be in no transaction, with no statement prepared: some may not have been, after one that failed."""
        self._known.clear()
        self.is_in_transaction = False
        conn = self._dialled().pgconn
        try:
            for word in (b"ROLLBACK", b"DEALLOCATE ALL"):
                conn.send_query_params(word, None)
            conn.pipeline_sync()
            _answers(conn, 2)
        except (psycopg.OperationalError, OSError):
            self._hang_up()

    def _dialled(self) -> "psycopg.Connection[Any]":
        if self._driver is None:
            self._dial()
        assert self._driver is not None
        return self._driver

    def _dial(self) -> None:
        driver = self._store.dial(writable=self._is_writable)
        try:
            driver.execute(_SETTINGS + (_OF_WRITERS if self._is_writable else ""))
            home = self._store.home
            if home and (driver.execute(IDENTITY.postgres.text.encode()).fetchone() or ("",))[0] != home:
                raise psycopg.OperationalError("another database answers there than the record is in: a copy of it")
        except psycopg.Error as error:
            driver.close()
            raise StoreUnreachable(address=self._store.address, reason=_plain(str(error))) from None
        driver.pgconn.nonblocking = 1
        driver.pgconn.enter_pipeline_mode()
        self._known.clear()
        self._driver = driver
        self.dialled += 1

    def _lose(self, reason: str) -> NoReturn:
        self._hang_up()
        raise StoreUnreachable(address=self._store.address, reason=reason)

    def _hang_up(self) -> None:
        driver, self._driver = self._driver, None
        self._unsent.clear()
        if driver is not None:
            driver.pgconn.finish()


class _Closed(PostgresStore):
    """In place of the store of a connection that was closed."""

    def dial(self, *, writable: bool) -> NoReturn:
        raise StoreUnreachable(address=self.address, reason="this connection was closed")


def _answers(conn: "pq.abc.PGconn", count: int) -> list["pq.abc.PGresult"]:
    """The results of that many queries; sends what is not sent yet."""
    found: list[pq.abc.PGresult] = []
    poll, is_sending = select.poll(), True
    while True:
        if is_sending:
            is_sending = bool(conn.flush())
        if is_sending or conn.is_busy():
            poll.register(conn.socket, select.POLLIN | (select.POLLOUT if is_sending else 0))
            if not poll.poll(_ANSWER_S * 1000):
                raise psycopg.OperationalError(f"no answer within {_ANSWER_S:.0f} s")
            conn.consume_input()
            continue
        result = conn.get_result()
        if result is None:  # between the results of two queries
            if len(found) > count:
                raise psycopg.OperationalError("the server answered more than it was asked")
            continue
        if result.status == pq.ExecStatus.PIPELINE_SYNC:
            return found
        found.append(result)


def _notified(conn: "pq.abc.PGconn") -> list[Notified]:
    found = []
    while notify := conn.notifies():
        found.append(Notified(notify.relname.decode(), notify.extra.decode()))
    return found


def _plain(message: str) -> str:
    return " ".join(message.split())[:300]
