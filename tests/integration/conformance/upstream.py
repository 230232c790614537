"""The server that the protocol's conformance suite asks for, on the official SDK: `python upstream.py`, prints its URL.

What it must have and say is fixed by the suite's scenarios: tools, prompts and resources of these names.

Source: `@modelcontextprotocol/conformance`, descriptions of its server scenarios.
"""

import asyncio
import base64
import json
from typing import Annotated, Any

import mcp.types as t
import uvicorn
from mcp.server import ServerRequestContext
from mcp.server.mcpserver import Context, MCPServer, RequestStateSecurity
from mcp.server.mcpserver.prompts.base import Prompt, UserMessage
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, Field

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SOUND = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA="
RETRY_MS = 100

Asks = str | t.InputRequiredResult


class Events(EventStore):
    """Every event of every stream, so that a reader can come back."""

    def __init__(self) -> None:
        self._kept: list[tuple[str, t.JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: t.JSONRPCMessage | None) -> str:
        self._kept.append((stream_id, message))
        return str(len(self._kept))

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        at = int(last_event_id)
        if not 0 < at <= len(self._kept):
            return None
        stream = self._kept[at - 1][0]
        for number, (name, message) in enumerate(self._kept[at:], start=at + 1):
            if name == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


server = MCPServer("conformance-upstream", version="1", request_state_security=RequestStateSecurity(keys=[b"k" * 32]))


# -- results ----------------------------------------------------------------------------------------------------------


@server.tool()
def test_simple_text() -> str:
    return "This is a simple text response for testing."


@server.tool()
def test_image_content() -> list[t.ImageContent]:
    return [t.ImageContent(type="image", data=PIXEL, mime_type="image/png")]


@server.tool()
def test_audio_content() -> list[t.AudioContent]:
    return [t.AudioContent(type="audio", data=SOUND, mime_type="audio/wav")]


@server.tool()
def test_embedded_resource() -> list[t.EmbeddedResource]:
    return [embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")]


@server.tool()
def test_multiple_content_types() -> list[t.TextContent | t.ImageContent | t.EmbeddedResource]:
    return [
        t.TextContent(type="text", text="Multiple content types test:"),
        t.ImageContent(type="image", data=PIXEL, mime_type="image/png"),
        embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    ]


@server.tool()
def test_error_handling() -> str:
    raise RuntimeError("This tool intentionally returns an error for testing")


@server.tool()
def test_x_mcp_header(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})] = "none") -> str:  # noqa: PT028
    return f"region={region}"


def json_schema_2020_12_tool() -> str:
    return "json_schema_2020_12_tool"


server.add_tool(json_schema_2020_12_tool)
server._tool_manager._tools["json_schema_2020_12_tool"].parameters = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


# -- what a call says before its answer -------------------------------------------------------------------------------


@server.tool()
async def test_tool_with_logging(ctx: Context) -> str:
    for said in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.info(said)
    return "done"


@server.tool()
async def test_logging_tool(ctx: Context) -> str:
    await ctx.info("Tool is at work")
    return "done"


@server.tool()
async def test_tool_with_progress(ctx: Context) -> str:
    for done in (0, 50, 100):
        await ctx.report_progress(progress=done, total=100, message=f"Completed step {done} of 100")
    return "done"


@server.tool()
async def test_reconnection(ctx: Context) -> str:
    await ctx.info("Before disconnect")
    await ctx.close_sse_stream()
    await asyncio.sleep(2 * RETRY_MS / 1000)  # the reader is away meanwhile
    await ctx.info("After reconnect")
    return "Reconnection test completed"


@server.tool()
async def test_trigger_tool_change(ctx: Context) -> str:
    server.add_tool(test_simple_text, name="test_dynamic_tool")
    server.remove_tool("test_dynamic_tool")
    await ctx.notify_tools_changed()
    return "tools changed"


@server.tool()
async def test_trigger_prompt_change(ctx: Context) -> str:
    server.add_prompt(Prompt.from_function(test_simple_text, name="test_dynamic_prompt"))
    server.remove_prompt("test_dynamic_prompt")
    await ctx.notify_prompts_changed()
    return "prompts changed"


# -- questions in the handshake era -----------------------------------------------------------------------------------


class Answer(BaseModel):
    response: str = Field(description="User's response")


class Defaults(BaseModel):
    name: str = "John Doe"
    age: int = 30
    score: float = 95.5
    status: str = Field("active", json_schema_extra={"enum": ["active", "inactive", "pending"]})
    verified: bool = True


def titled(*options: str) -> list[dict[str, str]]:
    return [{"const": option, "title": option.title()} for option in options]


