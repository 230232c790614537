"""`answerable doctor`."""

import base64
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import typer

from answerable.cli._doctor_keys import Finding, assurance, keys, reach
from answerable.cli._options import DATA, AsJson, Data
from answerable.cli._say import say
from answerable.core import AnswerableError
from answerable.ledger import Reader, leaf_hash, log_folder, root_hash

__all__ = ["command"]

command = typer.Typer(rich_markup_mode=None)


@command.command()
def doctor(data: Data = DATA, as_json: AsJson = False) -> None:
    """Look whether the machine, the keys and the record are in order, and what evidence is worth. Changes nothing.

    Ages and files of keys, who else on the machine reaches them, how far agents are kept from the gate, who watches
    the log, and the assurance that results. Exit 1: something is wrong.
    """
    findings = [*_machine(), *reach(data), *_record(data)]
    lines = [f"{each.verdict:<6} {each.what:<12} {each.said}" for each in findings]
    say([asdict(each) for each in findings], lines, as_json=as_json)
    raise typer.Exit(1 if any(each.verdict == "WRONG" for each in findings) else 0)


def _machine() -> Iterator[Finding]:
    is_known = sys.version_info >= (3, 11)
    yield Finding(what="python", verdict="ok" if is_known else "WRONG", said=sys.version.split()[0])
    for tool in ("git", "openssl", "jq"):
        found = shutil.which(tool)
        wanted = "names the version of specifications" if tool == "git" else "is needed by VERIFY.sh in a bundle"
        yield Finding(what=tool, verdict="ok" if found else "look", said=found or f"not found; it {wanted}")


def _record(data: Path) -> Iterator[Finding]:
    if not data.is_dir():
        yield Finding(what="record", verdict="look", said=f"none yet in {data}")
        return
    try:
        reader = Reader.open(data)
        entries, checkpoint = reader.entries(), reader.checkpoint()
        receipts = sum(1 for _ in reader.all())
    except AnswerableError as error:
        yield Finding(what="record", verdict="WRONG", said=error.message)
        return
    yield Finding(what="record", verdict="ok", said=f"{receipts} receipts in {data}")
    if checkpoint:
        _, size, root = checkpoint.splitlines()[:3]
        found = f"{len(entries)}\n{_base64(root_hash([leaf_hash(entry) for entry in entries]))}"
        if f"{size}\n{root}" == found:
            yield Finding(what="log", verdict="ok", said=f"{size} entries, as the latest checkpoint states")
        else:
            yield Finding(what="log", verdict="WRONG", said="the entries are not those of the latest checkpoint")
    yield from keys(reader)
    yield from _watchers(data, reader)
    yield from assurance(data, reader)
    is_served = (data / "gate.sock").exists()
    yield Finding(what="gate", verdict="ok", said="a gate owns the directory" if is_served else "no gate runs")


def _watchers(data: Path, reader: Reader) -> Iterator[Finding]:
    """Who signs for the logs, as publication last found it."""
    for tenant in reader.tenants():
        path = log_folder(data, tenant).path / "status.json"
        if not path.exists():
            continue
        state = json.loads(path.read_text("utf-8"))
        for who, problem in state["troubles"].items():
            verdict: Literal["look", "WRONG"] = "WRONG" if who == "record" else "look"
            yield Finding(what="watched", verdict=verdict, said=f"{tenant}: {who}: {problem}")
        if state["is_quorate"]:
            said = f"{tenant}: {state['size']} entries, cosigned by {', '.join(state['cosigned'])}"
            yield Finding(what="watched", verdict="ok", said=said)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
