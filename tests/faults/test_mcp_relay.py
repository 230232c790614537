"""The gate dies by SIGKILL while it holds MCP clients' calls; the clients ask again, and the books are looked at."""

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from answerable import Reader
from answerable.app import all_projections, open_desk
from answerable.ledger import export_bundle, rebuild, write_trust
from tests.conformance.second_opinion import verify
from tests.faults._books_server import open_books
from tests.integration.mcp_wire import LEGACY, MODERN, PlainClient
from tests.integration.upstream import HANG, ScriptedUpstream, chat_stream, serving

pytestmark = pytest.mark.timeout(180)

BOOKS_SERVER = Path(__file__).with_name("_books_server.py")
REVISIONS = [LEGACY, MODERN]
FILE = """
data = "data"
policy = "policy"
port = 0

[times]
patience = "{patience}"

[agents.desk]
limits = {{ steps = 500, tokens = 1_000_000 }}

[servers.bank]
command = {command}

[tools."bank.pay"]
idempotency = "idempotency_key"

[tools."bank.ship"]
probe = "ship_status"

[tools."bank.ship_status"]
effect = "read"

[tools."bank.look"]
effect = "read"

[providers.first]
dialect = "chat"
base_url = "{upstream}"

[models]
tiny = ["first:tiny"]
"""
HOLD = """
@id("payments-need-a-lead")
@obligation("approve:role=lead,timeout=1d,on_timeout=deny")
permit (principal, action == Action::"bank.pay", resource);
"""


@dataclass
class Place:
    """A folder with a gate's files, the upstream's books, and a key."""

    folder: Path
    key: str

    @contextlib.contextmanager
    def gate(
        self, deadly: str = "", *, patience: str = "1s", upstream: str = "http://127.0.0.1:9/v1"
    ) -> Iterator[tuple[str, subprocess.Popen[str]]]:
        """A gate and its address; `deadly` says at which call its tool server kills it."""
        command = json.dumps([sys.executable, str(BOOKS_SERVER), str(self.folder / "books"), deadly])
        file = FILE.format(command=command, patience=patience, upstream=upstream)
        (self.folder / "answerable.toml").write_text(file)
        process = subprocess.Popen(
            [sys.executable, "-m", "answerable.cli", "serve"], cwd=self.folder, stderr=subprocess.PIPE, text=True
        )
        assert process.stderr is not None
        try:
            with process.stderr as said:
                line = said.readline()
                assert "listening at" in line, line + said.read()
                yield line.split()[-1], process
        finally:
            process.kill()
            process.wait(30)

    def client(self, url: str, revision: str) -> PlainClient:
        return PlainClient(url, self.key, revision)

    def count(self, table: str, **which: str) -> int:
        """How many rows of the upstream's own books are like this."""
        where = " AND ".join(f"{name} = ?" for name in which) or "1"
        with contextlib.closing(open_books(self.folder / "books")) as books:
            found = books.execute(f"SELECT count(*) FROM {table} WHERE {where}", tuple(which.values())).fetchone()
        return int(found[0])

    def phases(self, *phases: str) -> list[dict[str, Any]]:
        with contextlib.closing(Reader.open(self.folder / "data")) as reader:
            return [receipt.predicate for receipt in reader.receipts() if receipt.phase in phases]

    def budget(self, dimension: str) -> tuple[int, int]:
        """What the session has reserved, and spent."""
        with contextlib.closing(sqlite3.connect(self.folder / "data" / "answerable.sqlite3")) as store:
            rows = store.execute("SELECT reserved, spent FROM policy_budgets WHERE dimension = ?", (dimension,))
            ((reserved, spent),) = rows.fetchall()
        return reserved, spent

    def check(self) -> None:
        """The record agrees with itself: tables with receipts, and the session's evidence with the gate's keys."""
        data = self.folder / "data"
        assert [table for table in rebuild(data, all_projections()) if not table.is_equal] == []
        runs = {each["run"] for each in self.phases("intent", "outcome", "held", "denied")}
        assert len(runs) == 1, "all in the session that the first call opened"
        with contextlib.closing(Reader.open(data)) as reader:
            trust = write_trust(reader, self.folder / "trust.toml")
            bundle = export_bundle(reader, sorted(runs), self.folder / "session.zip")
        assert verify(bundle, trust).findings == ()


TOKENS = ("inputTokens", "outputTokens")


def payment(ref: str) -> dict[str, Any]:
    return {"ref": ref, "minor": 100}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    for name in ("authorize", "obligations"):
        (tmp_path / "policy" / name).mkdir(parents=True)
    (tmp_path / "policy" / "authorize" / "all.cedar").write_text('@id("all") permit (principal, action, resource);')

    async def key() -> str:
        async with open_desk(tmp_path / "data") as desk:
            return str((await desk.key(do="new", named="desk"))["key"])

    return Place(tmp_path, asyncio.run(key()))


@pytest.mark.requirement("TL-1", "RT-3")
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    ("tool", "revision"), [("pay", MODERN), ("ship", MODERN), ("mail", MODERN), ("pay", LEGACY), ("mail", LEGACY)]
)
def test_a_client_that_asks_again_after_the_gate_was_killed_never_doubles_a_write(
    place: Place, tool: str, revision: str, moment: str
) -> None:
    with place.gate(f"r1:{moment}") as (url, _):
        client = place.client(url, revision)
        with pytest.raises(httpx.TransportError):
            client.call(f"bank.{tool}", payment("r1"))

    with place.gate() as (url, _):
        client.url = url  # with the protocol session of before, which this process does not know
        answers = [client.call(f"bank.{tool}", payment("r1")) for _ in range(2 if tool == "mail" else 1)]

    if tool == "mail":  # neither key nor probe: nobody but a person can tell, and it is not made again
        assert [answer["_meta"]["answerable/error"]["code"] for answer in answers] == ["execution.outcome_unknown"] * 2
        assert place.count("calls", tool="mail") == 1
        assert place.count("effects") == int(moment == "after")
    else:
        assert [answer.get("isError", False) for answer in answers] == [False]
        assert place.count("effects") == 1
    place.check()


