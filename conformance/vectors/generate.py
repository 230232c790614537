"""Writes the test vectors in this folder, from fixed keys: the same bytes every time.

For whoever writes another reader or verifier of the formats. Needs PyNaCl and the standard library, and nothing
of Answerable: an implementation must not make the vectors that judge it. Published vectors are marked with
their source.

    python conformance/vectors/generate.py
"""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

HERE = Path(__file__).parent
GATE, LOG, STRANGER = (SigningKey(bytes([number]) * 32) for number in (1, 2, 3))
TENANT = "acme"
KIND = "application/vnd.in-toto+json"

Said = dict[str, Any]


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def envelope(body: bytes, key: SigningKey = GATE) -> str:
    pae = b"DSSEv1 %d %b %d %b" % (len(KIND), KIND.encode(), len(body), body)
    signature = {
        "keyid": sha256(bytes(key.verify_key)),
        "sig": base64.b64encode(key.sign(pae).signature).decode(),
    }
    return canonical(
        {"payload": base64.b64encode(body).decode(), "payloadType": KIND, "signatures": [signature]}
    ).decode()


def statement(predicate: Said) -> Said:
    run = predicate["run"]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": run, "digest": {"sha256": sha256(run.encode())}}],
        "predicateType": "urn:answerable:receipt:v1",
        "predicate": predicate,
    }


def pem(key: SigningKey) -> str:
    body = base64.b64encode(bytes.fromhex("302a300506032b6570032100") + bytes(key.verify_key)).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"


ORIGIN = f"answerable.local/{sha256(bytes(LOG.verify_key))[:16]}/{TENANT}"


def checkpoint(size: int, root: bytes, key: SigningKey = LOG, origin: str = ORIGIN) -> str:
    text = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    key_hash = hashlib.sha256(origin.encode() + b"\n\x01" + bytes(key.verify_key)).digest()[:4]
    signature = base64.b64encode(key_hash + key.sign(text.encode()).signature).decode()
    return f"{text}\n\N{EM DASH} {origin} {signature}\n"


