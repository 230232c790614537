"""The story's end: what the record proves to somebody who trusts nobody here, and what a forged byte does to it."""

import base64
import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

from answerable.app import all_projections
from answerable.cli._demo._story import Story
from answerable.cli._drivers._processes import run_script
from answerable.core import RunId
from answerable.ledger import export_bundle, rebuild, write_trust
from answerable.policy import replay_decisions
from answerable.standing import check_record
from answerable_verify import verify

__all__ = ["prove"]


def prove(story: Story) -> None:
    """Judge the record, make it evidence, have it verified, and forge it."""
    _judge(story)
    _repeat(story)
    _verify(story)


def _judge(story: Story) -> None:
    telling = story.telling
    telling.act(5, "Was the specification satisfied? Computed from the receipts alone")
    verdicts = check_record(story.watch.reader, list(story.watch.tickets))
    for each in verdicts:
        holds = each.verdict in ("satisfied", "not applicable")
        because = f"{len(each.shown_by)} receipts show it" if holds else each.reason
        line = f"{each.clause}  {each.verdict}: {each.title} ({because})"
        telling.check("clause", holds, line, clause=each.clause, verdict=each.verdict, shownBy=each.shown_by)
    if not verdicts:
        telling.check("clause", False, "no clause was recorded with the runs")


def _repeat(story: Story) -> None:
    telling = story.telling
    telling.act(6, "Does the record hold together?")
    replays = [replay_decisions(story.watch.reader, run) for run in story.watch.tickets]
    decisions = [each for replay in replays for each in replay.decisions]
    same = sum(1 for each in decisions if each.is_replayable and not each.difference)
    line = f"policy replay: {same} of {len(decisions)} decisions come out the same from the recorded requests"
    telling.check("replay", bool(decisions) and all(replay.is_same for replay in replays), line)
    tables = rebuild(story.data, all_projections())
    equal = sum(1 for table in tables if table.is_equal)
    rows = sum(table.rows for table in tables)
    line = f"rebuild: {equal} of {len(tables)} tables ({rows} rows) are what the receipts alone say they are"
    telling.check("rebuild", equal == len(tables), line)


def _verify(story: Story) -> None:
    telling, out = story.telling, story.out
    telling.act(7, "Evidence for somebody who trusts nobody here")
    runs = sorted(story.watch.tickets, key=lambda run: story.watch.tickets[run].id)
    bundle = export_bundle(story.watch.reader, runs, out / "support.evidence.zip")
    trust = write_trust(story.watch.reader, out / "trust.toml")
    size = f"{bundle.stat().st_size // 1024} KiB"
    telling.tell("exported", f"{bundle} ({size}), and the keys to trust: {trust}", bundle=str(bundle), trust=str(trust))

    folder = out / "evidence"
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    telling.say(f"$ bash {folder}/VERIFY.sh --trust {trust}    # bash, openssl and jq: nothing of ours")
    code, lines = run_script(["bash", "VERIFY.sh", "--trust", str(trust.resolve())], directory=folder)
    said = lines[-1].strip() if lines else ""
    telling.check("VERIFY.sh", code == 0, f"{said} (exit {code})", exitCode=code)

    telling.say(f"$ answerable verify {bundle} --trust {trust}")
    report = verify(bundle, trust)
    found = report.first or f"{report.receipts} receipts, assurance {report.assurance}"
    line = f"{report.verdict}: {found} (exit {report.exit_code})"
    telling.check("verify", report.exit_code == 0, line, exitCode=report.exit_code)
    _forge_and_verify(story, bundle, trust, runs)


def _forge_and_verify(story: Story, bundle: Path, trust: Path, runs: list[RunId]) -> None:
    """Change one byte of a refund that happened, and the checksum that would give it away at once."""
    telling, forged = story.telling, story.out / "tampered.evidence.zip"
    with zipfile.ZipFile(bundle) as source:
        members = {name: source.read(name) for name in source.namelist()}
    target, what = _altered(members)
    manifest, listed = json.loads(members["manifest.json"]), hashlib.sha256(members[target]).hexdigest()
    members["manifest.json"] = members["manifest.json"].replace(manifest["members"][target].encode(), listed.encode())
    with zipfile.ZipFile(forged, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    telling.say(f"one byte changed in a copy ({what}), and its manifest made to match: {forged}")
    telling.say(f"$ answerable verify {forged} --trust {trust}")
    report = verify(forged, trust)
    first = report.first
    named = _predicate(members[target])["id"]
    holds = report.exit_code == 4 and first is not None and first.receipt == named
    where = f"{first.check} of {first.receipt or first.member}" if first else "nothing was found"
    line = f"{report.verdict}: {where} (exit {report.exit_code})"
    telling.check("tampering", holds, line, exitCode=report.exit_code, receipt=first.receipt if first else "")
    telling.say(f"       {first.what}" if first else "")


def _altered(members: dict[str, bytes]) -> tuple[str, str]:
    """Alter a refund's amount, or else any receipt's last byte of time; the member's name, and what was done."""
    names = sorted(name for name in members if name.startswith("receipts/"))
    for name in reversed(names):
        said = _predicate(members[name])
        amount = said.get("action", {}).get("amount")
        if said["phase"] == "outcome" and amount and said["effect"]["status"] == "ok":
            then = f'"minor":{amount["minor"]}'
            now = f'"minor":{9 if then[8] != "9" else 8}{then[9:]}'
            _replace(members, name, then, now)
            return name, f"{then} to {now}"
    name = names[-1]
    then = f'"at":"{_predicate(members[name])["at"]}'
    _replace(members, name, then, then[:-2] + ("1Z" if then[-2] == "0" else "0Z"))
    return name, "the time of a receipt"


def _replace(members: dict[str, bytes], name: str, then: str, now: str) -> None:
    body = base64.b64decode(json.loads(members[name])["payload"])
    altered = base64.b64encode(body.replace(then.encode(), now.encode(), 1))
    members[name] = members[name].replace(base64.b64encode(body), altered)


def _predicate(envelope: bytes) -> dict[str, Any]:
    predicate: dict[str, Any] = json.loads(base64.b64decode(json.loads(envelope)["payload"]))["predicate"]
    return predicate
