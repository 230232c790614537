"""The command line, over a real application and its record."""

import asyncio
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from answerable.cli._application import find_application
from answerable.cli._main import COMMANDS, run
from answerable.identity import SealedVault
from answerable.server import ControlServer
from answerable_verify import read_trust

Capture = pytest.CaptureFixture[str]
LENDING = '{"book": "b-7", "reader": "r-2"}'


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The starter application of `answerable init`, in the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("ANSWERABLE_DATA", raising=False)
    assert run(["init"]) == 0
    yield tmp_path
    sys.modules.pop("agent", None)


@pytest.fixture
def lent(library: Path, capsys: Capture) -> str:
    """A run that lent a book."""
    capsys.readouterr()
    assert run(["run", "agent:app", "--input", '{"book": "b-7", "reader": "r-2"}', "--json"]) == 0
    return str(json.loads(capsys.readouterr().out)["run"])


def said(capsys: Capture, *words: str, code: int = 0) -> Any:
    """What a command says in JSON."""
    capsys.readouterr()
    sys.modules.pop("agent", None)  # each command is a process of its own
    assert run([*words, "--json"]) == code
    out = capsys.readouterr().out
    return json.loads(out) if out else None


def test_every_command_in_the_overview_can_be_asked_for_help(capsys: Capture) -> None:
    for name in COMMANDS:
        assert run([name, "--help"]) == 0

    assert "Usage" in capsys.readouterr().out


def test_looking_at_the_package_loads_nothing_heavy() -> None:
    program = "import sys, answerable.cli; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()

    assert not {"typer", "sqlalchemy", "cedarpy", "pydantic", "mcp"} & set(loaded)


def test_an_unknown_command_is_a_usage_error_that_names_the_near_one(capsys: Capture) -> None:
    assert run(["aprovals"]) == 2

    assert "approvals" in capsys.readouterr().err


def test_an_error_says_what_why_and_what_to_do_and_never_a_traceback(library: Path, capsys: Capture) -> None:
    capsys.readouterr()
    assert run(["runs", "list", "--data", "elsewhere"]) == 2

    told = capsys.readouterr().err
    assert told.startswith("answerable: `elsewhere` holds no Answerable record")
    assert "why:" in told
    assert "fix:" in told
    assert "Traceback" not in told
    assert not Path("elsewhere").exists()


def test_with_json_an_error_is_json(library: Path, capsys: Capture) -> None:
    capsys.readouterr()
    assert run(["runs", "show", "run_0", "--data", "elsewhere", "--json"]) == 2

    assert json.loads(capsys.readouterr().err)["error"]["code"] == "config.no_store"


def test_init_keeps_what_is_there(library: Path, capsys: Capture) -> None:
    Path("agent.py").write_text("# mine\n")

    again = said(capsys, "init")

    assert again["written"] == []
    assert Path("agent.py").read_text() == "# mine\n"


def test_the_starter_policies_check_and_pass_their_tests(library: Path, capsys: Capture) -> None:
    assert said(capsys, "policy", "check")["isValid"]
    assert said(capsys, "policy", "check", "--strict", "--app", "agent:app")["lints"] == []
    assert all(test["passed"] for test in said(capsys, "policy", "test")["tests"])


def test_the_tools_of_an_application_can_be_looked_at(library: Path, capsys: Capture) -> None:
    find, lend = said(capsys, "tools", "list", "agent:app")

    assert (find["name"], find["effect"]) == ("find_book", "read")
    assert list(lend["schema"]["properties"]) == ["book", "reader"]


@pytest.mark.requirement("GV-1")
def test_a_policy_that_does_not_parse_fails_the_check(library: Path, capsys: Capture) -> None:
    Path("policy/authorize/clerk.cedar").write_text("permit everything")

    assert not said(capsys, "policy", "check", code=1)["isValid"]


