"""An agent that is another user of the operating system than its gate.

    python _other_user.py UID SOCKET KEY DATA PID

Started as root, it becomes the user first, for good, and needs no file from then on. It calls a tool through the
gate's socket, then tries what an agent might try against the gate (with a PID of 0 only the call). What became of
it all is printed as JSON.
"""

import ctypes
import encodings.idna  # noqa: F401 - http.client would look for it later, when its file is out of reach
import http.client
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


class _OverSocket(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(20)
        self.sock.connect(self._path)


def _call(path: str, key: str) -> dict[str, Any]:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "other", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    params = {"name": "note", "arguments": {"text": "from afar"}, "_meta": meta}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": "note",
    }
    connection = _OverSocket(path)
    try:
        connection.request("POST", "/mcp", body, headers)
        answer = connection.getresponse()
        return {"status": answer.status, "body": answer.read().decode()}
    except OSError as error:
        return {"status": 0, "body": type(error).__name__}
    finally:
        connection.close()


def _tried(what: Callable[[], object]) -> str:
    try:
        what()
    except OSError as error:
        return type(error).__name__
    return "went through"


def _trace(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(16, pid, None, None) == -1:  # PTRACE_ATTACH
        raise OSError(ctypes.get_errno(), "ptrace")


def _main(uid: int, path: str, key: str, data: Path, pid: int) -> None:
    ctypes.CDLL(None)  # loaded while its file can be read
    if uid != os.geteuid():
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    said: dict[str, Any] = {"uid": os.geteuid(), "call": _call(path, key)}

    if not pid:
        sys.stdout.write(json.dumps(said))
        return

    def ask_desk() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as desk:
            desk.connect(str(data / "gate.sock"))

    said["tried"] = {
        "read the gate's key": _tried((data / "keys" / "gate.key").read_bytes),
        "read the record": _tried((data / "answerable.sqlite3").read_bytes),
        "write as the operator": _tried(ask_desk),
        "read its memory": _tried(lambda: os.open(f"/proc/{pid}/mem", os.O_RDONLY)),
        "read its environment": _tried(Path(f"/proc/{pid}/environ").read_bytes),
        "trace it": _tried(lambda: _trace(pid)),
        "stop it": _tried(lambda: os.kill(pid, signal.SIGSTOP)),
        "replace its socket": _tried(lambda: os.unlink(path)),
    }
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]), int(sys.argv[5]))
