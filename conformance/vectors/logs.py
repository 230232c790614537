"""Bundles whose members, proofs, checkpoints and cosignatures are what they should be, or not."""

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from nacl.signing import SigningKey

from conformance.vectors.making import (
    ADA_WITNESS,
    BO_WITNESS,
    CY_MONITOR,
    GATE,
    LOG,
    ORIGIN,
    STRANGER,
    Run,
    Said,
    bundle,
    canonical,
    checkpoint,
    cosigned,
    entry,
    pem,
    sha256,
    tree_root,
    trust_text,
    verifier_key,
)
from conformance.vectors.runs import Cases, an_ordinary_run
from conformance.vectors.stamps import (
    AUTHORITY,
    BY_RSA,
    BY_TWO,
    SERVER,
    TIME_STAMPING,
    Authority,
    authority,
    signature_algorithm,
    stamp,
)

__all__ = ["TRUSTS", "log_cases", "of_a_large_log"]

ADA, BO, CY = "witness.example/ada", "witness.example/bo", "monitor.example/cy"
_THEN_S = 1_795_233_600  # 2026-11-21T04:00:00Z, when the receipts were written
_WITNESSES = {"witness": verifier_key(ADA, ADA_WITNESS), "witness_2": verifier_key(BO, BO_WITNESS)}
TRUSTS = {
    "both witnesses": trust_text(**_WITNESSES),
    "one of two witnesses": trust_text(**_WITNESSES, quorum="1"),
    "witnesses and a monitor": trust_text(**_WITNESSES, monitor=verifier_key(CY, CY_MONITOR)),
    "a monitor alone": trust_text(monitor=verifier_key(CY, CY_MONITOR)),
}
TRUSTS |= {
    "two log keys": trust_text(log_key=pem(STRANGER), log_key_2=pem(LOG)),
    "a log key until three": trust_text(log_key_until="2026-11-21T03:00:00Z"),
    "a log key until five": trust_text(log_key_until="2026-11-21T05:00:00Z"),
}
_ITSELF = replace(AUTHORITY.leaf, subject="Time, alone", issuer="Time, alone", issuer_key=AUTHORITY.leaf.key)
_ALONE = Authority(root=_ITSELF, leaf=_ITSELF)
TRUSTS |= {
    "an authority alone": trust_text(tsa_root=_ITSELF.pem),
    "both of two hops": trust_text(tsa_root=BY_TWO.between[0].pem, tsa_root_2=BY_TWO.root.pem),
    "an authority": trust_text(tsa_root=AUTHORITY.root.pem),
    "two authorities": trust_text(tsa_root=AUTHORITY.leaf.pem, tsa_root_2=AUTHORITY.root.pem),
    "an authority that is no root": trust_text(tsa_root=BY_TWO.between[0].pem),
    "an authority that ended": trust_text(tsa_root=replace(AUTHORITY.root, until="261101000000Z").pem),
}
_FIRST = "receipts/000001.json"
_RECEIPT = "receipts/000003.json"


def log_cases() -> list[Said]:
    cases = Cases()
    _members(cases)
    _receipts(cases)
    _inclusion(cases)
    _checkpoints(cases)
    _complete(cases)
    _told(cases)
    _watchers(cases)
    _stamps(cases)
    return cases.all


def _run(number: int = 1) -> Run:
    """A short run: opened, one write, closed."""
    run = Run(number)
    run.outcome(1, run.intent(1))
    run.add("run.close")
    return run


def _edited(name: str, change: Callable[[Said], object]) -> Callable[[Said], None]:
    """Changes a JSON member after the manifest was made."""

    def spoil(members: Said) -> None:
        value = json.loads(members[name])
        change(value)
        members[name] = canonical(value).decode()

    return spoil


def _text(name: str, change: Callable[[str], str]) -> Callable[[Said], None]:
    def spoil(members: Said) -> None:
        members[name] = change(members[name])

    return spoil