@pytest.mark.requirement("EV-4", "EV-5", "EV-6", "RT-4")
def test_a_run_can_be_listed_shown_explained_judged_and_decided_again(lent: str, capsys: Capture) -> None:
    assert [each["run"] for each in said(capsys, "runs", "list")] == [lent]
    shown = said(capsys, "runs", "show", lent)
    assert shown["state"] == "done"
    assert shown["result"] == "lent `A Field Guide to Lichens` to r-2"
    receipts = said(capsys, "receipts", "list", lent)
    assert [each["phase"] for each in receipts] == ["run.open", "outcome", "intent", "outcome", "run.close"]
    assert said(capsys, "receipts", "show", receipts[1]["id"])["output"] == "A Field Guide to Lichens"
    assert said(capsys, "why", "book:b-7")["actions"]
    assert [each["verdict"] for each in said(capsys, "spec", "check", lent)] == ["satisfied"]
    assert said(capsys, "policy", "replay", lent)["isSame"]
    assert all(not each["missing"] and not each["extra"] for each in said(capsys, "rebuild"))
    assert {each["verdict"] for each in said(capsys, "doctor")} <= {"ok", "look"}


@pytest.mark.requirement("EV-6", "GV-1")
def test_a_decision_can_be_explained_and_other_policies_tried_on_it(lent: str, library: Path, capsys: Capture) -> None:
    receipts = said(capsys, "receipts", "list", lent)
    intent = next(each["id"] for each in receipts if each["phase"] == "intent")
    forbid = '@id("closed") forbid (principal, action == Action::"lend", resource);'
    other = library / "other"
    shutil.copytree(library / "policy", other)

    same = said(capsys, "policy", "simulate", "--against", "other")
    (other / "authorize" / "closed.cedar").write_text(forbid)
    changed = said(capsys, "policy", "simulate", "--against", "other", code=1)

    assert said(capsys, "policy", "explain", intent)["verdict"] == "permit"
    assert said(capsys, "policy", "explain", receipts[0]["id"], code=4) is None
    assert said(capsys, "policy", "replay", lent, "--facts")["isSame"]
    assert {each["kind"] for each in same["decisions"]} == {"same"}
    assert sorted(each["kind"] for each in changed["decisions"]) == ["newly denied", "same"]
    for words in (["explain", intent], ["simulate", "--against", "policy"], ["replay", lent, "--facts"]):
        assert run(["policy", *words]) == 0
    told = capsys.readouterr().out
    assert "clerk → lend on book:b-7: permit" in told
    assert "clerk-lends permits it" in told
    assert "held for a yes of librarian (not the initiator, within" in told
    assert "2 of 2 decisions since" in told


@pytest.mark.requirement("MD-3")
def test_what_a_customers_runs_used_is_told_by_whatever_is_asked_for(library: Path, capsys: Capture) -> None:
    given = ["--subject", "customer:c-7", "--input", '{"book": "b-7", "reader": "r-2"}']
    assert run(["run", "agent:app", *given]) == 0
    capsys.readouterr()

    (agent,) = said(capsys, "costs")["rows"]
    (customer,) = said(capsys, "costs", "--by", "customer", "--customer", "customer:c-7")["rows"]
    nobody = said(capsys, "costs", "--customer", "customer:c-8")["rows"]

    assert (agent["name"], agent["toolCalls"], agent["runs"]) == ("clerk", 2, 1)
    assert (customer["name"][:6], customer["toolCalls"]) == ("party_", 2)
    assert nobody == []
    assert run(["costs", "--since", "soon"]) == 2
    assert run(["costs", "--by", "tool"]) == 0


@pytest.mark.requirement("GV-2")
def test_people_are_registered_with_their_keys_and_removed(library: Path, capsys: Capture) -> None:
    subprocess.run(
        ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "lea.key"], check=True, timeout=20
    )

    said(capsys, "person", "set", "max", "--role", "head")
    said(
        capsys, "person", "set", "lea", "--role", "librarian", "--reports-to", "max", "--deputy", "max", "--until", "3d"
    )
    key = said(capsys, "person", "signer", "add", "lea", "lea.key")["id"]

    assert [each["name"] for each in said(capsys, "person", "list")] == ["person:lea", "person:max"]
    assert [each["id"] for each in said(capsys, "person", "signer", "list")] == [key]
    for words in (["list"], ["signer", "list"], ["signer", "revoke", key[:12]], ["remove", "lea"]):
        assert run(["person", *words]) == 0
    assert run(["person", "set", "max", "--role", "head", "--deputy", "lea"]) == 2
    assert run(["person", "set", "max", "--role", "Head!"]) == 2
    assert said(capsys, "person", "signer", "list") == []


