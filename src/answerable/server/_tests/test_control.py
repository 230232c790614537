"""Writing through a gate's socket and without a gate."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from answerable.core import AnswerableError, RecordedError
from answerable.ledger import DirectoryInUse
from answerable.server import ControlServer, GateSilent, NotYours, Writes, control
from answerable.server._drivers._unix import ask


class Desk:
    """Remembers what it was asked to write."""

    def __init__(self, fails: AnswerableError | None = None) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.fails = fails
        self.began = asyncio.Event()
        self.hold: asyncio.Event | None = None
        self.tenants: list[str] = []

    def of(self, tenant: str) -> "Desk":
        self.tenants.append(tenant)
        return self

    async def _write(self, do: str, **arguments: Any) -> Any:
        self.asked.append((do, arguments))
        self.began.set()
        if self.hold:
            await self.hold.wait()
        if self.fails:
            raise self.fails
        return {"receipt": "rcpt_1"}

    async def decide(
        self, *, approval: str, decision: str, by: str, roles: Sequence[str], reason: str, **more: Any
    ) -> Any:
        return await self._write(
            "decide", approval=approval, decision=decision, by=by, roles=list(roles), reason=reason, **more
        )

    async def statement(self, *, approval: str, decision: str, key: str, reason: str, **more: Any) -> Any:
        return await self._write("statement", approval=approval, decision=decision, key=key, reason=reason, **more)

    async def person(self, *, name: str, **more: Any) -> Any:
        return await self._write("person", name=name)

    async def signer(self, *, do: str, named: str, public: str = "") -> Any:
        return await self._write("signer", named=named, public=public)

    async def signal(self, *, run: str, name: str, payload: Any) -> Any:
        return await self._write("signal", run=run, name=name, payload=payload)

    async def resolve(self, **arguments: Any) -> Any:
        return await self._write("resolve", **arguments)

    async def fork(self, **arguments: Any) -> Any:
        return await self._write("fork", **arguments)

    async def retry(self, **arguments: Any) -> Any:
        return await self._write("retry", **arguments)

    async def roll_back(self, **arguments: Any) -> Any:
        return await self._write("roll_back", **arguments)

    async def schedule(self, **arguments: Any) -> Any:
        return await self._write("schedule", **arguments)

    async def order(self, **arguments: Any) -> Any:
        return await self._write("order", **arguments)

    async def declassify(self, **arguments: Any) -> Any:
        return await self._write("declassify", **arguments)

    async def stop(self, *, scope: str, reason: str, by: str) -> Any:
        return await self._write("stop", scope=scope, reason=reason, by=by)

    async def key(self, *, do: str, named: str, kind: str = "agent", roles: Sequence[str] = ()) -> Any:
        return await self._write("key", named=named, kind=kind, roles=list(roles))

    async def credential(self, *, do: str, named: str, by: str, secret: str = "", environment: str = "") -> Any:
        return await self._write("credential", named=named, by=by)

    async def accept(self, *, tool: str, digest: str, by: str, reason: str) -> Any:
        return await self._write("accept", tool=tool, digest=digest, by=by, reason=reason)

    async def erase(self, **said: Any) -> Any:
        return await self._write("erase", **said)

    async def retain(self, **said: Any) -> Any:
        return await self._write("retain", **said)

    async def legal_hold(self, **said: Any) -> Any:
        return await self._write("legal_hold", **said)

    async def lift(self, *, scope: str, reason: str, by: str) -> Any:
        return await self._write("lift", scope=scope, reason=reason, by=by)

    async def autonomy(self, **said: Any) -> Any:
        return await self._write("autonomy", **said)


def owning(desk: Desk, *, in_use: int = 0) -> Callable[[Path], AbstractAsyncContextManager[Writes]]:
    """Opens the directory for the moment; the first `in_use` times somebody else has it."""
    refusals = iter(range(in_use))

    @asynccontextmanager
    async def own(directory: Path) -> AsyncIterator[Writes]:
        if next(refusals, None) is not None:
            raise DirectoryInUse(directory=str(directory), pid=1)
        yield desk

    return own


def test_where_a_gate_runs_the_write_goes_through_it(tmp_path: Path) -> None:
    gate, here = Desk(), Desk()

    async def story() -> Any:
        async with ControlServer(tmp_path, gate), control(tmp_path, owning(here)) as writes:
            return await writes.decide(
                approval="appr_1", decision="approve", by="dana", roles=["support-lead"], reason="fits the policy"
            )

    assert asyncio.run(story()) == {"receipt": "rcpt_1"}
    assert gate.asked == [
        (
            "decide",
            {
                "approval": "appr_1",
                "decision": "approve",
                "by": "dana",
                "roles": ["support-lead"],
                "reason": "fits the policy",
            },
        )
    ]
    assert not here.asked


def test_where_no_gate_runs_the_directory_is_owned_for_the_moment(tmp_path: Path) -> None:
    here = Desk()

    async def story() -> None:
        async with control(tmp_path, owning(here)) as writes:
            await writes.stop(scope="agent:support", reason="odd refunds", by="dana")

    asyncio.run(story())

    assert here.asked == [("stop", {"scope": "agent:support", "reason": "odd refunds", "by": "dana"})]


def test_a_socket_left_by_a_dead_gate_is_no_gate(tmp_path: Path) -> None:
    here = Desk()

    async def story() -> None:
        server = await asyncio.start_unix_server(lambda r, w: None, path=tmp_path / "gate.sock")
        server.close()
        await server.wait_closed()
        async with control(tmp_path, owning(here)) as writes:
            await writes.lift(scope="all", reason="over", by="dana")

    asyncio.run(story())

    assert here.asked


def test_an_owner_that_is_about_to_leave_is_waited_for(tmp_path: Path) -> None:
    here = Desk()

    async def story() -> None:
        async with control(tmp_path, owning(here, in_use=2)) as writes:
            await writes.signal(run="run_1", name="go", payload=[1])

    asyncio.run(story())

    assert here.asked


def test_an_owner_that_never_listens_is_named(tmp_path: Path) -> None:
    async def story() -> None:
        async with control(tmp_path, owning(Desk(), in_use=1000), patience_s=0):
            pass

    with pytest.raises(DirectoryInUse):
        asyncio.run(story())


def test_an_error_at_the_gate_is_the_callers_error(tmp_path: Path) -> None:
    refusal = NotYours(uid=7)

    async def story() -> None:
        async with ControlServer(tmp_path, Desk(fails=refusal)), control(tmp_path, owning(Desk())) as writes:
            await writes.stop(scope="all", reason="r", by="b")

    with pytest.raises(NotYours) as caught:
        asyncio.run(story())

    assert caught.value.message == refusal.message


def test_what_is_not_a_write_is_refused_and_the_gate_goes_on(tmp_path: Path) -> None:
    gate = Desk()

    async def story() -> list[bytes | None]:
        async with ControlServer(tmp_path, gate):
            lines = [b"no json", b'{"do": "__class__", "with": {}}', b'{"do": "stop", "with": {"nonsense": 1}}', b"[]"]
            return [await ask(tmp_path / "gate.sock", line) for line in lines]

    answers = asyncio.run(story())

    assert all("error" in json.loads(answer or b"") for answer in answers)
    assert not gate.asked


def test_a_gate_that_dies_before_it_answers_leaves_the_question_open(tmp_path: Path) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if not line.strip():
            writer.write(b"{}\n")
            await writer.drain()
        writer.close()

    async def story() -> None:
        server = await asyncio.start_unix_server(hang_up, path=tmp_path / "gate.sock")
        async with server, control(tmp_path, owning(Desk())) as writes:
            await writes.stop(scope="all", reason="r", by="b")

    with pytest.raises(GateSilent):
        asyncio.run(story())


def test_a_gate_that_stops_answers_what_it_was_asked_first(tmp_path: Path) -> None:
    gate = Desk()

    async def story() -> Any:
        gate.hold = asyncio.Event()
        server = await ControlServer(tmp_path, gate).__aenter__()
        async with control(tmp_path, owning(Desk())) as writes:
            asked = asyncio.create_task(writes.stop(scope="all", reason="r", by="b"))
            await gate.began.wait()
            ending = asyncio.create_task(server.__aexit__())
            await asyncio.sleep(0)
            gate.hold.set()
            await ending
            return await asked

    assert asyncio.run(story()) == {"receipt": "rcpt_1"}
    assert not (tmp_path / "gate.sock").exists()


def test_the_socket_is_for_its_user_only_however_deep_the_directory(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    gate = Desk()

    async def story() -> int:
        async with ControlServer(deep, gate), control(deep, owning(Desk())) as writes:
            await writes.stop(scope="all", reason="r", by="b")
            return stat.S_IMODE((deep / "gate.sock").stat().st_mode)

    assert asyncio.run(story()) == 0o600
    assert gate.asked


def test_an_error_of_another_version_is_still_readable(tmp_path: Path) -> None:
    unknown = RecordedError(code_then="refused.of_tomorrow", message_then="not on a Sunday")

    async def story() -> None:
        async with ControlServer(tmp_path, Desk(fails=unknown)), control(tmp_path, owning(Desk())) as writes:
            await writes.stop(scope="all", reason="r", by="b")

    with pytest.raises(RecordedError, match="not on a Sunday"):
        asyncio.run(story())