def tree_root(entries: list[bytes]) -> bytes:
    """RFC 6962 §2.1, word for word."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    return hashlib.sha256(b"\x01" + tree_root(entries[:k]) + tree_root(entries[k:])).digest()


def tree_path(index: int, entries: list[bytes]) -> list[bytes]:
    """RFC 6962 §2.1.1, word for word."""
    if len(entries) == 1:
        return []
    k = 1
    while k * 2 < len(entries):
        k *= 2
    if index < k:
        return [*tree_path(index, entries[:k]), tree_root(entries[k:])]
    return [*tree_path(index - k, entries[k:]), tree_root(entries[:k])]


class Run:
    """Predicates of one run, numbered, chained and signed as they are added."""

    def __init__(self, name: str = "run_000000000000000000000001") -> None:
        self.name = name
        self.said: list[Said] = []
        self.add("run.open", onBehalfOf="party_ada", control={"agent": "clerk", "environment": "development"})

    def add(self, phase: str, **members: Any) -> str:
        number = len(self.said)
        predicate: Said = {
            "id": f"rcpt_{number:024x}",
            "tenant": TENANT,
            "run": self.name,
            "seq": number,
            "boundary": {"id": "gate_1", "boot": "boot_1", "n": number, "isolation": "separate-user"},
            "phase": phase,
            "at": f"2026-11-21T04:00:00.{number:06d}Z",
            "agent": {"id": "clerk"},
            **members,
        }
        if phase == "run.close":
            predicate["control"] = {"state": "done", "count": number}
        self.said.append(predicate)
        return str(predicate["id"])

    def action(self, step: int, *, effect: str = "write", minor: int = 0) -> Said:
        """The members that every receipt of an action has."""
        name = f"{step:032x}"
        given = "sha256:" + sha256(b"\x05" * 32 + b'{"order":"1001"}')
        action: Said = {
            "kind": "tool",
            "name": "refund",
            "effect": effect,
            "target": "order:1001",
            "idempotencyKey": name,
        }
        if minor:
            action["amount"] = {"minor": minor, "currency": "EUR"}
        named = {**action, "amount": action.get("amount", {}), "run": self.name, "step": name, "input": given}
        action["digest"] = "sha256:" + sha256(canonical(named))
        return {"step": name, "action": action, "commitments": {"input": given}}

    def intent(self, step: int, attempt: int = 1, **members: Any) -> str:
        authority = {"decision": "permit", "rules": ["allow"], **members.pop("authority", {})}
        return self.add("intent", attempt=attempt, authority=authority, **{**self.action(step), **members})

    def outcome(self, step: int, intent: str = "", attempt: int = 1, **members: Any) -> str:
        more = {"intentRef": intent} if intent else {}
        effect = {"status": "ok", "observedBy": "gate"}
        return self.add("outcome", attempt=attempt, effect=effect, **{**self.action(step), **more, **members})

    def held(self, step: int) -> str:
        control = {"approval": f"appr_{step}", "role": "lead", "n": 1, "notInitiator": True, "onTimeout": "deny"}
        return self.add("held", authority={"decision": "hold"}, control=control, **self.action(step))

    def approval(self, step: int, by: str = "party_grace", **control: Any) -> str:
        digest = self.action(step)["action"]["digest"]
        said = {
            "approval": f"appr_{step}",
            "decision": "approve",
            "by": by,
            "role": "lead",
            "digest": digest,
            **control,
        }
        return self.add("approval", step=f"{step:032x}", control=said)

    def envelopes(self, change: Callable[[list[Said]], None] | None = None, key: SigningKey = GATE) -> list[str]:
        """All receipts, chained; `change` has the last word on what they say."""
        if change:
            change(self.said)
        found: list[str] = []
        for said in self.said:
            if found and "prev" not in said:
                said["prev"] = "sha256:" + sha256(found[-1].encode())
            if said["phase"] == "run.close":
                said["control"].setdefault("last", said["prev"])
            found.append(envelope(canonical(statement(said)), key))
        return found


def bundle(envelopes: list[str], **changed: str) -> dict[str, str]:
    """The members of a bundle in which all entries of the log are there."""
    names = [f"receipts/{number:06d}.json" for number in range(1, len(envelopes) + 1)]
    entries = [hashlib.sha256(text.encode()).digest() for text in envelopes]
    members = dict(zip(names, envelopes, strict=True))
    members["checkpoint.txt"] = checkpoint(len(entries), tree_root(entries))
    leaves = {name: number for number, name in enumerate(names)}
    members["proofs.json"] = canonical({"size": len(entries), "leaves": leaves, "nodes": {}}).decode()
    gate = {"keyid": sha256(bytes(GATE.verify_key)), "pem": pem(GATE)}
    members["keys.json"] = canonical({"gate": [gate], "log": {"origin": ORIGIN, "pem": pem(LOG)}}).decode()
    members |= changed
    runs = sorted({json.loads(base64.b64decode(json.loads(text)["payload"]))["predicate"]["run"] for text in envelopes})
    manifest = {
        "format": "answerable-bundle/1",
        "tenant": TENANT,
        "runs": runs,
        "receipts": len(names),
        "disclosed": False,
        "members": {name: sha256(text.encode()) for name, text in members.items()},
    }
    return {**members, "manifest.json": canonical(manifest).decode()}


def an_ordinary_run() -> Run:
    """A write, a read, a refusal, an approved and a lost write."""
    run = Run()
    run.outcome(1, run.intent(1))
    run.add("outcome", attempt=1, effect={"status": "ok", "observedBy": "gate"}, **run.action(2, effect="read"))
    run.add("denied", authority={"decision": "deny"}, effect={"status": "refused"}, **run.action(3))
    run.held(4)
    run.outcome(4, run.intent(4, authority={"approvals": [run.approval(4)]}))
    run.intent(5)
    run.add("run.close")
    return run


def bundles() -> list[Said]:
    """Whole bundles, each with the verdict and the check that must fail first."""
    cases: list[Said] = []

    def case(name: str, run: Run, check: str = "", *, receipt: int = -1, verdict: str = "", **more: Any) -> None:
        change, key = more.pop("change", None), more.pop("key", GATE)
        expected = {"verdict": verdict or ("does not verify" if check else "verified"), "check": check}
        if receipt >= 0:
            expected["receipt"] = f"rcpt_{receipt:024x}"
        cases.append({"name": name, "expect": expected, "members": bundle(run.envelopes(change, key), **more)})

    def said(number: int, **members: Any) -> Callable[[list[Said]], None]:
        return lambda receipts: receipts[number].update(members)

    case("an ordinary run", an_ordinary_run())
    case("another key", an_ordinary_run(), "signature", receipt=0, key=STRANGER)
    case("the log's key on receipts", an_ordinary_run(), "key-role", receipt=0, key=LOG)
    case(
        "a seq is skipped",
        an_ordinary_run(),
        "chain",
        change=lambda said: [r.update(seq=r["seq"] + 1) for r in said[4:]],
    )
    case("prev names something else", an_ordinary_run(), "chain", receipt=3, change=said(3, prev="sha256:" + "0" * 64))
    close = {"state": "done", "count": 3, "last": "sha256:" + "0" * 64}
    case("run.close states a wrong count", an_ordinary_run(), "chain", receipt=10, change=said(10, control=close))
    case(
        "the clock runs backwards",
        an_ordinary_run(),
        "time",
        receipt=4,
        change=said(4, at="2026-11-21T03:00:00.000000Z"),
    )
    doubled = {"id": "gate_1", "boot": "boot_1", "n": 3, "isolation": "separate-user"}
    case("n is used twice", an_ordinary_run(), "counters", receipt=4, change=said(4, boundary=doubled))
    case("n skips a number that was never logged", an_ordinary_run(), "counters", change=_skip_n)

    run = Run()
    run.outcome(1, run.intent(1))
    run.outcome(1, f"rcpt_{1:024x}")
    run.add("run.close")
    case("two outcomes of a step", run, "steps", receipt=3)
    run = Run()
    run.outcome(1)
    run.add("run.close")
    case("the outcome of a write without an intent", run, "steps", receipt=1)
    run = Run()
    run.outcome(2, run.intent(1))
    run.add("run.close")
    case("an outcome answers another step's intent", run, "steps", receipt=2)
    run = Run()
    run.add("denied", authority={"decision": "deny"}, effect={"status": "refused"}, **run.action(1))
    run.intent(1)
    run.add("run.close")
    case("an intent after a denial", run, "steps", receipt=2)
    run = Run()
    run.held(1)
    run.intent(1)
    run.add("run.close")
    case("a held action goes ahead unapproved", run, "approvals", receipt=2)
    run = Run()
    run.held(1)
    run.intent(1, authority={"approvals": [run.approval(1, by="party_ada")]})
    run.add("run.close")
    case("approved by the one who asked", run, "approvals", receipt=2)
    run = Run()
    run.held(1)
    run.intent(1, authority={"approvals": [run.approval(1, decision="reject")]})
    run.add("run.close")
    case("a rejection is cited as an approval", run, "approvals", receipt=3)
    run = Run()
    run.intent(1, action={**run.action(1)["action"], "name": "refund_all"})
    run.add("run.close")
    case("the digest is of another action", run, "digests", receipt=1)
    run = Run()
    case("a run without run.close", run, verdict="undetermined")

    entries = [hashlib.sha256(text.encode()).digest() for text in an_ordinary_run().envelopes()]
    root = tree_root(entries)
    case("another root", an_ordinary_run(), "inclusion", **{"checkpoint.txt": checkpoint(len(entries), bytes(32))})
    forged = checkpoint(len(entries), root, STRANGER)
    case("a checkpoint signed by another key", an_ordinary_run(), "checkpoint", **{"checkpoint.txt": forged})
    forged = checkpoint(len(entries), root, GATE)
    case("a checkpoint signed by the gate's key", an_ordinary_run(), "key-role", **{"checkpoint.txt": forged})
    forged = checkpoint(len(entries), root, LOG, ORIGIN.replace("acme", "evil"))
    case("a checkpoint of another log", an_ordinary_run(), "checkpoint", **{"checkpoint.txt": forged})
    text = {"disclosed/" + "0" * 64: "not what was committed to"}
    case("a text that nobody committed to", an_ordinary_run(), "texts", **text)
    return cases


def _skip_n(said: list[Said]) -> None:
    for predicate in said[6:]:
        predicate["boundary"]["n"] += 1


def receipts() -> list[Said]:
    """Single envelopes, each with the check that must refuse it; empty where it is good."""
    good = Run().envelopes()[0]
    body = base64.b64decode(json.loads(good)["payload"])
    predicate = json.loads(body)["predicate"]

    def with_body(changed: bytes) -> str:
        return envelope(changed)

    def without(name: str) -> str:
        return envelope(canonical(statement({key: value for key, value in predicate.items() if key != name})))

    def also(**members: Any) -> str:
        return envelope(canonical(statement({**predicate, **members})))

    payload = json.loads(good)["payload"]
    cases = [
        ("good", "", good),
        ("text outside ASCII", "", also(onBehalfOf="Zoë 🙏")),
        ("white space in the envelope", "envelope", good.replace(":", ": ", 1)),
        ("members of the envelope in another order", "envelope", json.dumps(dict(reversed(json.loads(good).items())))),
        ("a further member in the envelope", "envelope", good[:-1] + ',"x":1}'),
        (
            "two signatures",
            "envelope",
            canonical({**json.loads(good), "signatures": json.loads(good)["signatures"] * 2}).decode(),
        ),
        ("no signature", "envelope", canonical({**json.loads(good), "signatures": []}).decode()),
        ("another payload type", "envelope", good.replace(KIND, "application/json")),
        ("base64url", "envelope", good.replace(payload, payload[:-4] + "-_8=")),
        ("base64 without padding", "envelope", good.replace('=="}', '"}')),
        ("base64 with stray bits", "envelope", _stray(good)),
        ("not JSON", "envelope", good[:-1]),
        ("white space in the statement", "statement", with_body(body.replace(b":", b": ", 1))),
        ("a duplicate key", "statement", with_body(body.replace(b'{"_type"', b'{"_type":"","_type"', 1))),
        ("a float", "statement", with_body(body.replace(b'"seq":0', b'"seq":0.0', 1))),
        ("an integer of 2^53", "statement", with_body(body.replace(b'"seq":0', b'"seq":9007199254740992', 1))),
        ("a key outside ASCII", "statement", also(é=1)),
        ("not UTF-8", "statement", with_body(body.replace(b"party_ada", b"party_\xff", 1))),
        ("another statement type", "statement", with_body(body.replace(b"Statement/v1", b"Statement/v0", 1))),
        ("another predicate type", "statement", with_body(body.replace(b"receipt:v1", b"receipt:v9", 1))),
        ("a subject that is not the run", "statement", with_body(body.replace(b'"name":"run_0', b'"name":"run_1', 1))),
        ("an unknown phase", "statement", also(phase="rumour")),
        ("a time without a zone", "statement", also(at="2026-11-21T04:00:00.000000")),
        ("a number for a string", "statement", also(tenant=7)),
        ("true for a number", "statement", also(seq=True)),
        ("prev at seq 0", "statement", also(prev="sha256:" + "0" * 64)),
        ("no boundary", "statement", without("boundary")),
        ("no id", "statement", without("id")),
        ("an intent without a step", "statement", also(phase="intent")),
        ("a commitment that is no digest", "statement", also(commitments={"input": "hello"})),
    ]
    return [{"name": name, "check": check, "envelope": text} for name, check, text in cases]


def _stray(good: str) -> str:
    """The signature's last digit with bits set that do not count."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    at = good.rindex('=="') - 1
    return good[:at] + alphabet[alphabet.index(good[at]) + 1] + good[at + 1 :]