class Choices(BaseModel):
    untitledSingle: str = Field(json_schema_extra={"enum": ["option1", "option2", "option3"]})  # noqa: N815
    titledSingle: str = Field(json_schema_extra={"oneOf": titled("low", "medium", "high")})  # type: ignore[dict-item]  # noqa: N815
    untitledMulti: list[str] = Field(json_schema_extra={"items": {"type": "string", "enum": ["read", "write"]}})  # noqa: N815
    titledMulti: list[str] = Field(json_schema_extra={"items": {"anyOf": titled("feature", "bug")}})  # type: ignore[dict-item]  # noqa: N815
    legacyEnum: str = Field(json_schema_extra={"enum": ["opt1", "opt2"], "enumNames": ["Option One", "Option Two"]})  # noqa: N815


@server.tool()
async def test_sampling(prompt: str, ctx: Context) -> str:
    said = t.SamplingMessage(role="user", content=t.TextContent(type="text", text=prompt))
    answer = await ctx.session.create_message([said], max_tokens=100, related_request_id=ctx.request_id)
    return f"LLM response: {answer.content.text if answer.content.type == 'text' else ''}"


@server.tool()
async def test_elicitation(message: str, ctx: Context) -> str:
    return await elicited(ctx, message, Answer)


@server.tool()
async def test_elicitation_sep1034_defaults(ctx: Context) -> str:
    return await elicited(ctx, "Please review and update the form", Defaults)


@server.tool()
async def test_elicitation_sep1330_enums(ctx: Context) -> str:
    return await elicited(ctx, "Please choose", Choices)


async def elicited(ctx: Context, message: str, schema: type[BaseModel]) -> str:
    answer = await ctx.elicit(message=message, schema=schema)
    content = answer.data.model_dump_json() if answer.action == "accept" else "{}"
    return f"User response: action={answer.action}, content={content}"


# -- questions since 2026-07-28 ---------------------------------------------------------------------------------------


@server.tool()
async def test_missing_capability(ctx: Context) -> str:
    can = ctx.session.client_capabilities
    if can is None or can.sampling is None:
        needed: dict[str, Any] = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(code=t.MISSING_REQUIRED_CLIENT_CAPABILITY, message="sampling is needed", data=needed)
    return "sampling is there"


@server.tool()
async def test_streaming_elicitation(ctx: Context) -> Asks:
    await ctx.report_progress(progress=1, total=2)
    return "done" if ctx.input_responses else asking(user_name=form("What is your name?", name="string"))


@server.tool()
async def test_input_required_result_elicitation(ctx: Context) -> Asks:
    name = filled(ctx, "user_name", "name")
    return asking(user_name=form("What is your name?", name="string")) if name is None else f"Hello, {name}!"


@server.tool()
async def test_input_required_result_sampling(ctx: Context) -> Asks:
    answer = (ctx.input_responses or {}).get("capital_question")
    if not isinstance(answer, t.CreateMessageResult):
        return asking(capital_question=sampling("What is the capital of France?"))
    return answer.content.text if answer.content.type == "text" else ""


@server.tool()
async def test_input_required_result_list_roots(ctx: Context) -> Asks:
    answer = (ctx.input_responses or {}).get("client_roots")
    if not isinstance(answer, t.ListRootsResult):
        return asking(client_roots=t.ListRootsRequest())
    return " ".join(str(root.uri) for root in answer.roots)


@server.tool()
async def test_input_required_result_request_state(ctx: Context) -> Asks:
    if filled(ctx, "confirm", "ok") is None or ctx.request_state != "nonce":
        return asking("nonce", confirm=form("Please confirm", ok="boolean"))
    return "state-ok: confirmed"


@server.tool()
async def test_input_required_result_tampered_state(ctx: Context) -> Asks:
    return "state-ok" if ctx.request_state else asking("round 1", confirm=form("Please confirm", ok="boolean"))


@server.tool()
async def test_input_required_result_multiple_inputs(ctx: Context) -> Asks:
    if {"user_name", "greeting", "client_roots"} <= (ctx.input_responses or {}).keys():
        return "All inputs received."
    return asking(
        "several",
        user_name=form("What is your name?", name="string"),
        greeting=sampling("Generate a greeting"),
        client_roots=t.ListRootsRequest(),
    )


@server.tool()
async def test_input_required_result_multi_round(ctx: Context) -> Asks:
    state = json.loads(ctx.request_state or "{}")
    if state.get("round") == 1 and (name := filled(ctx, "step1", "name")) is not None:
        later = json.dumps({"round": 2, "name": name})
        return asking(later, step2=form("Step 2: What is your favorite color?", color="string"))
    if state.get("round") == 2 and (color := filled(ctx, "step2", "color")) is not None:
        return f"{state['name']} likes {color}."
    return asking(json.dumps({"round": 1}), step1=form("Step 1: What is your name?", name="string"))