def _members(cases: Cases) -> None:
    def case(name: str, spoil: Callable[[Said], object], check: str = "manifest") -> None:
        members = bundle(_run().envelopes())
        spoil(members)
        cases.add(name, members, check)

    case("a member that is not listed", lambda members: members.update({"notes.txt": "hello"}))
    case("a member that is listed and missing", lambda members: members.pop("keys.json"))
    case("a member that is not the one listed", _text("keys.json", lambda text: text + " "))
    case("no manifest", lambda members: members.pop("manifest.json"))
    case("a manifest of another format", _edited("manifest.json", lambda said: said.update(format="x/2")))
    case("a manifest that is a list", lambda members: members.update({"manifest.json": "[]"}))
    case("a manifest with a float", _text("manifest.json", lambda text: text.replace('"receipts":4', '"receipts":4.0')))
    case("a manifest with a key twice", _text("manifest.json", lambda text: text.replace("{", '{"tenant":"x",', 1)))
    case("a manifest nested too deeply", lambda members: members.update({"manifest.json": "[" * 100_000}))
    case(
        "a manifest of very many arrays",
        lambda members: members.update({"manifest.json": "[" + "[]," * 10_000 + "[]]"}),
    )
    case("a manifest that says nothing", lambda members: members.update({"manifest.json": "{}"}))
    case("another number of receipts", _edited("manifest.json", lambda said: said.update(receipts=3)))
    case("a run that is not there", _edited("manifest.json", lambda said: said["runs"].append("run_x")), "chain")
    case("a further member that is listed", _listed("mandates/1.json", "{}"), "")
    case("a receipt by another name", _listed("receipts/x.json", "{}"))


def _listed(name: str, content: str) -> Callable[[Said], None]:
    def spoil(members: Said) -> None:
        members[name] = content
        _edited("manifest.json", lambda said: said["members"].update({name: sha256(content.encode())}))(members)
        if name.startswith("receipts/"):
            _edited("manifest.json", lambda said: said.update(receipts=said["receipts"] + 1))(members)

    return spoil


def _receipts(cases: Cases) -> None:
    def case(name: str, check: str, change: Callable[[list[str]], list[str]], *, at: int = -1) -> None:
        run = an_ordinary_run()
        log = run.envelopes()
        members = bundle(log)
        shown = dict(zip((f"receipts/{n:06d}.json" for n in range(1, 99)), change(log[:]), strict=False))
        kept = {name: text for name, text in members.items() if not name.startswith("receipts/")}
        forged = {**kept, **shown}
        manifest = json.loads(forged.pop("manifest.json"))
        manifest["members"] = {name: sha256(text.encode()) for name, text in forged.items()}
        manifest["receipts"] = len(shown)
        forged["manifest.json"] = canonical(manifest).decode()
        cases.add(name, forged, check, receipt=run.said[at]["id"] if at >= 0 else "")

    def altered(log: list[str], old: bytes, new: bytes) -> str:
        outer = json.loads(log[2])
        body = base64.b64decode(outer["payload"]).replace(old, new, 1)
        return canonical({**outer, "payload": base64.b64encode(body).decode()}).decode()

    case("a receipt was dropped", "chain", lambda log: log[:4] + log[5:])
    case("the last receipts were dropped", "inclusion", lambda log: log[:8])
    case("a receipt twice", "chain", lambda log: [*log, log[3]], at=3)
    case("two receipts swapped", "chain", lambda log: [*log[:3], log[4], log[3], *log[5:]], at=3)
    case("all receipts in another order", "chain", lambda log: [*log[5:], *log[:5]])
    case(
        "a receipt that says something else",
        "signature",
        lambda log: [*log[:2], altered(log, b'"ok"', b'"no"'), *log[3:]],
        at=2,
    )
    case("a receipt that breaks off", "envelope", lambda log: [*log[:2], log[2][:-1], *log[3:]])
    case("white space in a receipt", "envelope", lambda log: [*log[:2], log[2].replace(":", ": ", 1), *log[3:]])
    case(
        "a statement with white space", "statement", lambda log: [*log[:2], altered(log, b":", b": "), *log[3:]], at=-1
    )
    case("no receipt at all", "envelope", lambda log: [])


