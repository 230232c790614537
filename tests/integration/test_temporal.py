"""What the engine contract cannot ask: what Temporal itself keeps, and what is done to it from outside."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from temporalio.client import Client, WorkflowExecutionStatus

from answerable import Answerable
from answerable.core import Clock
from answerable.runtime import Engine, Run, Temporal
from answerable.runtime._drivers._temporal import TemporalEngine
from tests.contracts.engine_world import PATIENCE_S, Outside, Worlds, one_step, step_then_signal
from tests.integration.temporal_server import TemporalServer, temporal_server

pytestmark = pytest.mark.requirement("RT-1", "RT-5")
_SWEEP = timedelta(milliseconds=50)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TemporalServer]:
    with temporal_server(tmp_path_factory.mktemp("temporal")) as running:
        yield running


class Fleet(Worlds):
    """Worlds whose engine is a Temporal server."""

    def __init__(self, place: Temporal, *, most_history: int = 2_000) -> None:
        self.place = place
        self.most_history = most_history

    def make(self, leases: Any, clock: Clock) -> Engine:
        return TemporalEngine(leases, clock, self.place, sweep=_SWEEP, most_history=self.most_history)


async def until(is_so: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await is_so():  # noqa: ASYNC110 - what is awaited stands in Temporal
            await asyncio.sleep(0.02)


def test_temporal_is_told_ids_and_times_and_no_word_of_what_a_run_is_about(
    server: TemporalServer, tmp_path: Path
) -> None:
    async def main() -> None:
        fleet = Fleet(Temporal(address=server.address, queue="words"))
        async with fleet.world(tmp_path, Outside(), step_then_signal) as world:
            world.serve()
            run = await world.runs.start("step_then_signal", "keyed_secret_word")
            await world.parked(run)
            await world.runs.signal(run, "go", "another_secret_word")
            await world.result(run)
            client = await Client.connect(server.address)
            handle = client.get_workflow_handle(f"words/{run}")
            await until(lambda: _is_over(handle))
            history = (await handle.fetch_history()).to_json()

            assert run in history
            assert "secret_word" not in history

    asyncio.run(main())


def test_the_history_of_a_run_without_end_begins_anew_and_loses_no_wake(server: TemporalServer, tmp_path: Path) -> None:
    async def counts(run: Run, given: int) -> list[int]:
        return [await run.signal("next") for _ in range(given)]

    async def main() -> None:
        fleet = Fleet(Temporal(address=server.address, queue="long"), most_history=25)
        async with fleet.world(tmp_path, Outside(), counts) as world:
            world.serve()
            run = await world.runs.start("counts", 20)
            for number in range(20):
                await world.parked(run)
                await world.runs.signal(run, "next", number)

            assert await world.result(run) == list(range(20))
            client = await Client.connect(server.address)
            handle = client.get_workflow_handle(f"long/{run}")
            await until(lambda: _is_over(handle))
            assert (await handle.describe()).history_length < 60

    asyncio.run(main())


@pytest.mark.parametrize("how", ["terminate", "cancel"])
def test_a_run_that_somebody_ends_in_temporal_goes_on_because_the_store_says_so(
    server: TemporalServer, tmp_path: Path, how: str
) -> None:
    async def main() -> None:
        outside = Outside()
        fleet = Fleet(Temporal(address=server.address, queue=how))
        async with fleet.world(tmp_path, outside, step_then_signal) as world:
            world.serve()
            run = await world.runs.start("step_then_signal", "write")
            await world.parked(run)
            client = await Client.connect(server.address)
            handle = client.get_workflow_handle(f"{how}/{run}")
            await (handle.terminate() if how == "terminate" else handle.cancel())
            await until(lambda: _is_over(handle))
            await world.runs.signal(run, "go", 1)

            assert await world.result(run) == {"n": 2, "said": 1}
            assert outside.of("write") == [1, 1]

    asyncio.run(main())


def test_a_run_ended_in_temporal_during_its_effect_finishes_that_effect_once(
    server: TemporalServer, tmp_path: Path
) -> None:
    async def main() -> None:
        outside = Outside()
        free = outside.hold("write")
        place = Temporal(address=server.address, queue="mid", heartbeat=timedelta(seconds=1))
        async with Fleet(place).world(tmp_path, outside, one_step) as world:
            world.serve()
            run = await world.runs.start("one_step", "write")
            await outside.arrived["write"].wait()
            client = await Client.connect(server.address)
            await client.get_workflow_handle(f"mid/{run}").terminate()
            free.set()

            assert await world.result(run) == {"n": 1}
            assert outside.of("write") == [1]

    asyncio.run(main())


def test_runs_started_before_temporal_is_there_wait_for_it(tmp_path: Path) -> None:
    async def main() -> None:
        with temporal_server(tmp_path) as server:
            server.kill()
            outside = Outside()
            async with Fleet(Temporal(address=server.address)).world(tmp_path / "data", outside, one_step) as world:
                world.serve()
                run = await world.runs.start("one_step", "write")
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(world.runs.result(run), 0.5)
                server.start()

                assert await world.result(run) == {"n": 1}
                assert outside.of("write") == [1]

    asyncio.run(main())


def test_a_queue_holds_where_temporal_advances_its_runs(server: TemporalServer, tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "authorize.cedar").write_text('@id("all") permit (principal, action, resource);')
    app = Answerable(
        data=tmp_path / "data",
        policy=tmp_path / "policy",
        engine=Temporal(address=server.address, queue="queued"),
    )
    app.queue("agent:clerk", concurrency=2)
    under_way: list[int] = []
    both = asyncio.Event()
    most = 0

    @app.tool(effect="write")
    async def write(number: int) -> int:
        nonlocal most
        under_way.append(number)
        most = max(most, len(under_way))
        if len(under_way) == 2:
            both.set()
        await both.wait()
        await asyncio.sleep(0.02)  # so that others could come in between, if they were let
        under_way.remove(number)
        return number

    @app.agent
    async def clerk(run: Run, given: int) -> int:
        return int(await run.tool("write", number=given))

    async def main() -> None:
        async with asyncio.timeout(PATIENCE_S), app.gate() as gate:
            runs = [await gate.start("clerk", number) for number in range(8)]

            assert [await gate.result(run) for run in runs] == list(range(8))
            assert most == 2

    asyncio.run(main())


@pytest.mark.requirement("OP-1")
def test_a_gate_stops_though_temporal_no_longer_answers_and_keeps_its_outcome(tmp_path: Path) -> None:
    async def main() -> None:
        with temporal_server(tmp_path) as server:
            outside = Outside()
            free = outside.hold("write")
            async with Fleet(Temporal(address=server.address)).world(tmp_path / "data", outside, one_step) as world:
                world.serve()
                run = await world.runs.start("one_step", "write")
                await outside.arrived["write"].wait()
                server.kill()
                free.set()
                async with asyncio.timeout(PATIENCE_S):
                    await world.stop()

                assert "outcome" in world.phases(run)
                assert outside.of("write") == [1]

    asyncio.run(main())


def test_temporal_is_reached_over_tls_with_a_certificate_of_our_own_and_not_without(
    server: TemporalServer, tmp_path: Path
) -> None:
    files = _certificates(tmp_path)

    async def main() -> None:
        async with _tls_in_front(server, files) as address:
            stranger = Temporal(address=address, queue="tls", ca_file=files["ca"])
            known = Temporal(
                address=address,
                queue="tls",
                ca_file=files["ca"],
                certificate_file=files["certificate"],
                key_file=files["key"],
            )
            async with Fleet(stranger).world(tmp_path / "data", Outside(), one_step) as world:
                world.serve()
                run = await world.runs.start("one_step", "write")
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(world.runs.result(run), 1)
            async with Fleet(known).world(tmp_path / "data", Outside(), one_step) as world:
                world.serve()

                assert await world.result(run) == {"n": 1}

    asyncio.run(main())


async def _is_over(handle: Any) -> bool:
    return bool((await handle.describe()).status != WorkflowExecutionStatus.RUNNING)


def _certificates(directory: Path) -> dict[str, Path]:
    """An authority, and one certificate for both sides."""
    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("authority", "localhost")]
    now = datetime.now(UTC)
    made = []
    for number, (subject, public) in enumerate(zip(names, (authority, key), strict=True)):
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(names[0])
        builder = builder.public_key(public.public_key()).serial_number(number + 1)
        builder = builder.not_valid_before(now - timedelta(minutes=5)).not_valid_after(now + timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=number == 0, path_length=None), critical=True)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        made.append(builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    files = {"ca": directory / "ca.pem", "certificate": directory / "us.pem", "key": directory / "us.key"}
    files["ca"].write_bytes(made[0])
    files["certificate"].write_bytes(made[1])
    files["key"].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@contextlib.asynccontextmanager
async def _tls_in_front(server: TemporalServer, files: dict[str, Path]) -> AsyncIterator[str]:
    """What a fleet has before its Temporal: TLS that asks for the client's certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(files["ca"]))
    context.load_cert_chain(files["certificate"], files["key"])
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])

    relaying: set[asyncio.Task[None]] = set()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", server.port)
        ways = {asyncio.create_task(pass_on(reader, inner_writer)), asyncio.create_task(pass_on(inner_reader, writer))}
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for end in (writer, inner_writer):
                end.transport.abort()
            await asyncio.gather(*ways, return_exceptions=True)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        relaying.add(asyncio.create_task(relay(reader, writer)))

    listening = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    try:
        yield f"localhost:{listening.sockets[0].getsockname()[1]}"
    finally:
        listening.close()
        for each in relaying:
            each.cancel()
        await asyncio.gather(*relaying, return_exceptions=True)
