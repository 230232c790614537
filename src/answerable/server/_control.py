"""Writing to the record from outside an agent's run: decisions of people, signals, stops.

One process owns a data directory. The command line writes through that process, over `gate.sock`;
where no gate runs, it takes the free lock and does the same itself. `control` gives the same
`Writes` either way.

On the wire: one JSON object a line. `{"do": "decide", "tenant": "default", "with": {…}}` is answered by
`{"said": …}` or `{"error": {…}}`, the error as receipts write it.
"""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from answerable.core import AnswerableError, RecordedError, error_from_json
from answerable.ledger import DirectoryInUse
from answerable.server._drivers._unix import ask, listen, peer_uid
from answerable.server._errors import GateSilent, NotYours

__all__ = ["SOCKET", "ControlServer", "Writes", "control"]

SOCKET = "gate.sock"
_WRITES = (
    *("decide", "signal", "resolve", "order", "fork", "retry", "roll_back", "schedule"),
    *("stop", "lift", "declassify", "key", "credential", "accept"),
    *("person", "signer", "statement", "autonomy"),
    *("erase", "legal_hold", "retain"),
)
_RETRY_S = 0.05


class Writes(Protocol):
    """What people write. Each answer is on the record before it is given; each comes as JSON."""

    def of(self, tenant: str) -> "Writes":
        """The same, for a tenant."""

    async def decide(
        self,
        *,
        approval: str,
        decision: Literal["approve", "reject"],
        by: str,
        roles: Sequence[str],
        reason: str,
        scope: Literal["action", "run"] = "action",
        arguments: Any = None,
        also: Sequence[str] = (),
        signature: Mapping[str, str] | None = None,
    ) -> Any:
        """Approve or reject a held action, or approve it with other arguments, and further values for the run."""

    async def statement(
        self,
        *,
        approval: str,
        decision: Literal["approve", "reject"],
        key: str,
        reason: str,
        scope: Literal["action", "run"] = "action",
        arguments: Any = None,
    ) -> Any:
        """What a person signs to give this answer with their key."""

    async def person(
        self,
        *,
        do: Literal["set", "remove"],
        name: str,
        roles: Sequence[str] = (),
        reports_to: str = "",
        deputy: str = "",
        deputy_until: str = "",
    ) -> Any:
        """Register a person with their roles and where they stand, or remove them."""

    async def autonomy(
        self,
        *,
        agent: str,
        tier: str,
        environment: str,
        effects: Sequence[str],
        role: str = "",
        by: str,
        reason: str,
        measured: str = "",
        undo: str = "",
        evidence: Sequence[dict[str, str]] = (),
    ) -> Any:
        """Change what an agent may do by itself."""

    async def signer(self, *, do: Literal["add", "revoke"], named: str, public: str = "") -> Any:
        """Register a person's signing key, or revoke the key that is named."""

    async def signal(self, *, run: str, name: str, payload: Any) -> Any:
        """Send a named signal to a run."""

    async def resolve(
        self,
        *,
        run: str,
        step: str,
        happened: bool,
        result: Any,
        by: str,
        reason: str,
        evidence: Sequence[dict[str, str]] = (),
    ) -> Any:
        """Say what became of an effect in doubt."""

    async def order(self, *, do: Literal["pause", "resume", "kill"], run: str, by: str, reason: str) -> Any:
        """Pause, resume or kill a run."""

    async def fork(
        self, *, run: str, at: str, by: str, reason: str, changed: Mapping[str, Any] | None = None, key: str = ""
    ) -> Any:
        """Open a run that shares what had begun before a place in this one."""

    async def retry(self, *, run: str, by: str, reason: str, key: str = "") -> Any:
        """Try a run again from the step that it failed with."""

    async def roll_back(self, *, run: str, to: str = "", by: str, reason: str, partial: bool = False) -> Any:
        """Open a run that undoes what this one did."""

    async def schedule(self, *, do: Literal["pause", "resume"], name: str, by: str, reason: str) -> Any:
        """Pause or resume a schedule."""

    async def erase(self, *, subject: str = "", run: str = "", by: str, reason: str) -> Any:
        """Erase every text that concerns a person, or every text of a run."""

    async def retain(self, *, rules: Sequence[Mapping[str, Any]], rehearsal: bool = False) -> Any:
        """Follow rules of retention now; or say what that would drop."""

    async def legal_hold(
        self, *, do: Literal["hold", "release"], subject: str = "", run: str = "", by: str, reason: str
    ) -> Any:
        """Keep what concerns a person, or of a run, or everything, from being erased; or end that."""

    async def declassify(
        self, *, run: str, labels: Sequence[str] = (), values: Sequence[str] = (), by: str, reason: str
    ) -> Any:
        """Take labels off a run, or vouch for values that its critical arguments may have."""

    async def stop(self, *, scope: str, reason: str, by: str) -> Any:
        """Have nothing more done in a scope: `run:…`, `agent:…`, `tool:…`, `model:…`, `tenant`, `all`."""

    async def lift(self, *, scope: str, reason: str, by: str) -> Any:
        """End a stop."""

    async def key(
        self,
        *,
        do: Literal["new", "revoke"],
        named: str,
        kind: Literal["agent", "person"] = "agent",
        roles: Sequence[str] = (),
    ) -> Any:
        """Issue a key to the agent or person named, or revoke the key (or all of the holder's) that is named."""

    async def credential(
        self, *, do: Literal["set", "remove"], named: str, by: str, secret: str = "", environment: str = ""
    ) -> Any:
        """Keep one of the gate's own credentials in the vault, for its environment, or keep it no more."""

    async def accept(self, *, tool: str, digest: str, by: str, reason: str) -> Any:
        """Take what a tool's server says of it for good."""