def _inclusion(cases: Cases) -> None:
    def case(name: str, change: Callable[[Said], object] | None, check: str = "inclusion") -> None:
        log = [*_run(1).envelopes(), *_others(2, 5), *_run(3).envelopes(_later)]
        chosen = [*range(4), *range(len(log) - 4, len(log))]
        members = bundle(log, chosen=chosen)
        if change:
            value = json.loads(members["proofs.json"])
            change(value)
            members = bundle(log, chosen=chosen, changed={"proofs.json": canonical(value).decode()})
        cases.add(name, members, check)

    case("two runs of a longer log", None, "")
    case("a node is missing", lambda said: said["nodes"].popitem())
    case("a node is not needed", lambda said: said["nodes"].setdefault("0", {}).update({"0": "0" * 64}))
    case(
        "another node",
        lambda said: said["nodes"].update({k: dict.fromkeys(v, "0" * 64) for k, v in said["nodes"].items()}),
    )
    case("a node in capitals", lambda said: said["nodes"].update({"0": dict.fromkeys(said["nodes"]["0"], "A" * 64)}))
    case("a node by a number with a leading zero", _leading_zero)
    case("two receipts claim one leaf", lambda said: said["leaves"].update({_RECEIPT: 1}))
    case("a leaf outside the tree", lambda said: said["leaves"].update({_RECEIPT: 99}))
    case("a leaf that is text", lambda said: said["leaves"].update({_RECEIPT: "2"}))
    case("a leaf for no receipt", lambda said: said["leaves"].update({"receipts/000099.json": 5}))
    case("a receipt without a leaf", lambda said: said["leaves"].pop(_RECEIPT))
    case("another tree size", lambda said: said.update(size=12))
    case("no nodes", lambda said: said.pop("nodes"))
    log = an_ordinary_run().envelopes()
    stated = checkpoint(len(log), bytes(32))
    cases.add("another root", bundle(log, note=stated), "inclusion")
    huge = canonical({"size": 2**53 - 1, "leaves": {"receipts/000001.json": 0}, "nodes": {}}).decode()
    members = bundle(log, note=checkpoint(2**53 - 1, bytes(32)), changed={"proofs.json": huge})
    cases.add("a tree of more than it could be", members, "inclusion")
    # Some languages take `true` for 1 and `false` for 0: a log of one entry tells.
    alone = an_ordinary_run().envelopes()[:1]
    for name, said in (
        ("a tree size that is `true`", {"size": True}),
        ("a leaf that is `false`", {"leaves": {_FIRST: False}}),
    ):
        proofs = {"size": 1, "leaves": {_FIRST: 0}, "nodes": {}, **said}
        cases.add(name, bundle(alone, changed={"proofs.json": canonical(proofs).decode()}), "inclusion")


def _leading_zero(said: Said) -> None:
    row = next(iter(said["nodes"].values()))
    index, node = row.popitem()
    row["0" + index] = node


def _others(number: int, count: int) -> list[str]:
    """Entries of the tenant's other runs."""
    run = Run(number)
    for each in range(count - 1):
        run.read(each + 1)
    return run.envelopes(lambda said: [each["boundary"].update(boot="boot_2") for each in said])


def _checkpoints(cases: Cases) -> None:
    log = _run().envelopes()
    root = tree_root([entry(text) for text in log])

    def case(name: str, note: str, check: str = "checkpoint", **more: Any) -> None:
        cases.add(name, bundle(log, note=note), check, **more)

    good = checkpoint(len(log), root)
    case("a checkpoint signed by another key", checkpoint(len(log), root, STRANGER))
    case("a checkpoint signed by the gate's key", checkpoint(len(log), root, GATE), "key-role")
    case("a checkpoint by the log's earlier key", good, "", trust="two log keys")
    case("a checkpoint by a log key in use then", good, "", trust="a log key until five")
    case("a checkpoint by a log key in use no longer", good, "key-period", trust="a log key until three")
    case("a checkpoint of another log", checkpoint(len(log), root, LOG, ORIGIN.replace("acme", "evil")))
    elsewhere = checkpoint(len(log), root, LOG, ORIGIN.replace("answerable.local", "other.example"))
    case("a checkpoint of another log with a tenant of that name", elsewhere)
    case("a checkpoint without a signature", good.split("\n\n")[0] + "\n")
    case("a checkpoint whose signature is not canonical base64", good[:-3] + "R" + good[-2:])
    case("an unknown signature beside the log's", cosigned(good, "elsewhere.example", STRANGER, _THEN_S), "")
    other = ORIGIN.replace("acme", "other")
    keys = json.loads(bundle(log)["keys.json"])
    keys["log"]["origin"] = other
    members = bundle(log, note=checkpoint(len(log), root, LOG, other), changed={"keys.json": canonical(keys).decode()})
    cases.add("receipts of another tenant than the log's", members, "checkpoint", trust="")
    rotated = {**json.loads(bundle(log)["keys.json"])}
    rotated["log"] = {"origin": ORIGIN, "pem": pem(STRANGER), "earlier": [pem(LOG)]}
    members = bundle(log, changed={"keys.json": canonical(rotated).decode()})
    cases.add("a log key that was rotated", members, trust="", verdict="self-consistent", assurance="dev")
    one_key = {"gate": [{"keyid": "", "pem": keys["log"]["pem"]}], "log": keys["log"]}
    members = bundle(log, changed={"keys.json": canonical(one_key).decode()})
    cases.add("one key for gate and log", members, "signature", trust="")


