"""Which clauses govern what, and in which version of the files."""

import os
import subprocess
from pathlib import Path

import pytest

from answerable.core import NotCanonical, canonical_json, sha256_name
from answerable.standing import SpecInvalid, Specs, SpecsMissing, load_specs, parse_snapshot

TEXT = """+++
id = "{id}"
title = "Títle"
owner = "cfo"
[governs]
{governs}
+++
## {clause} A clause
"""


def a_spec(directory: Path, name: str, governs: str, clause: str) -> Path:
    path = directory / f"{name}.md"
    path.write_text(TEXT.format(id=name, governs=governs, clause=clause), encoding="utf-8")
    return path


def git(directory: Path, *arguments: str) -> str:
    identity = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org"}
    identity |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in identity.items()}
    environment = {n: v for n, v in os.environ.items() if not n.startswith("GIT_")} | identity
    done = subprocess.run(["git", *arguments], cwd=directory, env=environment, check=True, capture_output=True)
    return done.stdout.decode().strip()


@pytest.fixture
def specs(tmp_path: Path) -> Specs:
    a_spec(tmp_path, "both", 'agents = ["support*"]\ntools = ["shop.*"]', "BOTH-1")
    a_spec(tmp_path, "by-agent", 'agents = ["support"]', "AGENT-1")
    a_spec(tmp_path, "by-tool", 'tools = ["*.refund"]', "TOOL-1")
    a_spec(tmp_path, "by-file", 'files = ["policy/**", "*.cedar"]', "FILE-1")
    return load_specs(tmp_path)


@pytest.mark.requirement("EV-4")
@pytest.mark.parametrize(
    ("agent", "tool", "clauses"),
    [
        ("support", "shop.refund", ("AGENT-1", "BOTH-1", "TOOL-1")),
        ("support", "mail.send", ("AGENT-1",)),
        ("support-night", "shop.find", ("BOTH-1",)),
        ("Support", "shop.find", ()),
        ("billing", "bank.refund", ("TOOL-1",)),
    ],
)
def test_a_clause_governs_what_its_specification_names(
    specs: Specs, agent: str, tool: str, clauses: tuple[str, ...]
) -> None:
    assert specs.governing(agent=agent, tool=tool) == clauses
    assert specs.governing(agent=agent, tool=tool) == clauses


def test_a_file_is_governed_by_path(specs: Specs) -> None:
    assert specs.governing_file("policy/authorize/refunds.cedar") == ("FILE-1",)
    assert specs.governing_file("src/policy.py") == ()


def test_a_snapshot_gives_the_same_specifications_back(specs: Specs) -> None:
    assert parse_snapshot(specs.snapshot()) == specs
    assert parse_snapshot(next(iter(specs)).snapshot()).specs == specs.specs[:1]


def test_an_altered_snapshot_is_refused(specs: Specs) -> None:
    with pytest.raises(SpecInvalid, match="without its digest"):
        parse_snapshot(specs.snapshot().replace(b"A clause", b"B clause"))
    with pytest.raises(SpecInvalid, match="another format"):
        parse_snapshot(canonical_json({"format": "urn:other"}))
    with pytest.raises(NotCanonical):
        parse_snapshot(b'{"format": 1}')


def test_without_git_a_version_is_its_digest(tmp_path: Path) -> None:
    path = a_spec(tmp_path, "pay", 'agents = ["*"]', "PAY-1")

    spec = next(iter(load_specs(tmp_path)))

    assert spec.digest == sha256_name(path.read_bytes())
    assert (spec.commit, spec.blob) == ("", "")
    assert spec.version == f"pay@{spec.digest[:19]} (uncommitted)"


@pytest.mark.requirement("EV-4")
def test_a_committed_file_has_its_own_commit_and_blob_until_it_is_changed(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    folder = tmp_path / ".answerable" / "specs"
    folder.mkdir(parents=True)
    path = a_spec(folder, "pay", 'agents = ["*"]', "PAY-1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "specs")
    commit = git(tmp_path, "rev-parse", "HEAD")
    git(tmp_path, "commit", "-qm", "something else", "--allow-empty")

    committed = next(iter(load_specs(folder)))
    path.write_bytes(path.read_bytes() + b"\nMore.\n")
    changed = next(iter(load_specs(folder)))
    git(tmp_path, "add", ".")
    staged = next(iter(load_specs(folder)))

    assert (committed.commit, committed.blob) == (
        commit,
        git(tmp_path, "rev-parse", f"HEAD:{path.relative_to(tmp_path)}"),
    )
    assert committed.version == f"pay@{commit[:12]}"
    assert changed.commit == staged.commit == ""


def test_a_git_that_fails_leaves_the_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a_spec(tmp_path, "pay", 'agents = ["*"]', "PAY-1")
    monkeypatch.setenv("PATH", "")

    assert next(iter(load_specs(tmp_path))).commit == ""


def test_ids_used_twice_are_refused_naming_both_files(tmp_path: Path) -> None:
    a_spec(tmp_path, "one", 'agents = ["*"]', "PAY-1")
    a_spec(tmp_path, "two", 'agents = ["*"]', "PAY-1")

    with pytest.raises(SpecInvalid, match=r"`two\.md` line 8 \(PAY-1\): the id `PAY-1`, which `one\.md` has"):
        load_specs(tmp_path)


def test_a_missing_folder_is_an_error_and_an_empty_one_is_not(tmp_path: Path) -> None:
    assert len(load_specs(tmp_path)) == 0
    with pytest.raises(SpecsMissing):
        load_specs(tmp_path / "nowhere")


def test_bytes_that_are_not_utf_8_are_refused_with_their_line(tmp_path: Path) -> None:
    path = a_spec(tmp_path, "pay", 'agents = ["*"]', "PAY-1")
    path.write_bytes(path.read_bytes() + b"caf\xe9\n")

    with pytest.raises(SpecInvalid, match="line 9 "):
        load_specs(tmp_path)
