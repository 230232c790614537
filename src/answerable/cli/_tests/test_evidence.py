"""Evidence by command: what is written says how far it goes, and what cannot be used is named and not dumped."""

import contextlib
import json
import os
from pathlib import Path

import pytest

from answerable.cli._main import run
from answerable.cli._tests.test_cli import Capture, lent, library, said
from answerable.cli._watching import Watching
from answerable.core import TenantId
from answerable.ledger import Reader, log_folder
from answerable_verify import Mirror

__all__ = ["lent", "library"]

DATA = Path(".answerable/data")
TENANT = TenantId("default")


@pytest.fixture
def kept(lent: str) -> int:
    """The size of a checkpoint that was kept as one that others signed, under a log that grew since."""
    with contextlib.closing(Reader.open(DATA)) as reader:
        size = reader.head(TENANT).size
        log_folder(DATA, TENANT).put(f"checkpoints/{size}", reader.checkpoint(TENANT).encode())
    assert run(["run", "agent:app", "--input", '{"book": "b-7", "reader": "r-2"}']) == 0
    return size


@pytest.mark.requirement("EV-2", "EV-3")
def test_a_bundle_of_everything_says_how_far_it_goes_and_takes_in_the_rest_on_request(
    kept: int, capsys: Capture
) -> None:
    signed = said(capsys, "evidence", "export", "--all", "--out", "all.zip", "--trust-out", "trust.toml")
    newest = said(capsys, "evidence", "export", "--all", "--newest", "--out", "newest.zip")

    assert signed["entries"] == kept
    assert signed["later"] > 0
    assert (newest["entries"], newest["later"]) == (kept + signed["later"], 0)
    assert run(["evidence", "export", "--all", "--out", "all.zip"]) == 0
    assert f"{signed['later']} later receipts are not in it" in capsys.readouterr().out
    for bundle, size in (("all.zip", kept), ("newest.zip", newest["entries"])):
        report = said(capsys, "verify", bundle, "--trust", "trust.toml")
        assert (report["verdict"], report["treeSize"]) == ("verified", size)


def test_what_goes_with_everything_is_not_taken_for_a_run(lent: str, capsys: Capture) -> None:
    for words in ([lent, "--newest"], [lent, "--until", "note"], ["--all", "--newest", "--until", "note"]):
        assert run(["evidence", "export", *words]) == 2

    err = capsys.readouterr().err
    assert err.count("go with `--all`") == 2
    assert "that of `--until`" in err


@pytest.mark.requirement("EV-2")
def test_everything_up_to_a_checkpoint_that_somebody_kept(kept: int, capsys: Capture) -> None:
    note = DATA / "log" / TENANT / "checkpoints" / str(kept)
    first = said(capsys, "evidence", "export", "--all", "--until", str(note), "--out", "first.zip")
    rest = said(capsys, "evidence", "export", "--all", "--since", str(note), "--newest", "--out", "rest.zip")

    assert first["entries"] == kept
    assert first["later"] == rest["entries"] - kept > 0


def test_a_trust_file_that_no_verifier_would_take_is_not_written(lent: str, capsys: Capture) -> None:
    witness = str(Watching.make(Path("cy"), "monitor.example/cy").vkey)
    Path("no.pem").write_text("no certificate")
    Path("trust.toml").write_text("as it was")

    too_many = run(["evidence", "trust", "trust.toml", "--witness", witness, "--quorum", "2"])
    twice = run(["evidence", "trust", "trust.toml", "--witness", witness, "--monitor", witness])
    no_root = run(["evidence", "trust", "trust.toml", "--tsa-root", "no.pem"])

    assert (too_many, twice, no_root) == (2, 2, 2)
    err = capsys.readouterr().err
    assert all(word in err for word in ("quorum", "in another role", "tsa_root"))
    assert Path("trust.toml").read_text() == "as it was"
    assert not list(Path().glob(".trust*"))


@pytest.mark.parametrize(
    "words",
    [
        ["evidence", "export", "--all", "--out"],
        ["evidence", "trust"],
        ["evidence", "pack", "--framework", "soc2", "--out"],
        ["verify", "all.zip", "--html"],
    ],
    ids=["export", "trust", "pack", "html"],
)
def test_a_place_that_cannot_be_written_is_named_without_a_traceback(
    lent: str, capsys: Capture, words: list[str]
) -> None:
    assert run(["evidence", "export", "--all", "--out", "all.zip"]) == 0
    Path("plain").write_text("a file, not a folder")

    assert run([*words, "plain/x"]) == 2

    err = capsys.readouterr().err
    assert "plain/" in err
    assert "cannot be used" in err


def test_a_pipe_is_not_waited_for_and_a_proof_without_trust_is_named(lent: str, capsys: Capture) -> None:
    os.mkfifo("pipe.zip")
    receipt = said(capsys, "receipts", "list", lent)[0]["id"]
    assert run(["log", "proof", receipt, "--out", "one.tlog-proof"]) == 0

    assert run(["verify", "pipe.zip"]) == 2
    assert run(["verify", "one.tlog-proof"]) == 2

    err = capsys.readouterr().err
    assert "`pipe.zip` cannot be used: it is no regular file" in err
    assert "`one.tlog-proof` cannot be used" in err


@pytest.mark.requirement("EV-2")
def test_a_monitor_shows_the_signed_heads_that_prove_an_alert(library: Path, capsys: Capture) -> None:
    assert run(["evidence", "trust", "trust.toml"]) != 0  # there is no record yet
    assert run(["run", "agent:app", "--input", '{"book": "b-7", "reader": "r-2"}']) == 0
    assert run(["evidence", "trust", "trust.toml"]) == 0
    assert run(["monitor", "init", "monitor.example/cy"]) == 0
    followed = Watching(Path("monitor")).add(
        "http://127.0.0.1:9/log", Path("trust.toml"), secret="", witnesses=(), silence_s=None
    )
    heads = "a/log\n6\nAAAA\n\n\N{EM DASH} a/log BBBB\na/log\n6\nCCCC\n\n\N{EM DASH} a/log \x9bDDDD\n"
    with contextlib.closing(Mirror(Path("monitor") / followed.place / "mirror.sqlite3")) as mirror:
        mirror.alert("split-view", "two root hashes for 6 entries", "", "2026-11-21T08:00:00Z", heads.encode())
    capsys.readouterr()

    assert run(["monitor", "show"]) == 1
    shown = capsys.readouterr().out
    assert run(["monitor", "show", "--json"]) == 1
    (alert,) = json.loads(capsys.readouterr().out)["logs"][0]["alerts"]

    assert "  ALERT split-view, 2026-11-21T08:00:00Z: two root hashes for 6 entries\na/log\n6\nAAAA\n" in shown
    assert "\x9b" not in shown
    assert alert["evidence"] == heads