def _complete(cases: Cases) -> None:
    first, second = _run(1).envelopes(), _run(3).envelopes(_later)
    log = [*first, *_others(2, 3), *second]
    entries = [entry(text) for text in log]
    size, end = len(first), len(log)

    def head(size: int, key: SigningKey = LOG) -> str:
        return checkpoint(size, tree_root(entries[:size]), key)

    def case(
        name: str, check: str = "", *, start: int = size, note: str = "", chosen: Sequence[int] | None = None
    ) -> None:
        changed = {"checkpoint.from.txt": note} if note else {}
        spanned = range(start, end) if chosen is None else chosen
        cases.add(name, bundle(log, chosen=spanned, complete={"from": start}, changed=changed), check)

    case("everything from the beginning", start=0)
    case("everything since an older checkpoint", note=head(size))
    case("everything since the middle of a run", start=size - 1, note=head(size - 1))
    left_out = [*range(size, size + 2), *range(size + 3, end)]
    case("an entry was left out", "complete", note=head(size), chosen=left_out)
    case("an entry was left out at the end", "complete", note=head(size), chosen=range(size, end - 1))
    case("the older checkpoint is of another history", "complete", note=checkpoint(size, bytes(32)))
    case("the older checkpoint is of another size", "complete", note=head(size - 1))
    case("the older checkpoint is missing", "complete")
    case("the older checkpoint is not the log's", "checkpoint", note=head(size, STRANGER))
    case("entries from before the span", "complete", note=head(size), chosen=range(1, end))
    cases.add("nearly all of a large log was left out", of_a_large_log(_run(1).envelopes()), "complete")
    cases.add("a span from nowhere", bundle(log, complete={"from": -1}), "complete")


def _told(cases: Cases) -> None:
    """Erasures in runs, and what the control run tells of them."""

    def case(
        name: str, check: str = "", *, texts: int = 3, runs: int = 2, own: str = "0", kept: int = 0, **more: Any
    ) -> None:
        first, second, control = Run(1), Run(2), Run(4, starts=False)
        control.name = "control:acme"
        given = {"input": f"sha256:{'7' * 64}"}
        control.add("control", control={"do": "person"}, commitments=given)
        for run in (first, second):
            run.outcome(1, run.intent(1))
            run.add("run.close")
        first.erased("1-2", texts=2, name=more.pop("named", "era_1"))
        if kept:
            second.erased("1-2", texts=2)
        if more.pop("is_told", True):
            told: Said = {"subject": "party_ada", "runs": runs, "by": "party_dana", "reason": "asked"}
            for _ in range(more.pop("times", 1)):
                control.erased(own, texts=texts, **told)
        written = [*first.said, *second.said, *control.said]
        for n, said in enumerate(written):
            said["boundary"]["n"] = n
        log = [*first.envelopes(), *second.envelopes(), *control.envelopes()]
        is_complete = more.pop("is_complete", True)
        receipt = more.pop("receipt", control.said[-1]["id"] if check else "")
        cases.add(name, bundle(log, complete={"from": 0} if is_complete else None), check, receipt=receipt)

    case("an erasure told of in full")
    case("an erasure of two runs, told of in full", texts=4, own="", kept=1)
    case("an erasure told of in full, as older gates did", own="")
    case("an erasure that the control run does not tell of", "erasures", is_told=False, receipt=f"rcpt_{4:024x}")
    case("an erasure that is told of elsewhere in the log", is_told=False, is_complete=False)
    case("an erasure told of under another name", "erasures", named="era_2", receipt=f"rcpt_{4:024x}")
    case("an erasure told of with fewer texts", "erasures", texts=1)
    case("an erasure told of with more texts", "erasures", texts=4)
    case("an erasure told of with more runs", "erasures", runs=3)
    case("an erasure told of twice", "erasures", times=2)


