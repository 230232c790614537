"""A gate's log, watched by processes of others: witnesses, a time-stamping authority, a monitor."""

import asyncio
import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from answerable import Reader
from answerable.cli._main import run as command
from answerable.core import TenantId
from answerable.ledger import Draft, Ledger, control_run, log_folder, read_head
from tests.conformance.second_opinion import verify
from tests.integration.stamping import Authority, serving_authority

pytestmark = pytest.mark.timeout(120)

CLI = [sys.executable, "-m", "answerable.cli"]
TENANT = TenantId("default")


def run(folder: Path, *words: str, code: int = 0) -> str:
    """What a command prints. In this process: most are short, and the interpreter's start is not."""
    out = io.StringIO()
    sys.modules.pop("agent", None)  # each command is a process of its own
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        ended = command(words)
    assert ended == code, f"{words}\n{out.getvalue()}"
    return out.getvalue().strip()


async def said(folder: Path, *words: str, code: int = 0) -> str:
    """The same, while servers of this process go on."""
    return await asyncio.to_thread(run, folder, *words, code=code)


@contextlib.asynccontextmanager
async def process(folder: Path, *words: str, end: signal.Signals = signal.SIGTERM) -> AsyncIterator[str]:
    """A server's address while the block runs."""
    child = await asyncio.create_subprocess_exec(*CLI, *words, cwd=folder, stderr=asyncio.subprocess.PIPE)
    try:
        assert child.stderr is not None
        said = []
        async for line in child.stderr:  # warnings may come first
            said.append(line.decode())
            if "listening at" in said[-1]:
                break
        else:
            raise AssertionError("".join(said))
        yield said[-1].split()[-1]
    finally:
        if child.returncode is None:
            child.send_signal(end)
        await child.wait()


async def until(what: Callable[[], bool]) -> None:
    """Wait for what other processes write."""
    async with asyncio.timeout(45):
        while not what():  # noqa: ASYNC110 - files of other processes have no event
            await asyncio.sleep(0.05)


def logs(folder: Path) -> dict[str, str]:
    """Verifier keys by tenant."""
    return {each["tenant"]: each["vkey"] for each in json.loads(run(folder, "log", "show", "--json"))}


