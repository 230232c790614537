"""A tool server of the handshake era over stdio, in plain Python: it asks its client, and says things by itself.

    python asking_server.py DIARY

`order` asks for an address before it does anything, and notes in the diary what it did; `draw` fails with a picture;
`walk` reports progress and writes to its log; `learn` adds a tool and says so.
"""

import json
import sys
from pathlib import Path
from typing import Any

OBJECT = {"type": "object", "properties": {}}
PICTURE = {"type": "image", "data": "aGVsbG8=", "mimeType": "image/png"}
FORM = {"type": "object", "properties": {"street": {"type": "string"}}, "required": ["street"]}


def main(diary: Path) -> None:
    tools = ["order", "draw", "walk", "learn"]
    waiting: dict[str, Any] = {}
    for line in sys.stdin:
        said = json.loads(line)
        method, number = said.get("method"), said.get("id")
        if method is None:
            call = waiting.pop(number)
            answer = said.get("result") or {"action": said["error"]["message"]}
            if answer["action"] == "accept":
                with diary.open("a") as file:
                    file.write(answer["content"]["street"] + "\n")
            result(call, [text(json.dumps(answer, sort_keys=True))])
        elif method == "initialize":
            capabilities = {"tools": {"listChanged": True}, "logging": {}}
            server = {"name": "asking", "version": "1"}
            revision = "2025-11-25"
            say(
                {
                    "id": number,
                    "result": {"protocolVersion": revision, "capabilities": capabilities, "serverInfo": server},
                }
            )
        elif method == "tools/list":
            say({"id": number, "result": {"tools": [{"name": name, "inputSchema": OBJECT} for name in tools]}})
        elif method == "tools/call":
            params = said["params"]
            name = params["name"]
            if name == "order":
                waiting[f"q{number}"] = number
                asked = {"mode": "form", "message": "Where to?", "requestedSchema": FORM}
                say({"id": f"q{number}", "method": "elicitation/create", "params": asked})
            elif name == "draw":
                result(number, [text("no ink"), PICTURE], isError=True)
            elif name == "walk":
                note("notifications/message", {"level": "info", "data": "off we go"})
                if (token := params.get("_meta", {}).get("progressToken")) is not None:
                    note("notifications/progress", {"progressToken": token, "progress": 1, "total": 2})
                result(number, [text("there")], _meta={"example/steps": 7})
            elif name == "learn":
                tools.append("fly")
                note("notifications/tools/list_changed", {})
                result(number, [text("learnt")])
            else:
                result(number, [text("done")])
        elif number is not None:
            say({"id": number, "error": {"code": -32601, "message": f"no method {method}"}})


def result(number: Any, content: list[dict[str, Any]], **more: Any) -> None:
    say({"id": number, "result": {"content": content, **more}})


def note(method: str, params: dict[str, Any]) -> None:
    say({"method": method, "params": params})


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
