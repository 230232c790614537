"""The loop that serves, and the socket that it would not ask who connects."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import uvloop

from answerable.server import NotSeparate, run_on_uvloop
from answerable.server._drivers._unix import PeerSocket
from answerable.server._listen import listen_until_signal


async def nobody(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("nobody is served")


def test_a_gate_at_an_address_runs_on_uvloop() -> None:
    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert isinstance(run_on_uvloop(loop()), uvloop.Loop)


def test_a_socket_for_other_users_is_not_served_on_a_loop_that_asks_nobody(tmp_path: Path) -> None:
    async def serve() -> None:
        with PeerSocket(tmp_path / "agents.sock", admits=lambda uid: False, refusal=lambda uid: b"") as at:
            await listen_until_signal(nobody, at=at, on_listening=lambda bound: None)

    with pytest.raises(NotSeparate, match="does not ask who connects"):
        run_on_uvloop(serve())