@server.tool()
async def test_input_required_result_capabilities(ctx: Context) -> Asks:
    can = ctx.client_capabilities
    wanted: dict[str, t.InputRequest] = {}
    if can is not None and can.sampling is not None:
        wanted["sample"] = sampling("Say hello")
    if can is not None and can.elicitation is not None:
        wanted["ask"] = form("What is your name?", name="string")
    return asking("by capability", **wanted)


def asking(state: str | None = None, **questions: t.InputRequest) -> t.InputRequiredResult:
    return t.InputRequiredResult(input_requests=questions, request_state=state)


def form(message: str, **fields: str) -> t.ElicitRequest:
    properties = {name: {"type": type} for name, type in fields.items()}
    schema = {"type": "object", "properties": properties, "required": list(fields)}
    return t.ElicitRequest(params=t.ElicitRequestFormParams(message=message, requested_schema=schema))


def sampling(text: str) -> t.CreateMessageRequest:
    said = t.SamplingMessage(role="user", content=t.TextContent(type="text", text=text))
    return t.CreateMessageRequest(params=t.CreateMessageRequestParams(messages=[said], max_tokens=100))


def filled(ctx: Context, question: str, field: str) -> Any:
    answer = (ctx.input_responses or {}).get(question)
    return (answer.content or {}).get(field) if isinstance(answer, t.ElicitResult) else None


# -- resources and prompts --------------------------------------------------------------------------------------------


@server.resource("test://static-text")
def static_text() -> str:
    return "This is the content of the static text resource."


@server.resource("test://static-binary", mime_type="image/png")
def static_binary() -> bytes:
    return base64.b64decode(PIXEL)


@server.resource("test://template/{id}/data")
def template(id: str) -> str:
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


@server.resource("test://watched-resource")
def watched() -> str:
    return "Watched resource content"


def embedded(uri: str, kind: str, text: str) -> t.EmbeddedResource:
    return t.EmbeddedResource(type="resource", resource=t.TextResourceContents(uri=uri, mime_type=kind, text=text))


def user(content: Any) -> UserMessage:
    return UserMessage(role="user", content=content)


@server.prompt()
def test_simple_prompt() -> list[UserMessage]:
    return [user("This is a simple prompt for testing.")]


@server.prompt()
def test_prompt_with_arguments(arg1: str, arg2: str) -> list[UserMessage]:
    return [user(f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'")]


@server.prompt()
def test_prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:  # noqa: N803
    return [user(embedded(resourceUri, "text/plain", "Embedded resource content for testing.")), user("Read it.")]


@server.prompt()
def test_prompt_with_image() -> list[UserMessage]:
    return [user(t.ImageContent(type="image", data=PIXEL, mime_type="image/png")), user("Look at it.")]


@server.prompt()
async def test_input_required_result_prompt(ctx: Context) -> list[UserMessage] | t.InputRequiredResult:
    context = filled(ctx, "user_context", "context")
    if context is None:
        return asking(user_context=form("What context should the prompt use?", context="string"))
    return [user(f"Use this context: {context}")]


@server.completion()  # type: ignore[no-untyped-call,untyped-decorator]
async def complete(ref: Any, argument: t.CompletionArgument, context: Any) -> t.Completion:
    return t.Completion(values=["test-value"], total=1, has_more=False)


async def nothing(ctx: ServerRequestContext[Any, Any], params: Any) -> t.EmptyResult:
    return t.EmptyResult()


for method, kind in (
    ("logging/setLevel", t.SetLevelRequestParams),
    ("resources/subscribe", t.SubscribeRequestParams),
    ("resources/unsubscribe", t.UnsubscribeRequestParams),
):
    server._lowlevel_server.add_request_handler(method, kind, nothing)


# The suite wants a description of everything.
for tool in server._tool_manager.list_tools():
    tool.description = tool.description or tool.name
for prompt in server._prompt_manager.list_prompts():
    prompt.description = prompt.description or prompt.name


async def main() -> None:
    app = server.streamable_http_app(event_store=Events(), retry_interval=RETRY_MS)
    serving = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws="none", http="h11"))

    async def tell() -> None:
        while not serving.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        print(f"http://127.0.0.1:{serving.servers[0].sockets[0].getsockname()[1]}/mcp", flush=True)  # noqa: T201

    await asyncio.gather(serving.serve(), tell())


if __name__ == "__main__":
    asyncio.run(main())
