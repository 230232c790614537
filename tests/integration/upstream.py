"""A provider that says what a test told it to, over real HTTP, and keeps books of what it was asked."""

import asyncio
import contextlib
import json
import re
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

__all__ = [
    "Answer",
    "Script",
    "ScriptedUpstream",
    "chat_stream",
    "chat_whole",
    "messages_stream",
    "messages_whole",
    "serving",
]

Answer = tuple[int, bytes | list[bytes]]
Script = Answer | Callable[[dict[str, Any]], Answer]

PAUSE = b"-- pause --"
HANG = b"-- hang --"
_REFUSAL = b"""{"error":{"message":"Invalid tool name '%s'","type":"invalid_request_error"}}"""


@dataclass
class ScriptedUpstream:
    """What it answers next: `(status, body or list of stream parts)`; the last stands for all that follow.

    An answer may also be a function of what was asked.
    """

    answers: list[Script] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self._answer, methods=["POST"]),
                Route("/v1/messages", self._answer, methods=["POST"]),
            ]
        )

    async def _answer(self, request: Request) -> Response:
        asked = json.loads(await request.body())
        self.asked.append(asked)
        self.headers.append(dict(request.headers))
        if refused := _refused_name(asked):
            return Response(_REFUSAL % refused.encode(), 400, media_type="application/json")
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        status, body = answer(asked) if callable(answer) else answer
        if isinstance(body, bytes):
            return Response(body, status, media_type="application/json")
        return StreamingResponse(self._parts(body), media_type="text/event-stream")

    async def _parts(self, parts: list[bytes]) -> AsyncIterator[bytes]:
        try:
            for part in parts:
                if part == PAUSE:
                    await self.go_on.wait()
                elif part == HANG:
                    await asyncio.Event().wait()
                else:
                    yield part
        except asyncio.CancelledError:
            self.hung_up.set()
            raise


def _refused_name(asked: dict[str, Any]) -> str:
    """A tool's name that both vendors refuse; clients hand on what tool servers call theirs."""
    names = [tool.get("function", tool).get("name", "") for tool in asked.get("tools", ())]
    return next((name for name in names if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name)), "")


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(upstream: ScriptedUpstream) -> AsyncIterator[ScriptedUpstream]:
    """The provider, listening on loopback."""
    config = uvicorn.Config(upstream.app(), port=0, log_config=None, lifespan="off", timeout_graceful_shutdown=0)
    server = _Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.005)
    upstream.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1"
    try:
        yield upstream
    finally:
        server.should_exit = True
        server.force_exit = True
        await task


def chat_whole(text: str | None = None, *calls: tuple[str, str]) -> bytes:
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = [_chat_call(n, name, said) for n, (name, said) in enumerate(calls)]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    return json.dumps({**_CHAT, "object": "chat.completion", "choices": [choice], "usage": usage}).encode()


def chat_stream(*texts: str, calls: tuple[tuple[str, str], ...] = ()) -> list[bytes]:
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": text} for text in texts)]
    for n, (name, said) in enumerate(calls):
        begun = {**_chat_call(n, name, ""), "index": n}
        deltas.append({"tool_calls": [begun]})
        deltas += [{"tool_calls": [{"index": n, "function": {"arguments": part}}]} for part in (said[:4], said[4:])]
    chunks: list[Any] = [[{"index": 0, "delta": delta, "finish_reason": None}] for delta in deltas]
    chunks.append([{"index": 0, "delta": {}, "finish_reason": "tool_calls" if calls else "stop"}])
    said_: list[dict[str, Any]] = [
        {**_CHAT, "object": "chat.completion.chunk", "choices": choices, "usage": None} for choices in chunks
    ]
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    said_.append({**_CHAT, "object": "chat.completion.chunk", "choices": [], "usage": usage})
    return [*(b"data: " + json.dumps(each).encode() + b"\n\n" for each in said_), b"data: [DONE]\n\n"]


def messages_whole(text: str, *calls: tuple[str, str]) -> bytes:
    content: list[dict[str, Any]] = [{"type": "text", "text": text}]
    content += [
        {"type": "tool_use", "id": f"toolu_{n}_{_number(name)}", "name": name, "input": json.loads(said)}
        for n, (name, said) in enumerate(calls)
    ]
    stop = "tool_use" if calls else "end_turn"
    usage = {"input_tokens": 11, "output_tokens": 7}
    return json.dumps({**_MESSAGE, "content": content, "stop_reason": stop, "usage": usage}).encode()


def messages_stream(*texts: str, calls: tuple[tuple[str, str], ...] = ()) -> list[bytes]:
    usage = {"input_tokens": 11, "output_tokens": 1}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {**_MESSAGE, "content": [], "stop_reason": None, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}} for text in texts),
        {"type": "content_block_stop", "index": 0},
    ]
    for n, (name, said) in enumerate(calls, start=1):
        block = {"type": "tool_use", "id": f"toolu_{n}_{_number(name)}", "name": name, "input": {}}
        events.append({"type": "content_block_start", "index": n, "content_block": block})
        events += [
            {"type": "content_block_delta", "index": n, "delta": {"type": "input_json_delta", "partial_json": part}}
            for part in (said[:4], said[4:])
        ]
        events.append({"type": "content_block_stop", "index": n})
    stop = {"stop_reason": "tool_use" if calls else "end_turn", "stop_sequence": None}
    events.append({"type": "message_delta", "delta": stop, "usage": {"output_tokens": 7}})
    events.append({"type": "message_stop"})
    return [f"event: {each['type']}\n".encode() + b"data: " + json.dumps(each).encode() + b"\n\n" for each in events]


_CHAT: dict[str, Any] = {"id": "chatcmpl-1", "created": 1760000000, "model": "tiny-1"}
_MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "tiny-1",
    "stop_sequence": None,
}


def _chat_call(n: int, name: str, said: str) -> dict[str, Any]:
    return {"id": f"call_{n}_{_number(name)}", "type": "function", "function": {"name": name, "arguments": said}}


def _number(name: str) -> str:
    return f"{zlib.crc32(name.encode()):08x}"  # ids are unique in a conversation, and clients insist
