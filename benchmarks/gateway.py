"""What a call costs through the gate, through other proxies, and without any, in one run.

    python benchmarks/gateway.py [--quick] [--json PATH] [--litellm PATH]

Reads of an MCP tool, chat completions and streams at 1, 8 and 64 concurrent callers, against scripted
upstreams on loopback that answer at once: so all that is measured is what lies between. Each party is a
process of its own. Calls to the parties are interleaved in short slices, ratios are taken within a repeat,
and their median is reported. The gate takes the full road (key, session, policy, signed receipts, an fsync
for each commit), and its record is counted afterwards. Ends with 1 if a bar is missed.

Calls are made as agents make them, by `httpx`, and the bars are held to that. `….bytes.…` is the same with prepared
bytes written to a socket: the ratio that a caller without any client would see.
"""

import argparse
import contextlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks._rows import Row, row, table  # noqa: E402 - run as a script

REVISION = "2026-07-28"
LOADS = ("mcp.read", "chat", "stream")
PEERS = {"mcp.read": ("fastmcp_proxy",), "chat": ("litellm",), "stream": ("litellm",)}
CALLS = {1: 150, 8: 320, 64: 768}
QUICK = {1: 36, 8: 64}
PEERS_SHARE = {"fastmcp_proxy": 0.1, "litellm": 0.2}  # of the calls: they take 5 to 50 times as long
WARM_UP = 64
LONGEST_START_S = 180
LONGEST_MEASURE_S = 1200
SYSTEM = "You are the support desk of a shop. You answer in one sentence, and you name the order. " * 6
LITELLM = HERE.parent / ".venv" / "litellm" / "bin" / "litellm"
ABSENT = "LiteLLM is not installed beside this benchmark (`make .venv/.litellm` does it)"


def main() -> int:
    """Measure, print, write; 0 if every bar holds."""
    asked = _arguments()
    calls = QUICK if asked.quick else {n: CALLS[n] for n in asked.concurrency}
    directory = Path(tempfile.mkdtemp(prefix=".bench-", dir=asked.dir))
    try:
        with contextlib.ExitStack() as stack:
            targets, versions = _parties(stack, directory, asked.litellm)
            _say(f"{asked.repeats} repeats of {', '.join(LOADS)} at {', '.join(map(str, calls))} concurrent")
            repeats = _measure(targets, calls, directory, repeats=asked.repeats)
        made = sum(cell["gate"]["calls"] for repeat in repeats for cell in repeat.values())
        _check_record(directory, at_least=made)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    rows = _rows(repeats, calls)
    absent = [f"{load}.c{n}.vs_litellm" for load in ("chat", "stream") for n in calls if "litellm" not in versions]

    sys.stdout.write(table(rows) + "\n")
    for name in absent:
        sys.stdout.write(f"{name}  not measured: {ABSENT}\n")
    sys.stdout.write("\n" + ", ".join(f"{name} {said}" for name, said in versions.items()) + "\n")
    if asked.json:
        said = [each.to_json(versions) for each in rows]
        said += [{"name": name, "value": None, "absent": ABSENT} for name in absent]
        asked.json.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n")
    missed = [each for each in rows if each.holds is False]
    for each in missed:
        _say(f"missed: {each.name} is {each.value:.2f} {each.unit}, the bar is {each.bar}")
    return 1 if missed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A call through the gate, through other proxies, and without any.")
    parser.add_argument("--quick", action="store_true", help="fewer calls, at 1 and 8 concurrent only")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--concurrency", type=lambda text: [int(n) for n in text.split(",")], default=list(CALLS))
    parser.add_argument("--json", type=Path, metavar="PATH", help="also write the rows there")
    parser.add_argument("--dir", type=Path, default=Path.cwd(), help="on the disk to measure (not a tmpfs)")
    parser.add_argument("--litellm", type=Path, default=LITELLM, metavar="PATH", help="the proxy's command")
    return parser.parse_args()


