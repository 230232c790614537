"""The gate dies by SIGKILL while it holds an MCP client's call; the client asks again, and the books are looked at."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.faults._books_server import open_books

GATE = Path(__file__).with_name("_mcp_gate.py")
REVISION = "2026-07-28"
_META = "io.modelcontextprotocol/"


@contextlib.contextmanager
def gate(directory: Path, *, key: str = "", deadly: str = "") -> Iterator[tuple[str, str]]:
    policy = directory / "policy"
    (policy / "authorize").mkdir(parents=True, exist_ok=True)
    (policy / "obligations").mkdir(exist_ok=True)
    (policy / "authorize" / "all.cedar").write_text('@id("all") permit (principal, action, resource);')
    command = [sys.executable, str(GATE), str(directory / "data"), str(policy), str(directory / "books"), deadly]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "KEY": key}, text=True)
    assert process.stdout is not None
    try:
        with process.stdout as said:
            url, _, found = said.readline().strip().partition(" ")
            yield url, found
    finally:
        process.kill()
        process.wait(30)


def call(url: str, key: str, tool: str) -> dict[str, Any]:
    """One call of a stateless client, as it goes over the wire."""
    meta = {
        _META + "protocolVersion": REVISION,
        _META + "clientInfo": {"name": "retrying", "version": "1"},
        _META + "clientCapabilities": {},
    }
    params = {"name": tool, "arguments": {"ref": "r1", "minor": 100}, "_meta": meta}
    headers = {
        "authorization": f"Bearer {key}",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": REVISION,
        "mcp-method": "tools/call",
        "mcp-name": tool,
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    with httpx.Client(trust_env=False, timeout=30) as http:
        answer = http.post(url + "/mcp", json=body, headers=headers)
    result: dict[str, Any] = answer.json()["result"]
    return result


@pytest.mark.requirement("TL-1")
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("tool", ["pay", "ship", "mail"])
def test_a_client_that_asks_again_after_the_gate_was_killed_never_doubles_a_write(
    tmp_path: Path, tool: str, moment: str
) -> None:
    with gate(tmp_path, deadly=f"r1:{moment}") as (url, key), pytest.raises(httpx.TransportError):
        call(url, key, f"bank.{tool}")

    with gate(tmp_path, key=key) as (url, _):
        answers = [call(url, key, f"bank.{tool}") for _ in range(2 if tool == "mail" else 1)]

    with contextlib.closing(open_books(tmp_path / "books")) as books:
        calls = books.execute("SELECT count(*) FROM calls WHERE tool = ?", (tool,)).fetchone()[0]
        effects = books.execute("SELECT count(*) FROM effects").fetchone()[0]
    if tool == "mail":  # neither key nor probe: nobody but a person can tell, and it is not made again
        assert [answer["_meta"]["answerable/error"]["code"] for answer in answers] == ["execution.outcome_unknown"] * 2
        assert (calls, effects) == (1, int(moment == "after"))
    else:
        assert [answer.get("isError", False) for answer in answers] == [False]
        assert effects == 1
