"""An application that deals with people's data, and what is searched for when they are to be forgotten."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from answerable import Answerable, Gate, Run
from answerable.app import continue_log
from answerable.core import RunId
from answerable.ledger import Reader, write_trust
from answerable_verify import Report, verify

__all__ = ["SECRET", "an_app", "files", "holding", "on_disk", "sealed_about", "verified", "went_on", "with_gate"]

SECRET = "Ada Lovelace of 12 Grace Street takes 5 mg of digitalis"
_POLICY = "permit (principal, action, resource);"


def an_app(folder: Path, **options: Any) -> Answerable:
    """An agent `nurse` looks a patient up, writes a note and waits for the signal `next` where it is asked to."""
    (folder / "policy").mkdir(parents=True, exist_ok=True)
    (folder / "policy" / "authorize.cedar").write_text(f'@id("all") {_POLICY}')
    app = Answerable(data=folder / "data", policy=folder / "policy", **options)
    app.calls = []  # type: ignore[attr-defined]

    @app.tool(effect="read", subjects=("patient:{patient}",))
    async def look_up(patient: str) -> str:
        app.calls.append(("look_up", patient))  # type: ignore[attr-defined]
        return SECRET if patient == "ada" else f"nothing is known of {patient}"

    @app.tool(effect="write", idempotency="key")
    async def note(text: str, *, key: str) -> str:
        app.calls.append(("note", text))  # type: ignore[attr-defined]
        return f"noted: {text}"

    @app.agent
    async def nurse(run: Run, given: dict[str, Any]) -> str:
        found: str = await run.tool(look_up, patient=given["patient"])
        await run.tool(note, text=found)
        if given.get("waits"):
            await run.signal("next")
            await run.tool(note, text=f"again: {found}")
        return found

    return app


async def seen_to(gate: Gate, patient: str = "ada", **asked: Any) -> RunId:
    """A run that has ended."""
    run = await gate.start("nurse", {"patient": patient}, **asked)
    await gate.result(run)
    return run


def files(directory: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file below a directory, as it lies on disk."""
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            yield path, path.read_bytes()


def holding(directory: Path, wanted: Iterable[bytes]) -> list[tuple[str, bytes]]:
    """The files that hold one of these byte strings."""
    found = list(wanted)
    return [(path.name, each) for path, content in files(directory) for each in found if each in content]


def sealed_about(directory: Path, *, tenant: str = "default") -> dict[str, list[bytes]]:
    """For each person or set of people: what lies in the store sealed for them, and the wrapped key of each."""
    with contextlib.closing(sqlite3.connect(directory / "answerable.sqlite3")) as store:
        rows = store.execute("SELECT subjects, sealed FROM receipts WHERE sealed IS NOT NULL AND tenant = ?", (tenant,))
        found: dict[str, list[bytes]] = {}
        for subjects, sealed in rows:
            found.setdefault(subjects, []).append(sealed)
        for name, wrapped in store.execute("SELECT subject, wrapped FROM subject_keys WHERE tenant = ?", (tenant,)):
            found.setdefault(name, []).append(wrapped)
    return found


def on_disk(sealed: Iterable[bytes]) -> list[bytes]:
    """Pieces of these, such as would be left of them: a page of the store holds no more of a long one."""
    return [piece for each in sealed for piece in (each[:24], each[len(each) // 2 :][:24], each[-24:])]


def verified(directory: Path, bundle: Path) -> Report:
    """What the verifier says of a bundle, by the keys of the record it came from."""
    with contextlib.closing(Reader.open(directory)) as reader:
        trust = write_trust(reader, bundle.with_suffix(".toml"))
    return verify(bundle, trust)


def with_gate(app: Answerable, body: Callable[[Gate], Awaitable[None]]) -> None:
    """Do this with a gate of the application."""

    async def main() -> None:
        async with app.gate() as gate, asyncio.timeout(60):
            await body(gate)

    asyncio.run(main())


def went_on(directory: Path, *, is_after_gap: bool) -> tuple[str, ...]:
    """Somebody says how the log goes on; the origins it goes on under."""
    return asyncio.run(
        continue_log(directory, is_after_gap=is_after_gap, by="person:dana", reason="the server burned")
    ).origins