class ControlServer:
    """Serves a gate's `Writes` on its socket, to the gate's own user."""

    def __init__(self, directory: Path, writes: Writes) -> None:
        self._path = directory / SOCKET
        self._writes = writes
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "ControlServer":
        self._server = await listen(self._path, self._accept)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        # What was asked is being done: let it be answered.
        await asyncio.gather(*self._talks, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            uid = peer_uid(writer)
            if uid not in (os.geteuid(), 0):
                writer.write(_error_line(NotYours(uid=uid)))
            elif line := await reader.readline():
                writer.write(await self._answer(line) if line.strip() else b"{}\n")
            await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the caller left, or sent a line without end: nobody waits for an answer
        finally:
            self._talks.discard(task)
            writer.close()

    async def _answer(self, line: bytes) -> bytes:
        try:
            asked = json.loads(line)
            if asked["do"] not in _WRITES:
                raise KeyError(asked["do"])
            said = await getattr(self._writes.of(asked.get("tenant", "default")), asked["do"])(**asked["with"])
        except AnswerableError as error:
            return _error_line(error)
        except Exception as error:  # noqa: BLE001 - the socket's edge: the caller is told, the gate goes on
            told = RecordedError(code_then="execution.control", message_then=f"the gate could not do it: {error!r}")
            return _error_line(told)
        return json.dumps({"said": said}).encode() + b"\n"


class _Remote:
    """`Writes` over the socket of the gate that owns the directory."""

    def __init__(self, path: Path, tenant: str) -> None:
        self._path = path
        self._tenant = tenant

    def __getattr__(self, do: str) -> Callable[..., Any]:
        if do not in _WRITES:
            raise AttributeError(do)

        async def write(**arguments: Any) -> Any:
            answer = await ask(self._path, json.dumps({"do": do, "tenant": self._tenant, "with": arguments}).encode())
            if not answer:
                raise GateSilent(socket=str(self._path), asked=do)
            told = json.loads(answer)
            if "error" in told:
                raise error_from_json(told["error"])
            return told["said"]

        return write


@contextlib.asynccontextmanager
async def control(
    directory: Path,
    owned: Callable[[Path], AbstractAsyncContextManager[Writes]],
    *,
    tenant: str = "default",
    patience_s: float = 2.0,
) -> AsyncIterator[Writes]:
    """Write to the record in `directory`, through its gate or as its owner for the moment.

    Args:
        owned: opens the record here, where no gate runs; raises `DirectoryInUse` where one does.
        tenant: who writes.
        patience_s: how long to wait for an owner that does not listen: a gate that starts or ends, or
            another command that writes just now.

    Raises:
        DirectoryInUse: it still does not listen.
    """
    async with contextlib.AsyncExitStack() as stack:
        yield await _reach(directory, owned, stack, asyncio.get_running_loop().time() + patience_s, tenant)


async def _reach(
    directory: Path,
    owned: Callable[[Path], AbstractAsyncContextManager[Writes]],
    stack: contextlib.AsyncExitStack,
    until: float,
    tenant: str,
) -> Writes:
    while True:
        if await ask(directory / SOCKET, b"") is not None:
            return cast(Writes, _Remote(directory / SOCKET, tenant))
        try:
            return (await stack.enter_async_context(owned(directory))).of(tenant)
        except DirectoryInUse:
            if asyncio.get_running_loop().time() > until:
                raise
        await asyncio.sleep(_RETRY_S)


def _error_line(error: AnswerableError) -> bytes:
    return json.dumps({"error": error.to_json()}).encode() + b"\n"