def _parties(
    stack: contextlib.ExitStack, directory: Path, litellm: Path
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, str]]:
    """Start everyone; whom to call with what, and which versions they are."""
    upstream = _said(stack.enter_context(_party("upstream")), "upstream")
    gate = stack.enter_context(_party("gate", upstream, str(directory)))
    fastmcp = stack.enter_context(_party("fastmcp", upstream))
    peer = stack.enter_context(_litellm(litellm, upstream, directory)) if litellm.exists() else None
    _say("waiting for the gate and the other proxies")
    gate_url, key = _said(gate, "the gate").split()
    fastmcp_url = _said(fastmcp, "fastmcp")
    ours = {"authorization": f"Bearer {key}", "answerable-session": "caller-@C@"}
    look = {
        "direct": _mcp(upstream + "/mcp"),
        "gate": _mcp(gate_url + "/mcp/shop", **ours),
        "fastmcp_proxy": _mcp(fastmcp_url + "/mcp"),
    }
    targets = {"mcp.read": look}
    for load in ("chat", "stream"):
        streams = load == "stream"
        targets[load] = {"direct": _chat(upstream, streams=streams), "gate": _chat(gate_url, streams=streams, **ours)}
        if peer is not None:
            peer_url = _ready(*peer)
            targets[load]["litellm"] = _chat(peer_url, streams=streams, authorization="Bearer sk-bench")
    versions = {"python": platform.python_version(), "cpus": str(os.cpu_count())}
    versions |= {name: version(name) for name in ("answerable", "fastmcp", "mcp", "uvicorn")}
    if peer is not None:
        versions["litellm"] = _version_beside(litellm)
    return {
        load: [{"name": name, "share": PEERS_SHARE.get(name, 1.0), **said} for name, said in found.items()]
        for load, found in targets.items()
    }, versions


@contextlib.contextmanager
def _party(name: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks._gateway", name, *words]
    with _running(command, _environment(), stdout=subprocess.PIPE) as process:
        yield process


@contextlib.contextmanager
def _litellm(command: Path, upstream: str, directory: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    parameters = {"model": "openai/tiny", "api_base": upstream + "/v1", "api_key": "sk-upstream"}
    settings = {
        "model_list": [{"model_name": "tiny", "litellm_params": parameters}],
        "general_settings": {"master_key": "sk-bench"},
    }
    config = directory / "litellm.yaml"
    config.write_text(json.dumps(settings))  # JSON is YAML
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # SECURITY: none of this machine's environment; its releases have carried a thief of credentials before.
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    words = [str(command), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    with _running(words, environment, stdout=subprocess.DEVNULL) as process:
        yield process, f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def _running(command: list[str], environment: dict[str, str], *, stdout: int) -> Iterator[subprocess.Popen[str]]:
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, cwd=HERE.parent, env=environment, stdout=stdout, stderr=errors, stdin=subprocess.DEVNULL, text=True
        )
        try:
            yield process
        except BaseException:
            errors.seek(0)
            sys.stderr.write(errors.read()[-3000:])
            raise
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _said(process: "subprocess.Popen[str]", name: str) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise SystemExit(f"{name} did not start")
    return line


def _ready(process: "subprocess.Popen[str]", url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    until = time.monotonic() + LONGEST_START_S
    while process.poll() is None and time.monotonic() < until:
        with contextlib.suppress(OSError), opener.open(url + "/health/liveliness", timeout=5):
            return url
        time.sleep(0.2)
    raise SystemExit("the LiteLLM proxy did not start")


def _mcp(url: str, **headers: str) -> dict[str, Any]:
    prefix = "io.modelcontextprotocol/"
    meta = {
        prefix + "protocolVersion": REVISION,
        prefix + "clientInfo": {"name": "bench", "version": "1"},
        prefix + "clientCapabilities": {},
    }
    params = {"name": "look", "arguments": {"order": "@N@"}, "_meta": meta}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).replace('"@N@"', "@N@")
    said = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": REVISION,
        "mcp-method": "tools/call",
        "mcp-name": "look",
    }
    return {"url": url, "headers": {**said, **headers}, "body": body, "expects": "order @N@:"}


def _chat(url: str, *, streams: bool, **headers: str) -> dict[str, Any]:
    said = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "What of order @N@?"}]
    body = json.dumps({"model": "tiny", "messages": said, **({"stream": True} if streams else {})})
    # A stream cuts its text anywhere; that it came to its end is what can be told of every one.
    expects = "[DONE]" if streams else "order @N@:"
    target = url + "/v1/chat/completions"
    return {"url": target, "headers": headers, "body": body, "expects": expects, "streams": streams}