def of_a_large_log(log: list[str], levels: int = 52) -> Said:
    """A bundle that says it is complete, with a sound proof of the first four entries of a log of 2^52."""
    members = bundle(log, complete={"from": 0})
    root = tree_root([entry(text) for text in log])
    nodes = {}
    for level in range(2, levels):
        nodes[str(level)] = {"1": bytes(32).hex()}
        root = hashlib.sha256(b"\x01" + root + bytes(32)).digest()
    proofs = {**json.loads(members["proofs.json"]), "size": 2**levels, "nodes": nodes}
    changed = {"proofs.json": canonical(proofs).decode()}
    return bundle(log, complete={"from": 0}, note=checkpoint(2**levels, root), changed=changed)


def _later(said: list[Said]) -> None:
    for each in said:
        each["boundary"]["n"] += 4


def _watchers(cases: Cases) -> None:
    log = _run().envelopes()
    good = checkpoint(len(log), tree_root([entry(text) for text in log]))
    ada = cosigned(good, ADA, ADA_WITNESS, _THEN_S + 60)
    both = cosigned(ada, BO, BO_WITNESS, _THEN_S + 61)

    def case(name: str, note: str, check: str = "", *, trust: str = "both witnesses", **more: Any) -> None:
        cases.add(name, bundle(log, note=note), check, trust=trust, **more)

    lonely: Any = {"verdict": "undetermined", "assurance": "local"}
    case("cosigned by both witnesses", both, assurance="witnessed")
    case("cosigned by one witness of two", ada, **lonely)
    case("cosigned by nobody", good, **lonely)
    case("one witness is enough", ada, trust="one of two witnesses", assurance="witnessed")
    case("the same witness twice", ada + ada.rsplit("\n", 2)[1] + "\n", **lonely)
    case("cosigned by a stranger under a witness's name", cosigned(ada, BO, STRANGER, _THEN_S), **lonely)
    case("a false cosignature", cosigned(ada, BO, BO_WITNESS, _THEN_S, over="another text\n"), "witnesses")
    case("a cosignature from before time", cosigned(ada, BO, BO_WITNESS, 0), "witnesses")
    watched = "witnesses and a monitor"
    case("cosigned by witnesses and a monitor", cosigned(both, CY, CY_MONITOR, _THEN_S + 90), trust=watched,
         assurance="witnessed+monitored")  # fmt: skip
    case("cosigned by witnesses and no monitor", both, trust=watched, assurance="witnessed")
    case("cosigned by a monitor alone", cosigned(good, CY, CY_MONITOR, _THEN_S), trust="a monitor alone")
    early = cosigned(cosigned(good, ADA, ADA_WITNESS, _THEN_S - 301), BO, BO_WITNESS, _THEN_S)
    case("written long after it was seen", early, "time")
    near = cosigned(cosigned(good, ADA, ADA_WITNESS, _THEN_S - 299), BO, BO_WITNESS, _THEN_S)
    case("written as far after it was seen as clocks may differ", near, assurance="witnessed")
    older_log = [*_others(2, 3), *_run(3).envelopes()]
    entries = [entry(text) for text in older_log]
    newer = checkpoint(len(entries), tree_root(entries))
    newer = cosigned(cosigned(newer, ADA, ADA_WITNESS, _THEN_S + 999), BO, BO_WITNESS, _THEN_S + 999)
    older = cosigned(checkpoint(3, tree_root(entries[:3])), ADA, ADA_WITNESS, _THEN_S + 400)
    held = {"checkpoint.from.txt": older}
    members = bundle(older_log, chosen=range(3, len(older_log)), complete={"from": 3}, note=newer, changed=held)
    cases.add("written long before what was seen without it", members, "time", trust="both witnesses")