def grow(data: Path, count: int) -> None:
    """Put receipts on the record."""

    async def main() -> None:
        ledger = Ledger.open(data)
        await ledger.start()
        for number in range(count):
            members = {"control": {"name": f"x{number}"}}
            draft = Draft(tenant=TENANT, run=control_run(TENANT), phase="signal", agent="a", members=members)
            await ledger.append(draft)
        await ledger.close()

    asyncio.run(main())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with an application that has run once."""
    run(tmp_path, "init")
    run(tmp_path, "run", "agent:app", "clerk", "--input", '{"book":"b-7","reader":"r-2"}')
    return tmp_path


@pytest.mark.requirement("EV-2", "EV-3")
def test_a_log_that_witnesses_an_authority_and_a_monitor_sign_verifies_as_witnessed_and_monitored(folder: Path) -> None:
    data = folder / ".answerable" / "data"
    authority = Authority(folder / "tsa")
    witnesses = [run(folder, "witness", "init", f"witness.example/{name}", "--dir", name) for name in ("ada", "bo")]
    monitor = run(folder, "monitor", "init", "monitor.example/cy")
    for name in ("ada", "bo"):
        for vkey in logs(folder).values():
            run(folder, "witness", "add-log", vkey, "--dir", name)
    watchers = [
        "--witness",
        witnesses[0],
        "--witness",
        witnesses[1],
        "--monitor",
        monitor,
        "--tsa-root",
        "tsa/root.pem",
    ]
    for tenant in ("default", "_system"):
        run(folder, "evidence", "trust", f"{tenant}.toml", "--tenant", tenant, *watchers)
    secret = run(folder, "log", "secret")

    async def story() -> None:
        async with contextlib.AsyncExitStack() as stack:
            enter = stack.enter_async_context
            urls = [
                await enter(process(folder, "witness", "serve", "--dir", name, "--port", "0")) for name in ("ada", "bo")
            ]
            stamps = await enter(serving_authority(authority))
            place = await enter(_free_address())
            lines = [
                f"witness {name} {vkey} {url}" for name, vkey, url in zip(("ada", "bo"), witnesses, urls, strict=True)
            ]
            (data / "witnesses.policy").write_text("\n".join([*lines, "group both all ada bo", "quorum both", ""]))
            (data / "log.toml").write_text(
                f'witnesses = "witnesses.policy"\nmonitors = ["{monitor} {place}"]\ntimestamps = ["{stamps}"]\n'
                "publish_every_s = 0.1\ntimestamp_every_s = 0.1\n"
            )
            gate = await enter(process(folder, "serve", "agent:app", "--port", "0"))
            for tenant in ("_system", "default"):
                trust = ("--trust", f"{tenant}.toml", "--secret", secret, "--witness", urls[0])
                await said(folder, "monitor", "add-log", f"{gate}/log/{tenant}", *trust)
            port = place.rpartition(":")[2]
            await enter(process(folder, "monitor", "run", "--every", "0.2", "--port", port))

            def is_signed_by_all() -> bool:
                path = log_folder(data, TENANT).best(1)
                return path.count("\n— ") == 4 and bool(log_folder(data, TENANT).stamps(read_head(path).size))

            await until(is_signed_by_all)

    asyncio.run(story())
    only = json.loads(run(folder, "runs", "list", "--json"))[0]["run"]
    run(folder, "evidence", "export", only, "--out", "run.zip")
    report = verify(folder / "run.zip", folder / "default.toml")
    assert (report.verdict, report.assurance) == ("verified", "witnessed+monitored")
    assert {check.name for check in report.checks if check.status == "passed"} >= {"witnesses", "timestamps"}
    with zipfile.ZipFile(folder / "run.zip") as bundle:
        bundle.extractall(folder / "bundle")
    shown = subprocess.run(
        ["bash", "VERIFY.sh", "--trust", "../default.toml"], cwd=folder / "bundle", capture_output=True, text=True
    )
    assert shown.returncode == 0, shown.stdout
    assert "2 of 2 witnesses cosigned" in shown.stdout
    assert "stamped" in shown.stdout


@contextlib.asynccontextmanager
async def _free_address() -> AsyncIterator[str]:
    """An address where nobody listens yet."""
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@pytest.mark.requirement("EV-2")
def test_a_monitor_finds_a_history_that_was_rewritten_with_all_of_the_operators_keys(folder: Path) -> None:
    data = folder / ".answerable" / "data"
    before = folder / "before"
    shutil.copytree(data, before)
    grow(data, 5)
    run(folder, "evidence", "trust", "trust.toml")
    run(folder, "monitor", "init", "monitor.example/cy")
    run(folder, "log", "export", "shown", "--receipts")

    async def story() -> None:
        async with _files(folder / "shown") as url:
            await said(folder, "monitor", "add-log", url, "--trust", "trust.toml")
            await said(folder, "monitor", "run", "--once")
            # With disk and both keys the operator makes another history, longer than the one that was shown.
            await asyncio.to_thread(grow_in_thread, before, 9)
            shutil.rmtree(folder / "shown")
            await said(folder, "log", "export", "shown", "--receipts", "--data", "before")
            told = json.loads(await said(folder, "monitor", "run", "--once", "--json", code=1))
            assert [alert["kind"] for alert in told[0]["new"]] == ["rewritten"]
            assert told[0]["new"][0]["evidence"].count("\n— ") == 2
            # Found once, it stays found: the old history shown again is not signed for.
            shutil.rmtree(folder / "shown")
            await said(folder, "log", "export", "shown", "--receipts")
            assert not json.loads(await said(folder, "monitor", "run", "--once", "--json", code=1))[0]["clean"]

    asyncio.run(story())


def grow_in_thread(data: Path, count: int) -> None:
    grow(data, count)


@pytest.mark.requirement("EV-2")
def test_a_witness_refuses_the_rewritten_history_and_the_gate_says_so(folder: Path) -> None:
    data = folder / ".answerable" / "data"
    shutil.copytree(data, folder / "before")
    vkey = run(folder, "witness", "init", "witness.example/ada")
    run(folder, "witness", "add-log", logs(folder)["default"])
    run(folder, "witness", "add-log", logs(folder)["_system"])
    grow(data, 5)

    async def story() -> None:
        async with process(folder, "witness", "serve", "--port", "0", end=signal.SIGKILL) as url:
            for place in (data, folder / "before"):
                (place / "witnesses.policy").write_text(f"witness ada {vkey} {url}\nquorum ada\n")
                (place / "log.toml").write_text('witnesses = "witnesses.policy"\n')
            await said(folder, "log", "publish")
            behind = await said(folder, "log", "publish", "--data", "before", code=1)
            assert "this record is behind it" in behind
            (folder / "before" / "standstill.json").unlink()  # by an operator who would rather not be told
            await asyncio.to_thread(grow_in_thread, folder / "before", 9)
            rewritten = await said(folder, "log", "publish", "--data", "before", code=1)
            assert "it saw another history of this log" in rewritten
            assert "it saw another history" in await said(folder, "doctor", "--data", "before")

    asyncio.run(story())
    assert "CONFLICT" in run(folder, "witness", "show", code=1)


@pytest.mark.requirement("EV-2", "OP-1")
def test_a_gate_whose_witness_has_seen_more_writes_nothing_until_it_is_said_that_entries_are_lost(folder: Path) -> None:
    data, older = folder / ".answerable" / "data", folder / "older"
    shutil.copytree(data, older)
    vkey = run(folder, "witness", "init", "witness.example/ada")
    for each in logs(folder).values():
        run(folder, "witness", "add-log", each)
    grow(data, 5)
    say = ("--as", "person:dana", "--reason", "the disk came from a snapshot", "--data", "older")
    serve = (*CLI, "serve", "agent:app", "--port", "0", "--data", "older")

    async def story() -> None:
        async with process(folder, "witness", "serve", "--port", "0") as url:
            for place in (data, older):
                (place / "witnesses.policy").write_text(f"witness ada {vkey} {url}\nquorum ada\n")
                (place / "log.toml").write_text('witnesses = "witnesses.policy"\npublish_every_s = 0.1\n')
            await said(folder, "log", "publish")
            before = (older / "answerable.sqlite3").read_bytes()

            refused = await asyncio.to_thread(
                subprocess.run, serve, cwd=folder, capture_output=True, text=True, timeout=60, check=False
            )
            assert refused.returncode == 4
            assert "the witness `witness.example/ada` has seen 10 entries, and it holds 5" in refused.stderr
            assert (older / "answerable.sqlite3").read_bytes() == before
            assert "has seen 10" in await said(folder, "kill", "all", *say, code=4)
            assert "has seen 10" in await said(folder, "log", "continue", "--nothing-lost", *say, code=4)

            lines = (await said(folder, "log", "continue", "--after-gap", *say)).splitlines()
            assert all(".2/" in line for line in lines)
            for each in json.loads(await said(folder, "log", "show", "--data", "older", "--json")):
                await said(folder, "witness", "add-log", each["vkey"])
            assert "cosigned by ada" in await said(folder, "log", "publish", "--data", "older")
            async with process(folder, *serve[len(CLI) :]):
                pass

    asyncio.run(story())


@contextlib.asynccontextmanager
async def _files(folder: Path) -> AsyncIterator[str]:
    """Any web server: Python's own, over a folder."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert child.stdout is not None
        line = (await child.stdout.readline()).decode()
        yield line.split("(")[1].split(")")[0].rstrip("/")
    finally:
        child.kill()
        await child.wait()