def trees() -> Said:
    """The eight leaves of the Certificate Transparency reference code, and our paths through all their trees."""
    leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
    entries = [bytes.fromhex(leaf) for leaf in leaves]
    published = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ]
    published_paths = [
        {"index": 0, "size": 1, "path": []},
        {
            "index": 0,
            "size": 8,
            "path": [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        },
        {
            "index": 5,
            "size": 8,
            "path": [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        },
        {
            "index": 2,
            "size": 3,
            "path": ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
        },
        {
            "index": 1,
            "size": 5,
            "path": [
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        },
    ]
    computed = [
        {"index": index, "size": size, "path": [node.hex() for node in tree_path(index, entries[:size])]}
        for size in range(1, 9)
        for index in range(size)
    ]
    return {
        "source": "Certificate Transparency reference code (merkle_tree_test.cc), for RFC 6962 section 2.1",
        "leaves": leaves,
        "published": {"roots": published, "paths": published_paths},
        "computed": {"paths": computed},
    }


def notes() -> Said:
    """Signed notes and checkpoints."""
    good = checkpoint(3, bytes(range(32)))
    return {
        "published": {
            "source": "golang.org/x/mod/sumdb/note, package documentation",
            "name": "PeterNeumann",
            "keyHash": "c74f20a3",
            "publicKey": base64.b64decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")[1:].hex(),
            "text": "If you think cryptography is the answer to your problem,\n"
            "then you don't know what your problem is.\n",
            "signature": "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=",
        },
        "key": bytes(LOG.verify_key).hex(),
        "origin": ORIGIN,
        "size": 3,
        "root": bytes(range(32)).hex(),
        "cases": [
            {"name": "good", "valid": True, "note": good},
            {"name": "a further signature of a witness", "valid": True, "note": good + _witness(good)},
            {"name": "no final newline", "valid": False, "note": good[:-1]},
            {"name": "no signature", "valid": False, "note": good.split("\n\n")[0] + "\n"},
            {"name": "a leading zero", "valid": False, "note": good.replace("\n3\n", "\n03\n")},
            {"name": "a short root", "valid": False, "note": good.replace("AAECAwQF", "AwQF", 1)},
            {"name": "a hyphen for the dash", "valid": False, "note": good.replace("\N{EM DASH}", "-")},
            {"name": "another size than was signed", "valid": False, "note": good.replace("\n3\n", "\n4\n")},
            {"name": "another origin than was signed", "valid": False, "note": good.replace(ORIGIN, "evil.example/x")},
            {"name": "another key's signature", "valid": False, "note": checkpoint(3, bytes(range(32)), STRANGER)},
        ],
    }


def _witness(note: str) -> str:
    text = note.split("\n\n")[0] + "\n"
    key_hash = hashlib.sha256(b"witness.example\n\x01" + bytes(STRANGER.verify_key)).digest()[:4]
    signature = base64.b64encode(key_hash + STRANGER.sign(text.encode()).signature).decode()
    return f"\N{EM DASH} witness.example {signature}\n"


def all_vectors() -> dict[str, Said]:
    """Every file of this folder, by name."""
    trust = {"origin": ORIGIN, "logKey": pem(LOG), "gateKey": pem(GATE)}
    hello = {"payloadType": "http://example.com/HelloWorld", "payload": "hello world"}
    return {
        "dsse.json": {
            "published": {
                "source": "DSSE v1 protocol, test vectors",
                **hello,
                "pae": "DSSEv1 29 http://example.com/HelloWorld 11 hello world",
            },
            "computed": [{"payloadType": KIND, "payload": "", "pae": f"DSSEv1 28 {KIND} 0 "}],
        },
        "rfc6962.json": trees(),
        "checkpoints.json": notes(),
        "receipts.json": {"gateKey": pem(GATE), "cases": receipts()},
        "bundles.json": {"trust": trust, "cases": bundles()},
    }


def encoded(vectors: Said) -> str:
    return json.dumps(vectors, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for file_name, vectors in all_vectors().items():
        (HERE / file_name).write_text(encoded(vectors), encoding="utf-8")