@pytest.mark.requirement("TL-1", "GV-2")
@pytest.mark.parametrize("revision", REVISIONS)
def test_a_held_call_outlives_the_gate_and_is_done_once_when_it_is_approved(place: Place, revision: str) -> None:
    (place.folder / "policy" / "obligations" / "pay.cedar").write_text(HOLD)

    with place.gate(patience="50s") as (url, process), ThreadPoolExecutor() as pool:
        waiting = pool.submit(place.client(url, revision).call, "bank.pay", payment("r1"))
        first = held(place)
        process.kill()
        assert isinstance(waiting.exception(30), httpx.TransportError)
    with place.gate() as (url, _):
        answer = place.client(url, revision).call("bank.pay", payment("r1"))
        assert first in json.dumps(answer)  # told again, not asked for again
    asyncio.run(approve(place, first))  # while no gate runs
    with place.gate("r1:after") as (url, _):
        client = place.client(url, revision)
        with pytest.raises(httpx.TransportError):  # killed in the effect that was approved
            client.call("bank.pay", payment("r1"), **state_of(answer))
    with place.gate() as (url, _):
        client.url = url
        answer = client.call("bank.pay", payment("r1"), **state_of(answer))

    assert not answer.get("isError", False)
    assert place.count("effects") == 1
    assert len(place.phases("held")) == len(place.phases("approval")) == 1
    place.check()


@pytest.mark.requirement("TL-1", "RT-3", "MD-3")
@pytest.mark.parametrize("revision", REVISIONS)
def test_eight_clients_and_four_streams_at_once_survive_the_gates_death_without_a_doubled_write(
    place: Place, revision: str
) -> None:
    async def story() -> None:
        async with asyncio.timeout(150), serving(ScriptedUpstream()) as upstream:
            upstream.answers = [(200, [*chat_stream("Well...")[:2], HANG])]
            with place.gate("r5:after", upstream=upstream.url) as (url, _):
                streams = [asyncio.create_task(stream(url, place.key, n, retry=0)) for n in range(4)]
                while len(upstream.asked) < len(streams):  # noqa: ASYNC110 - the provider has no event for it
                    await asyncio.sleep(0.01)
                clients = [place.client(url, revision) for _ in range(8)]
                lost = await asyncio.gather(
                    *(asyncio.to_thread(write, n, client) for n, client in enumerate(clients)), return_exceptions=True
                )
                broken = await asyncio.gather(*streams, return_exceptions=True)
            assert any(isinstance(each, httpx.TransportError) for each in lost)
            assert all(isinstance(each, httpx.TransportError) for each in broken)

            upstream.answers = [(200, chat_stream("Fine."))]
            with place.gate(upstream=upstream.url) as (url, _):
                for client in clients:
                    client.url = url
                again = [n for n, each in enumerate(lost) if isinstance(each, httpx.TransportError)]
                answers = await asyncio.gather(*(asyncio.to_thread(write, n, clients[n]) for n in again))
                texts = await asyncio.gather(*(stream(url, place.key, n, retry=1) for n in range(4)))
            assert not any(answer.get("isError", False) for answer in answers)
            assert all("Fine." in text for text in texts)

    asyncio.run(story())

    assert place.count("effects") == 8
    assert {place.count("effects", ref=f"r{n}") for n in range(8)} == {1}
    steps = [(each["run"], each["step"]) for each in place.phases("outcome")]
    assert len(steps) == len(set(steps))
    begun = {(each["run"], each["step"]) for each in place.phases("intent")}
    assert begun <= set(steps)  # nothing is left in doubt
    used = sum(sum(each.get("usage", {}).get(name, 0) for name in TOKENS) for each in place.phases("outcome"))
    assert place.budget("tokens") == (0, used)  # and nothing reserved
    place.check()


def write(n: int, client: PlainClient) -> dict[str, Any]:
    return client.call("bank.pay" if n % 2 else "bank.ship", payment(f"r{n}"))


async def stream(url: str, key: str, n: int, *, retry: int) -> str:
    """All that a model says, as an SDK would ask for it the first time or again."""
    asked = {"model": "tiny", "messages": [{"role": "user", "content": f"What of order {n}?"}], "stream": True}
    headers = {"authorization": f"Bearer {key}", "x-stainless-retry-count": str(retry)}
    async with (
        httpx.AsyncClient(trust_env=False, timeout=30) as http,
        http.stream("POST", url + "/v1/chat/completions", json=asked, headers=headers) as answer,
    ):
        return "".join([line async for line in answer.aiter_lines()])


def held(place: Place) -> str:
    """The approval that the record has, once it has one."""
    while not (found := place.phases("held")):
        time.sleep(0.02)
    return str(found[0]["control"]["approval"])


async def approve(place: Place, approval: str) -> None:
    async with open_desk(place.folder / "data") as desk:
        await desk.decide(approval=approval, decision="approve", by="lee", roles=["lead"], reason="fine")


def state_of(answer: dict[str, Any]) -> dict[str, Any]:
    """What a client of 2026-07-28 sends along when it asks again."""
    return {"requestState": answer["requestState"]} if "requestState" in answer else {}