def test_what_is_served_is_what_is_exported(folder: Path) -> None:
    import httpx

    run(folder, "log", "export", "static")
    secret = run(folder, "log", "secret")

    async def story() -> None:
        async with process(folder, "serve", "agent:app", "--port", "0") as gate, httpx.AsyncClient() as client:
            served = log_folder(folder / ".answerable" / "data", TENANT).path
            await until(lambda: (served / "checkpoint").exists())
            static = folder / "static"
            paths = [
                str(path.relative_to(static)) for path in static.rglob("*") if path.is_file() and path.name != ".lock"
            ]
            for path in paths:
                found = await client.get(f"{gate}/log/default/{path}")
                assert found.content == (static / path).read_bytes()
                kind = "text/plain; charset=utf-8" if path == "checkpoint" else "application/octet-stream"
                assert found.headers["content-type"] == kind
            width = read_head((static / "checkpoint").read_text()).size
            assert (await client.get(f"{gate}/log/default/receipts/000.p/{width}")).status_code == 401
            with_secret = {"authorization": f"Bearer {secret}"}
            lines = (await client.get(f"{gate}/log/default/receipts/000.p/{width}", headers=with_secret)).content
            with contextlib.closing(Reader.open(folder / ".answerable" / "data")) as reader:
                entries = reader.entries(TENANT)
            assert [hashlib.sha256(line).digest() for line in lines.splitlines()] == entries
            up = "%2e%2e"
            hidden = [
                f"{up}/checkpoint",
                *(f"default/tile/0/{up}{slash}{up}{slash}checkpoint" for slash in ("/", "%2f")),
            ]
            for path in (*hidden, "default/tile/64/000", "default/tile/0/1", "nobody/checkpoint"):
                assert (await client.get(f"{gate}/log/{path}")).status_code == 404

    asyncio.run(story())
    assert os.stat(folder / ".answerable" / "data" / "keys" / "monitor.secret").st_mode & 0o077 == 0