def _measure(
    targets: dict[str, list[dict[str, Any]]], calls: dict[int, int], directory: Path, *, repeats: int
) -> list[dict[str, Any]]:
    orders = {"loads": targets, "calls": calls, "dir": str(directory), "warm_up": WARM_UP}
    orders |= {"repeats": repeats, "slices": 2}
    command = [sys.executable, "-m", "benchmarks._gateway", "load"]
    done = subprocess.run(
        command,
        cwd=HERE.parent,
        env=_environment(),
        input=json.dumps(orders),
        capture_output=True,
        text=True,
        timeout=LONGEST_MEASURE_S,
    )
    if done.returncode != 0:
        raise SystemExit(f"the callers ended with {done.returncode}:\n{done.stderr[-3000:]}")
    measured: list[dict[str, Any]] = json.loads(done.stdout)["repeats"]
    return measured


def _check_record(directory: Path, *, at_least: int) -> None:
    """Each call that the gate answered has its outcome on disk."""
    sys.path.insert(0, str(HERE.parent / "src"))
    from answerable.ledger import Reader

    with contextlib.closing(Reader.open(directory / "data")) as reader:
        outcomes = sum(receipt.phase == "outcome" for receipt in reader.receipts())
    if outcomes < at_least:
        raise SystemExit(f"the gate answered {at_least} calls and has {outcomes} outcomes on record")


def _rows(repeats: list[dict[str, Any]], calls: dict[int, int]) -> list[Row]:
    rows = [row("fsync.p50_ms", "ms", (cell["fsync_ms"] for repeat in repeats for cell in repeat.values()))]
    for load in LOADS:
        for n in calls:
            cells = [repeat[f"{load} {n} httpx"] for repeat in repeats]
            fsyncs = [cell["fsync_ms"] for cell in cells]
            gates, directs = [cell["gate"] for cell in cells], [cell["direct"] for cell in cells]
            at = f"{load}.c{n}"
            ratios = (a["p50_ms"] / b["p50_ms"] for a, b in zip(gates, directs, strict=True))
            allowed = (2 * fsync / b["p50_ms"] for fsync, b in zip(fsyncs, directs, strict=True))
            rows.append(row(f"{at}.p50_vs_direct", "×", ratios, allowances=allowed))
            for peer in [each for each in PEERS[load] if each in cells[0]]:
                paired = (cell[peer]["p50_ms"] / cell["gate"]["p50_ms"] for cell in cells)
                rows.append(row(f"{at}.vs_{peer}", "×", paired))
            if load == "stream":
                paired = zip(gates, directs, fsyncs, strict=True)
                added = ((a["first_p50_ms"] - b["first_p50_ms"]) / fsync for a, b, fsync in paired)
                rows.append(row(f"{at}.first_byte_added_vs_fsync", "×", added))
            for name in [each for each in ("direct", "gate", *PEERS[load]) if each in cells[0]]:
                rows.append(row(f"{at}.{name}.p50_ms", "ms", (cell[name]["p50_ms"] for cell in cells)))
                rows.append(row(f"{at}.{name}.p99_ms", "ms", (cell[name]["p99_ms"] for cell in cells)))
            bare = [repeat[f"{load} {n} bytes"] for repeat in repeats]
            ratios = (cell["gate"]["p50_ms"] / cell["direct"]["p50_ms"] for cell in bare)
            rows.append(row(f"{at}.bytes.p50_vs_direct", "×", ratios))
    return rows


def _version_beside(command: Path) -> str:
    python = command.parent / "python"
    said = "from importlib.metadata import version; print(version('litellm'))"
    return subprocess.run([str(python), "-c", said], capture_output=True, text=True, check=True).stdout.strip()


def _environment() -> dict[str, str]:
    """Ours: the source tree first, so that what is measured is what is checked out."""
    source = os.pathsep.join([str(HERE.parent / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": source}


def _say(line: str) -> None:
    """Progress, away from the table."""
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    raise SystemExit(main())