@pytest.mark.requirement("RT-3")
def test_the_same_key_is_the_same_run(library: Path, capsys: Capture) -> None:
    words = ["run", "agent:app", "clerk", "--key", "r-2/b-7", "--input", '{"book": "b-7", "reader": "r-2"}']

    first, second = said(capsys, *words), said(capsys, *words)

    assert first == second


@pytest.mark.requirement("EV-3")
def test_evidence_verifies_against_the_gates_keys_and_without_them_only_with_itself(lent: str, capsys: Capture) -> None:
    bundle = said(capsys, "evidence", "export", lent, "--out", "out", "--trust-out", "trust.toml")["bundle"]

    assert said(capsys, "verify", bundle, "--trust", "trust.toml")["verdict"] == "verified"
    assert said(capsys, "verify", bundle, code=3)["verdict"] == "self-consistent"
    whole = Path(bundle).read_bytes()
    Path("broken.zip").write_bytes(whole[: len(whole) // 2])
    said(capsys, "verify", "broken.zip", "--trust", "trust.toml", code=4)


def test_a_file_that_is_not_there_is_named(library: Path, capsys: Capture) -> None:
    assert run(["verify", "missing.zip"]) == 2

    assert "missing.zip" in capsys.readouterr().err


@pytest.mark.requirement("GV-2")
def test_a_held_action_is_decided_through_the_running_gate(library: Path, capsys: Capture) -> None:
    async def story() -> tuple[Any, Any, Any]:
        app = find_application("agent:app").app
        async with app.gate() as gate, ControlServer(app.data, gate.desk):
            started = await gate.start("clerk", {"book": "b-9", "reader": "r-2"}, on_behalf_of="person:sam")
            async with asyncio.timeout(60):
                while not gate.approvals.list():  # noqa: ASYNC110 - the record rings no bell for a hold
                    await asyncio.sleep(0.01)
            (held,) = await asyncio.to_thread(said, capsys, "approvals", "list")
            shown = await asyncio.to_thread(said, capsys, "approvals", "show", held["approval"])
            assert shown["askedBy"] == "person:sam"
            assert await asyncio.to_thread(run, ["approvals", "show", held["approval"]]) == 0
            told = capsys.readouterr().out
            assert "asked by  person:sam" in told
            assert "then it is refused" in told
            without = await asyncio.to_thread(run, ["approvals", "approve", held["approval"], "--as", "dana"])
            words = ["approvals", "approve", held["approval"], "--as", "dana", "--role", "librarian"]
            await asyncio.to_thread(said, capsys, *words)
            return held, without, await gate.result(started)

    held, without, result = asyncio.run(story())

    assert held["role"] == "librarian"
    assert without == 1
    assert result == "lent `Incunabula, volume II` to r-2"
    assert said(capsys, "approvals", "list", "--all")[0]["state"] == "approved"


@pytest.mark.requirement("GV-3", "RT-4")
def test_what_is_stopped_does_nothing_until_the_stop_is_lifted(lent: str, capsys: Capture) -> None:
    lending = ["run", "agent:app", "--input", '{"book": "b-7", "reader": "r-3"}']

    said(capsys, "kill", "agent:clerk", "--as", "dana", "--reason", "stocktaking")
    assert [stop["scope"] for stop in said(capsys, "kill")] == ["agent:clerk"]
    assert run(lending) == 1
    said(capsys, "kill", "agent:clerk", "--lift", "--as", "dana", "--reason", "counted")

    assert run(lending) == 0


def test_a_stop_without_a_name_and_a_reason_is_a_usage_error(lent: str) -> None:
    assert run(["kill", "all"]) == 2


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["run", "nowhere:app"], "config.app_not_found"),
        (["run", "agent:nothing"], "config.app_not_found"),
        (["run", "agent:SHELF"], "config.app_not_found"),
        (["run", "agent:app", "stranger"], "config.agent_unknown"),
        (["run", "agent:app", "--input", "no json"], "config.input_not_json"),
        (["run", "agent:app", "--input", "@missing.json"], "config.file_unusable"),
    ],
)
def test_what_cannot_be_run_is_said_plainly(library: Path, capsys: Capture, words: list[str], code: str) -> None:
    capsys.readouterr()
    assert run([*words, "--json"]) == 2

    assert json.loads(capsys.readouterr().err)["error"]["code"] == code


