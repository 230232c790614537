"""The story's end: evidence for somebody who trusts nobody here, and what happens if one digit of it is changed."""

import base64
import hashlib
import json
import shutil
import zipfile
from pathlib import Path

from answerable.cli._demo._support import Demo, say
from answerable.cli._drivers._processes import run_script
from answerable.ledger import Reader, export_bundle, write_trust
from answerable_verify import Report, verify

__all__ = ["prove"]

_AMOUNT, _FORGED = b'"minor":24900', b'"minor":14900'


def prove(demo: Demo, out: Path) -> bool:
    """Export, verify with `openssl` and with the verifier, forge a digit, verify again; whether all went as it must."""
    reader = Reader.open(demo.data)
    bundle = export_bundle(reader, list(demo.runs.values()), out / "support.evidence.zip")
    trust = write_trust(reader, out / "trust.toml")
    say(f"\nEvidence: {bundle} ({bundle.stat().st_size // 1024} KiB); the keys to trust, by another way: {trust}")

    folder = out / "evidence"
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(folder)
    say(f"\n$ bash {folder}/VERIFY.sh --trust {trust}        # bash, openssl and jq; nothing of ours")
    code, lines = run_script(["bash", "VERIFY.sh", "--trust", str(trust.resolve())], directory=folder)
    for line in lines[-4:]:
        say(f"  {line}")

    say(f"\n$ answerable verify {bundle} --trust {trust}")
    report = verify(bundle, trust)
    _show(report)

    forged = out / "forged.evidence.zip"
    if not _forge(bundle, forged):
        return code == 0 and report.exit_code == 0
    say(f"\nOne digit of a refund changed (249.00 to 149.00 EUR), the manifest made to match: {forged}")
    say(f"$ answerable verify {forged} --trust {trust}")
    caught = verify(forged, trust)
    _show(caught)
    return code == 0 and report.exit_code == 0 and caught.exit_code == 4


def _show(report: Report) -> None:
    lines = [line for line in report.lines() if line.strip()]
    for line in lines[:3]:
        say(f"  {line}")


def _forge(bundle: Path, forged: Path) -> bool:
    """Change one byte of what a receipt says, and the checksum that would give it away at once."""
    with zipfile.ZipFile(bundle) as source:
        members = {name: source.read(name) for name in source.namelist()}
    for name, content in members.items():
        if not name.startswith("receipts/"):
            continue
        body = base64.b64decode(json.loads(content)["payload"])
        if _AMOUNT in body:
            break
    else:
        return False
    changed = base64.b64encode(body.replace(_AMOUNT, _FORGED, 1))
    members[name] = content.replace(base64.b64encode(body), changed)
    manifest = members["manifest.json"]
    old, new = (hashlib.sha256(each).hexdigest().encode() for each in (content, members[name]))
    members["manifest.json"] = manifest.replace(old, new)
    shutil.copyfile(bundle, forged)
    with zipfile.ZipFile(forged, "w", zipfile.ZIP_DEFLATED) as target:
        for member, text in members.items():
            target.writestr(member, text)
    return True
