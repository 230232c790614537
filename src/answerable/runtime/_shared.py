"""State that the runs of one family share: a run, those it delegates, those that it goes on as.

Each value has a version, and every version stays on the record. Who read what before writing is told by
`expect`: a value that somebody else wrote meanwhile is not overwritten. `docs/concepts/runs.md`, "Shared state".
"""

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from answerable.action import Finding, Step
from answerable.core import Action, ActionKind, Description, Effect, Outcome, RunId, stable_json
from answerable.ledger import Draft, Ledger, Phase, Prepared, Reader, Receipt, Tx, metadata
from answerable.runtime._calls import SliceFuture
from answerable.runtime._errors import SharedValueMoved
from answerable.runtime._slice import Slice
from answerable.runtime._typed import to_json

__all__ = ["SharedEffects", "SharedState", "SharedValue", "SharedValuesProjection"]

_LONGEST_KEY = 100
_values = sa.Table(
    "shared_values",
    metadata,
    sa.Column("family", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("written", sa.Text, nullable=False, unique=True),
    sa.Column("receipt", sa.Text, nullable=False),
    sqlite_with_rowid=False,
)
_P = sa.bindparam
_LATEST = Prepared(
    sa.select(_values.c.version, _values.c.receipt)
    .where(_values.c.family == _P("family"), _values.c.key == _P("key"), _values.c.at <= _P("until"))
    .order_by(_values.c.version.desc())
    .limit(1)
)
_WRITTEN = Prepared(sa.select(_values.c.version).where(_values.c.written == _P("written")))
_PUT = Prepared(sa.insert(_values))
_EVER = "9999"


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedValue:
    """A shared value as it was read.

    Args:
        version: 1 for the first that was written.
    """

    value: Any
    version: int


class SharedState:
    """The state that a run shares with its family."""

    __slots__ = ("_branch", "_slice")

    def __init__(self, slice_: Slice, branch: str) -> None:
        self._slice = slice_
        self._branch = branch

    def get(self, key: str) -> Coroutine[Any, Any, SharedValue | None]:
        """The latest value under this key; None where nobody wrote any."""
        return _found(self._call("shared.get", {"key": _checked(key)}))

    def set(self, key: str, value: Any, *, expect: int | None = None) -> Coroutine[Any, Any, int]:
        """Write a value; its version comes back.

        Args:
            key: up to 100 ASCII characters.
            value: anything that JSON can say.
            expect: the version that was read; 0 where there was none. Without it, whatever is there is succeeded.

        Raises:
            SharedValueMoved: there is another version than expected.
        """
        said = {"key": _checked(key), "value": value, **({} if expect is None else {"expect": expect})}
        return _version(self._call("shared.set", said))

    def _call(self, name: str, said: dict[str, Any]) -> SliceFuture:
        return self._slice.call(self._branch, "memory", name, to_json(said))


def _checked(key: str) -> str:
    if not key or len(key) > _LONGEST_KEY or not key.isascii():
        raise ValueError(f"a key has 1 to {_LONGEST_KEY} ASCII characters, not {key!r}")
    return key


async def _found(future: SliceFuture) -> SharedValue | None:
    said = (await future).result
    return None if said is None else SharedValue(value=said["value"], version=said["version"])


async def _version(future: SliceFuture) -> int:
    return int((await future).result["version"])


class SharedValuesProjection:
    """The table `shared_values`: every version there was, and where its text is."""

    @property
    def tables(self) -> Sequence[sa.Table]:
        """The table `shared_values`."""
        return (_values,)

    @property
    def phases(self) -> frozenset[Phase]:
        """A value is written by a receipt of its own."""
        return frozenset({"control"})

    def apply(self, tx: Tx, receipt: Receipt) -> None:
        """Follow one receipt."""
        said = receipt.predicate
        control = said["control"]
        if control.get("do") == "share":
            row = {name: control[name] for name in ("family", "key", "version", "written")}
            tx.run(_PUT, at=said["at"], receipt=said["id"], **row)


class SharedEffects:
    """The effects `shared.get` and `shared.set` of kind `memory`. Need `SharedValuesProjection`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def describe(self, kind: ActionKind, name: str, arguments: bytes) -> Description:
        """Writing honours its key: the receipt that writes is unique by it."""
        target = f"shared:{orjson.loads(arguments)['key']}"
        if name == "shared.get":
            return Description(effect=Effect.READ, target=target)
        return Description(effect=Effect.WRITE, target=target, honours_key=True)

    async def execute(self, step: Step) -> Outcome:
        """Read the latest version, or write the next."""
        said = orjson.loads(step.action.arguments)
        if step.action.name == "shared.get":
            return self._get(step.action.run, said["key"], _EVER)
        return await self._set(step.action, said)

    async def probe(self, step: Step) -> Finding:
        """Whether it was written."""
        rows = self._ledger.reader.rows(_WRITTEN, written=step.action.idempotency_key)
        return _written(rows[0][0]) if rows else "did not happen"

    def _get(self, run: RunId, key: str, until: str) -> Outcome:
        reader = self._ledger.reader
        family = RunId(reader.opened(run)["control"].get("family", run))
        rows = reader.rows(_LATEST, family=family, key=key, until=until)
        if not rows:
            origin = reader.opened(family)["control"].get("origin", {})
            if origin.get("how") == "fork":  # a fork starts with what the other run's family shared at that place
                return self._get(RunId(origin["run"]), key, min(until, origin["at"]))
            return Outcome(status="ok", value=b"null")
        return _read(reader, *rows[0])

    async def _set(self, action: Action, said: dict[str, Any]) -> Outcome:
        family = self._ledger.reader.opened(action.run)["control"].get("family", action.run)
        control = {"do": "share", "family": family, "key": said["key"], "written": action.idempotency_key}
        control.update({"subjects": list(action.subjects)} if action.subjects else {})

        def work(tx: Any) -> Outcome:
            known = tx.rows(_WRITTEN, written=action.idempotency_key)
            if known:
                return _written(known[0][0])
            rows = tx.rows(_LATEST, family=family, key=said["key"], until=_EVER)
            version = rows[0][0] if rows else 0
            if said.get("expect", version) != version:
                moved = SharedValueMoved(key=said["key"], expected=said["expect"], found=version)
                return Outcome.of_error("failed", moved)
            tx.append(
                Draft(
                    tenant=action.tenant,
                    run=action.run,
                    phase="control",
                    agent=action.agent,
                    build=action.build,
                    branch=action.branch,
                    once=f"shared:{action.idempotency_key}",
                    members={"control": {**control, "version": version + 1}, "labels": list(action.labels)},
                    input=to_json(said["value"]),
                    subjects=action.subjects,
                )
            )
            return _written(version + 1)

        return await self._ledger.writer.submit(work)


def _written(version: int) -> Outcome:
    return Outcome(status="ok", value=stable_json({"version": version}))


def _read(reader: Reader, version: int, receipt_id: str) -> Outcome:
    receipt = reader.find(receipt_id)
    assert receipt is not None
    said = receipt.predicate
    value = orjson.loads(reader.text(receipt).input or b"null")
    # SECURITY: what one run was exposed to, reaches the next with the value.
    labels, subjects = tuple(said.get("labels", ())), tuple(said["control"].get("subjects", ()))
    return Outcome(
        status="ok", value=stable_json({"value": value, "version": version}), labels=labels, subjects=subjects
    )