def test_an_input_that_does_not_fit_is_refused(library: Path) -> None:
    assert run(["run", "agent:app", "--input", '{"book": 7}']) == 1


def test_a_receipt_that_is_not_there_is_named(lent: str, capsys: Capture) -> None:
    assert run(["receipts", "show", "rcpt_0"]) == 4

    assert "rcpt_0" in capsys.readouterr().err


def test_the_file_that_init_writes_is_in_order_and_names_the_agent_that_run_runs(
    library: Path, capsys: Capture
) -> None:
    assert run(["serve", "--check"]) == 0
    assert run(["policy", "test"]) == 0
    assert said(capsys, "run", "clerk", "--input", LENDING)["result"] == "lent `A Field Guide to Lichens` to r-2"
    assert said(capsys, "run", "--input", LENDING)["result"] == "lent `A Field Guide to Lichens` to r-2"
    assert {each["name"] for each in said(capsys, "tools", "list")} == {"find_book", "lend"}


def test_every_command_finds_the_record_that_the_file_names(library: Path, capsys: Capture) -> None:
    file = Path("answerable.toml")
    file.write_text(file.read_text().replace('data = ".answerable/data"', 'data = "elsewhere"'))

    run_id = said(capsys, "run", "clerk", "--input", LENDING)["run"]

    assert Path("elsewhere").is_dir()
    assert [each["run"] for each in said(capsys, "runs", "list")] == [run_id]


def test_a_mistake_in_the_file_is_a_usage_error_with_its_line(library: Path, capsys: Capture) -> None:
    Path("other.toml").write_text('[agents.desk]\nownr = "team:desk"\n')
    capsys.readouterr()

    assert run(["serve", "--check", "--config", "other.toml"]) == 2
    assert "other.toml` cannot be used: line 2: `agents.desk.ownr`" in capsys.readouterr().err
    assert run(["serve", "--config", "none.toml"]) == 2


def test_an_agent_is_not_both_in_the_file_and_in_its_application(library: Path, capsys: Capture) -> None:
    Path("answerable.toml").write_text('app = "agent:app"\n[agents.clerk]\nowner = "team:desk"\n')
    capsys.readouterr()

    assert run(["serve", "--check"]) == 2
    assert "`agents.clerk` is an agent of `agent:app` already" in capsys.readouterr().err


@pytest.mark.requirement("MD-3")
def test_what_budgets_have_left_and_what_a_run_under_a_mandate_may_do(library: Path, capsys: Capture) -> None:
    with Path("answerable.toml").open("a") as file:
        file.write('\n[[budgets]]\nscope = "mandate:spring"\ncalls = 3\n')
    lending = ("run", "clerk", "--input", LENDING, "--mandate")

    said(capsys, *lending, "spring")
    said(capsys, *lending, "autumn", code=1)
    found = said(capsys, "budgets")

    assert found["budgets"] == [
        {"scope": "mandate:spring", "dimension": "calls", "limit": 3, "spent": 2, "reserved": 0, "left": 1}
    ]
    assert found["reserved"] == []


@pytest.mark.requirement("EV-2")
def test_a_key_is_rotated_and_the_next_run_is_signed_by_the_new_one(lent: str, capsys: Capture) -> None:
    before = {each["role"]: each["id"] for each in said(capsys, "keys", "list")}

    life = said(capsys, "keys", "rotate", "gate", "--as", "ada", "--reason", "a year is over")

    listed = {(each["role"], each["state"]): each["id"] for each in said(capsys, "keys", "list", "--all")}
    assert listed["gate", "retired"] == before["gate"]
    assert listed["gate", "in use"] == life["id"] != before["gate"]
    assert listed["log", "in use"] == before["log"]
    again = said(capsys, "run", "agent:app", "--input", LENDING)["run"]
    assert run(["evidence", "export", lent, again, "--out", "both.zip", "--trust-out", "trust.toml"]) == 0
    assert run(["verify", "both.zip", "--trust", "trust.toml"]) == 0