def _stamps(cases: Cases) -> None:
    log = _run().envelopes()
    note = checkpoint(len(log), tree_root([entry(text) for text in log]))
    text = (note.split("\n\n")[0] + "\n").encode()

    def case(name: str, check: str = "", *stamps: bytes, trust: str = "an authority", **more: Any) -> None:
        changed = {f"timestamps/{number}.tsr": each for number, each in enumerate(stamps, 1)}
        cases.add(name, bundle(log, note=note, changed=changed), check, trust=trust, **more)

    def of(by: Authority = AUTHORITY, **more: Any) -> bytes:
        return stamp(text, by, **more)

    good, wrong = of(), "timestamps"
    case("stamped", "", good)
    case("stamped, and no authority is trusted", "", good, trust="plain")
    case("not stamped, and an authority is trusted")
    case("stamped with RSA", "", of(BY_RSA))
    case("stamped with SHA-384", "", of(digest="sha384"))
    case("stamped with SHA-512 and RSA", "", of(BY_RSA, digest="sha512"))
    case("stamped over one digest and signed over another", "", of(under="sha512"))
    case("a timestamp signed over SHA-1", wrong, of(under="sha1"))
    case("stamped by an authority below another", "", of(BY_TWO))
    case("stamped by one of two authorities", "", good, trust="two authorities")
    other = of(authority(issuer="Elsewhere", issuer_key=BY_TWO.between[0].key))
    case("stamped by an unknown authority", wrong, other)
    case("stamped by an unknown authority and by one that is known", "", other, good)
    case("stamped by an authority whose certificate ended since", "", of(authority(until="261121050000Z")))
    case("a timestamp of another text", wrong, stamp(b"another\n"))
    case("a timestamp that was not granted", wrong, of(status=2))
    case("a timestamp signed by another key", wrong, of(key=BY_RSA.leaf.key))
    case("a timestamp whose signature covers another content", wrong, of(attested=b"another"))
    case("a timestamp that breaks off", wrong, good[:-1])
    case("a timestamp with something behind it", wrong, good + b"\0")
    case("a timestamp without its certificate", wrong, of(carried=()))
    case("a timestamp without the certificate between", wrong, of(BY_TWO, carried=(BY_TWO.leaf,)))
    case("a timestamp whose certificates are not sorted", wrong, of(BY_TWO, is_sorted=False))
    case("stamped, with words and revocations that nobody signs", "", of(passed_over=True))
    case(
        "stamped below an authority of the trust file", "", of(BY_TWO, carried=(BY_TWO.leaf,)), trust="both of two hops"
    )
    case("stamped by an authority that is its own root", "", of(_ALONE), trust="an authority alone")
    case("stamped with certificates of others beside", "", of(carried=(AUTHORITY.leaf, *BY_TWO.between, _ALONE.leaf)))
    rsa, sha384 = signature_algorithm(BY_RSA.leaf.key), signature_algorithm(AUTHORITY.leaf.key, "sha384")
    case("a timestamp signed with another key than it says", wrong, of(signed_with=rsa))
    case("a timestamp signed over another digest than it says", wrong, of(signed_with=sha384))
    case("a timestamp in signed data of another version", wrong, of(version=1))
    case("a timestamp that was signed as something else", wrong, of(kind="1.2.840.113549.1.7.1"))
    case("a timestamp that names no certificate", wrong, of(names=False))
    case("a timestamp that names another certificate", wrong, of(named=AUTHORITY.root))
    two = replace(AUTHORITY.leaf, told=sha384)
    case("a certificate that states two algorithms", wrong, of(replace(AUTHORITY, leaf=two)))
    case("a certificate changed beside one of the trust file", wrong, of(carried=(two,)), trust="two authorities")
    later = replace(AUTHORITY.root, version=9)
    case("a certificate of a version to come", wrong, of(carried=(AUTHORITY.leaf, later)))
    others = [replace(AUTHORITY.root, serial=serial) for serial in range(20, 36)]
    case("more certificates than are looked at", wrong, of(carried=(AUTHORITY.leaf, *others)))
    case("a certificate that may encipher, too", wrong, of(authority(usage=0xA0)))
    case("a certificate that ended at that second", wrong, of(authority(until="261121040100Z")))
    case("a certificate that was not for timestamps", wrong, of(authority(purposes=(SERVER,))))
    case("a certificate for timestamps among others", wrong, of(authority(purposes=(TIME_STAMPING, SERVER))))
    case("a certificate for nothing in particular", wrong, of(authority(purposes=())))
    case("a purpose that is not critical", wrong, of(authority(purposes_are_critical=False)))
    case("a certificate that had ended", wrong, of(authority(until="261101000000Z")))
    case("a certificate that had not begun", wrong, of(authority(since="261201000000Z")))
    case("a certificate with a demand that nobody knows", wrong, of(authority(strange=True)))
    case("a certificate below one of no authority", wrong, of(authority(through=True, wrong="no authority")))
    case("a certificate below one that may not sign", wrong, of(authority(through=True, wrong="may not sign")))
    case("a root that had ended", wrong, good, trust="an authority that ended")
    case("a root that is none", wrong, of(BY_TWO), trust="an authority that is no root")
    case("written long after it was stamped", "time", of(at="20261121035459Z"))
    case("written as far after it was stamped as clocks may differ", "", of(at="20261121035501Z"))
