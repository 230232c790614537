"""Personal data on the road: it does not leave, the agent does not notice, and the record does not tell it."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from answerable import Answerable, Run
from answerable.ledger import Reader, export_bundle
from answerable.models import ScriptedProvider
from answerable.policy import PersonalDataBlocked

pytestmark = pytest.mark.requirement("GV-5")
CARD, MAIL = "4111 1111 1111 1111", "dana@example.com"
_LABELS = """
[tools.post]
personal = "redact"

[tools.charge]
personal = "tokenise"
kinds = ["card"]

[tools.publish]
personal = "block"

[models."scripted:*"]
personal = "tokenise"
"""
GOT: list[Any] = []


def an_app(folder: Path) -> Answerable:
    (folder / "policy").mkdir()
    (folder / "policy" / "authorize.cedar").write_text('@id("all") permit(principal, action, resource);')
    (folder / "labels.toml").write_text(_LABELS)
    app = Answerable(data=folder / "data", policy=folder / "policy", labels=folder / "labels.toml")

    @app.tool(effect="write")
    async def post(text: str) -> str:
        GOT.append(text)
        return f"posted {text}"

    @app.tool(effect="write")
    async def charge(card: str, note: str) -> dict[str, str]:
        GOT.append((card, note))
        return {"charged": card}

    @app.tool(effect="write")
    async def publish(text: str) -> str:
        GOT.append(text)
        return "published"

    def echo(prompt: Any) -> dict[str, Any]:
        GOT.append(prompt[-1]["content"])
        return {"heard": prompt[-1]["content"]}

    app.provider(ScriptedProvider({"echo": echo}))

    @app.agent(model="scripted:echo")
    async def clerk(run: Run, given: dict[str, Any]) -> Any:
        if given["name"] == "model":
            return await run.model(given["text"], schema={"type": "object"})
        return await run.tool(given["name"], **given["arguments"])

    return app


def asking(folder: Path, given: Any) -> Any:
    async def main() -> Any:
        async with an_app(folder).gate() as gate, asyncio.timeout(30):
            return await gate.result(await gate.start("clerk", given))

    GOT.clear()
    return asyncio.run(main())


def test_a_tool_gets_no_personal_data_where_it_is_redacted(tmp_path: Path) -> None:
    said = asking(tmp_path, {"name": "post", "arguments": {"text": f"{MAIL} paid with {CARD}"}})

    assert GOT == ["[email] paid with [card]"]
    assert said == "posted [email] paid with [card]"


def test_a_tool_gets_tokens_and_the_agent_what_they_stand_for(tmp_path: Path) -> None:
    said = asking(tmp_path, {"name": "charge", "arguments": {"card": CARD, "note": MAIL}})

    ((card, note),) = GOT
    assert card.startswith("[card#")
    assert note == MAIL
    assert said == {"charged": CARD}


def test_a_model_gets_tokens_and_the_agent_what_they_stand_for(tmp_path: Path) -> None:
    said = asking(tmp_path, {"name": "model", "text": f"write to {MAIL}"})

    assert MAIL not in GOT[0]
    assert said == {"heard": f"write to {MAIL}"}


def test_a_call_that_must_carry_none_is_refused_before_anything_runs_and_leaves_a_receipt(tmp_path: Path) -> None:
    with pytest.raises(PersonalDataBlocked, match="card"):
        asking(tmp_path, {"name": "publish", "arguments": {"text": CARD}})

    assert GOT == []
    denied = [each for each in Reader.open(tmp_path / "data").receipts() if each.phase == "denied"]
    assert [each.predicate["authority"]["reason"] for each in denied] == ["refused.personal_data_blocked"]


def test_no_file_of_the_record_holds_a_value_in_clear(tmp_path: Path) -> None:
    secret = "4012 8888 8888 1881"
    asking(tmp_path, {"name": "charge", "arguments": {"card": secret, "note": f"for {MAIL}"}})
    reader = Reader.open(tmp_path / "data")
    (run,) = {each.predicate["run"] for each in reader.receipts() if each.phase == "run.open"}
    export_bundle(reader, [run], tmp_path / "data" / "run.evidence.zip", disclose=False)

    told = b"".join(each.body for each in reader.receipts())
    files = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]

    assert len(files) > 3
    for value in (secret, secret.replace(" ", ""), MAIL):
        assert value.encode() not in told
        assert [path.name for path in files if value.encode() in path.read_bytes()] == []
    intent = next(each for each in reader.receipts(run=run) if each.phase == "intent")
    assert orjson.loads(reader.text(intent).input or b"")["card"] == secret, "it is there, sealed"