def test_a_retired_key_keeps_the_gate_shut_and_says_what_to_do(lent: str, capsys: Capture) -> None:
    said(capsys, "keys", "retire", "gate", "--as", "ada", "--reason", "the laptop is gone")

    assert run(["run", "agent:app", "--input", LENDING]) == 2
    assert "answerable keys rotate gate" in capsys.readouterr().err


def test_the_trust_file_names_the_keys_of_people_and_when_they_were_in_use(
    lent: str, capsys: Capture, tmp_path: Path
) -> None:
    subprocess.run("openssl ecparam -name prime256v1 -genkey -noout -out me.key", shell=True, check=True, cwd=tmp_path)
    key = said(capsys, "person", "signer", "add", "lee", "me.key")["id"]
    said(capsys, "keys", "retire", key, "--as", "ada")

    assert run(["evidence", "trust", "trust.toml"]) == 0

    trust = read_trust("trust.toml")
    assert trust.people_keys == {key}
    assert all(trust.periods[key])
    assert [each["state"] for each in said(capsys, "keys", "list", "--all") if each["role"] == "person"] == ["retired"]


@pytest.mark.requirement("TL-5")
def test_a_credential_is_read_from_standard_input_listed_by_name_and_removed(
    lent: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("s3cret-of-the-shop\n"))
    assert said(capsys, "credentials", "set", "shop", "--as", "ada") == {"credential": "shop", "state": "kept"}

    assert [each["credential"] for each in said(capsys, "credentials", "list")] == ["shop"]
    assert SealedVault(Path(".answerable/data")).find("shop").text == "s3cret-of-the-shop"
    records = [path for path in Path(".answerable/data").rglob("*") if path.is_file()]
    assert not any(b"s3cret-of-the-shop" in path.read_bytes() for path in records)

    said(capsys, "credentials", "remove", "shop", "--as", "ada")
    assert said(capsys, "credentials", "list") == []
    assert run(["credentials", "remove", "shop", "--as", "ada"]) == 2
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert run(["credentials", "set", "shop", "--as", "ada"]) == 2


@pytest.mark.requirement("TL-5", "GV-8")
def test_a_credential_is_set_for_an_environment_and_listed_with_it(
    lent: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("s3cret\n"))
    kept = said(capsys, "credentials", "set", "shop", "--environment", "staging", "--as", "ada")
    assert kept == {"credential": "shop", "state": "kept", "environment": "staging"}

    (listed,) = said(capsys, "credentials", "list")
    assert (listed["credential"], listed["environment"]) == ("shop", "staging")
    assert run(["credentials", "list"]) == 0
    assert "staging" in capsys.readouterr().out


@pytest.mark.requirement("GV-10")
def test_what_an_agent_may_do_by_itself_is_said_and_widened_with_evidence(library: Path, capsys: Capture) -> None:
    narrow = ("agent", "autonomy", "clerk", "draft", "--as", "dana", "--reason", "new here")
    assert said(capsys, *narrow)["tiers"][0]["tier"] == "draft"
    said(capsys, "run", "clerk", "--input", LENDING, code=1)
    wider = ("agent", "autonomy", "clerk", "execute", "--as", "dana", "--reason", "a good month")
    said(capsys, *wider, code=1)
    Path("measured.csv").write_text("lent,wrong\n200,0\n")

    widened = said(capsys, *wider, "--measured", "200 of 200", "--undo", "ask it back", "--evidence", "measured.csv")

    assert {each["tier"] for each in widened["tiers"]} == {"execute"}
    assert [each["tier"] for each in said(capsys, "agent", "autonomy")] == ["execute", "execute"]
    said(capsys, "run", "clerk", "--input", LENDING)
