"""What a gate writes, verifiers read: where they would not, it is refused before anything is on the record."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from answerable.core import NotCanonical, RunId, TenantId, new_run_id
from answerable.ledger import Draft, Ledger, Phase, Reader, _statement, envelope_json, export_bundle, write_trust
from answerable.witness._drivers import _http
from answerable_verify import _monitor
from tests.conformance.second_opinion import verify

pytestmark = [pytest.mark.requirement("EV-1"), pytest.mark.requirement("EV-3")]


def nested(levels: int) -> dict[str, Any]:
    """So many objects and arrays in each other."""
    value: Any = "within"
    for level in range(levels - 1):
        value = [value] if level % 2 else {"in": value}
    return {"in": value}


def brackets(count: int) -> dict[str, Any]:
    """So many `{` and `[`, nearly all of them in a text; the object itself is one."""
    return {"name": "[{" * ((count - 1) // 2) + "[" * ((count - 1) % 2)}


async def record(data: Path, *said: dict[str, Any]) -> tuple[RunId, list[Exception | None]]:
    """A run in which this was observed, if it was taken; and what each was refused with."""
    ledger = Ledger.open(data)
    await ledger.start()
    run = new_run_id()
    refused: list[Exception | None] = []

    def draft(phase: Phase, control: dict[str, Any]) -> Draft:
        return Draft(tenant=TenantId("default"), run=run, phase=phase, agent="clerk", members={"control": control})

    try:
        await ledger.append(draft("run.open", {"agent": "clerk", "environment": "development", "resources": []}))
        for control in said:
            try:
                await ledger.append(draft("observation", control))
                refused.append(None)
            except NotCanonical as error:
                refused.append(error)
        await ledger.append(draft("run.close", {"state": "done"}))
    finally:
        await ledger.close()
    return run, refused


def around(receipt: dict[str, Any]) -> int:
    """The `{` and `[` of a receipt beside those of its `control`."""
    whole, control = json.dumps(receipt), json.dumps(receipt["predicate"]["control"])
    return sum(whole.count(each) - control.count(each) for each in "{[")


def test_what_is_as_deep_and_as_full_as_the_profile_allows_is_written_and_read(tmp_path: Path) -> None:
    statement = {"subject": [{"digest": {}}], "predicate": {"agent": {}, "boundary": {}, "control": {}}}
    full = 10_000 - around(statement)

    run, refused = asyncio.run(
        record(tmp_path / "data", nested(126), nested(127), brackets(full), brackets(full + 1), nested(126))
    )

    assert [type(each) for each in refused] == [type(None), NotCanonical, type(None), NotCanonical, type(None)]
    reader = Reader.open(tmp_path / "data")
    try:
        bundle = export_bundle(reader, [run], tmp_path / "bundle.zip", disclose=False)
        trust = write_trust(reader, tmp_path / "trust.toml")
    finally:
        reader.close()
    report = verify(bundle, trust)
    assert (report.verdict, report.findings) == ("verified", ())


def test_a_receipt_that_monitors_would_not_fetch_is_not_written(tmp_path: Path) -> None:
    _, refused = asyncio.run(record(tmp_path / "data", {"name": "x" * 130_000}, {"name": "x" * (128 << 10)}))

    assert [type(each) for each in refused] == [type(None), NotCanonical]
    assert "bytes, which may have 131,072" in str(refused[1])
    for most, together in ((_statement._LARGEST_BYTES, 256), (_statement._LARGEST_ERASURE_BYTES, 1)):
        envelope = len(envelope_json(bytes(most), bytes(64), "0" * 64)) + 1
        assert envelope < _monitor._LONGEST_LINE
        assert envelope * together < _http._MOST_FETCHED_BYTES
