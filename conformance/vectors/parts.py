"""Single parts: envelopes, trees, checkpoints, one-receipt proofs, trust files, containers."""

import base64
import hashlib
import io
import json
import warnings
import zipfile
from typing import Any

from conformance.vectors.making import (
    ADA_WITNESS,
    BO_WITNESS,
    GATE,
    KIND,
    LOG,
    ORIGIN,
    STRANGER,
    Run,
    Said,
    b64,
    bundle,
    canonical,
    checkpoint,
    entry,
    envelope,
    pem,
    person_pem,
    statement,
    tree_path,
    tree_root,
    trust_text,
    verifier_key,
)

__all__ = ["containers", "notes", "proofs", "receipts", "trees", "trusts"]


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
    signature = b64(key_hash + STRANGER.sign(text.encode()).signature)
    return f"\N{EM DASH} witness.example {signature}\n"


def proofs() -> list[Said]:
    """C2SP tlog-proofs that carry a receipt, each with the check that fails first."""
    log = [*Run(1).envelopes(), *Run(2).envelopes(), *Run(3).envelopes(), *Run(4).envelopes(), *Run(5).envelopes()]
    entries = [entry(text) for text in log]
    note = checkpoint(len(log), tree_root(entries))

    def proof(index: int, *, text: str = "", path: list[bytes] | None = None, end: str = note, said: str = "") -> str:
        nodes = "".join(b64(node) + "\n" for node in (tree_path(index, entries) if path is None else path))
        extra = b64((text or log[index]).encode())
        return f"c2sp.org/tlog-proof@v1\nextra {extra}\nindex {said or index}\n{nodes}\n{end}"

    root = tree_root(entries)
    other = Run(9).envelopes(key=STRANGER)[0]
    path = tree_path(2, entries)
    cases = [
        ("the first entry", "", proof(0)),
        ("the last entry, which is higher in the tree", "", proof(4)),
        ("another index", "inclusion", proof(2, said="3")),
        ("an index outside the tree", "inclusion", proof(2, said="5")),
        ("a path that is too short", "inclusion", proof(2, path=path[:-1])),
        ("a path that is too long", "inclusion", proof(2, path=[*path, bytes(32)])),
        ("another node", "inclusion", proof(2, path=[bytes(32), *path[1:]])),
        ("another receipt", "inclusion", proof(2, text=log[1])),
        ("a receipt signed by another key", "signature", proof(2, text=other)),
        ("a checkpoint signed by another key", "checkpoint", proof(2, end=checkpoint(5, root, STRANGER))),
        (
            "a checkpoint of another log",
            "checkpoint",
            proof(2, end=checkpoint(5, root, LOG, "x.example")),
        ),
        ("no checkpoint", "container", proof(2).split("\n\n")[0]),
        ("an index with a leading zero", "container", proof(2, said="02")),
        ("a node of 31 bytes", "container", proof(2, path=[bytes(31)])),
        ("no receipt", "container", proof(2).replace("extra ", "")),
        ("base64 without padding", "container", proof(2).replace("=\n", "\n", 1)),
    ]
    return [
        {
            "name": name,
            "expect": {"verdict": "does not verify" if check else "verified", "check": check},
            "proof": text,
        }
        for name, check, text in cases
    ]


_LAST = pem(LOG).split("\n")[1][-2:]
_STRAY = chr(ord(_LAST[0]) + 1) + "="


def trusts() -> list[Said]:
    """Trust files: whether each can be used."""
    ada, bo = verifier_key("witness.example/ada", ADA_WITNESS), verifier_key("witness.example/bo", BO_WITNESS)
    good = trust_text(witness=ada, witness_2=bo, quorum="1", person_key=person_pem())
    plain = trust_text()
    cases = [
        ("all there is", True, good),
        ("comments and blank lines", True, "# Whose keys\n\n" + plain + "  # the end\n"),
        ("several gate keys", True, trust_text(gate_key_2=pem(STRANGER), gate_key_2_until="2026-11-21T00:00:00Z")),
        ("an earlier log key", True, trust_text(log_key_2=pem(STRANGER), log_key_2_until="2026-11-21T00:00:00Z")),
        ("one key as two gates'", False, trust_text(gate_key_2=pem(GATE))),
        ("a key with stray bits", False, trust_text(log_key=pem(LOG).replace(_LAST, _STRAY))),
        ("an isolation that is none", False, trust_text(isolation="far away")),
        ("no format", False, trust_text(format="")),
        ("another format", False, trust_text(format="answerable-trust/2")),
        ("no origin", False, trust_text(origin="")),
        ("no gate key", False, trust_text(gate_key="")),
        ("no log key", False, trust_text(log_key="")),
        ("one key for gate and log", False, trust_text(gate_key=pem(LOG))),
        ("a log key of another kind", False, trust_text(log_key=person_pem())),
        ("a person's key of another kind", False, trust_text(person_key=pem(STRANGER))),
        ("a name that is misspelt", False, trust_text(witnes=ada)),
        ("a number where text should be", False, plain + "quorum = 1\n"),
        ("a quorum without witnesses", False, trust_text(quorum="1")),
        ("a quorum of none", False, trust_text(witness=ada, quorum="0")),
        ("a quorum of more than there are", False, trust_text(witness=ada, quorum="2")),
        ("one key as two witnesses", False, trust_text(witness=ada, witness_2=ada)),
        ("the gate as a witness", False, trust_text(witness=verifier_key("witness.example/ada", GATE))),
        ("a witness as monitor too", False, trust_text(witness=ada, monitor=ada)),
        ("a verifier key with another hash", False, trust_text(witness=ada.replace("+", "+0", 1))),
        ("a verifier key of another type", False, trust_text(witness=verifier_key("w.example", ADA_WITNESS, 1))),
        ("a period that is no time", False, trust_text(gate_key_from="yesterday")),
        ("a period of a witness", False, trust_text(witness=ada, witness_from="2026-11-21T00:00:00Z")),
        ("a root that is no certificate", False, trust_text(tsa_root=pem(STRANGER))),
        ("a name twice", False, plain + 'origin = "x"\n'),
        ("a value without quotes", False, plain.replace('"', "")),
        ("a value in single quotes", False, plain.replace(f'"{ORIGIN}"', f"'{ORIGIN}'")),
        ("a value of several lines", False, plain.replace(f'"{ORIGIN}"', f'"""\n{ORIGIN}"""')),
        ("another escape than the end of a line", False, plain.replace("answerable.", "answerable\\u002e")),
        ("white space and comments behind values", True, plain.replace('"\n', '" # by letter\n').replace("\n", "\n  ")),
        ("not a table", False, "{}"),
    ]
    return [{"name": name, "valid": valid, "trust": text} for name, valid, text in cases]


def containers() -> list[Said]:
    """ZIP files in base64: whether each can be opened."""
    run = Run()
    run.add("run.close")
    members = bundle(run.envelopes())

    def zipped(more: dict[str, bytes] | None = None, *, kind: int = zipfile.ZIP_DEFLATED, twice: str = "") -> bytes:
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w", kind) as archive:
            for name, content in {**members, **(more or {})}.items():
                archive.writestr(zipfile.ZipInfo(name), content, compress_type=kind)
            if twice:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    archive.writestr(zipfile.ZipInfo(twice), "{}", compress_type=kind)
        return held.getvalue()

    def linked() -> bytes:
        held = io.BytesIO()
        with zipfile.ZipFile(held, "w") as archive:
            for name, content in members.items():
                archive.writestr(zipfile.ZipInfo(name), content)
            link = zipfile.ZipInfo("notes.txt")
            link.external_attr = 0o120777 << 16
            archive.writestr(link, "/etc/passwd")
        return held.getvalue()

    def patched(raw: bytes, signature: bytes, at: int, change: bytes) -> bytes:
        """With bytes changed behind the first record that begins with a signature."""
        place = raw.index(signature) + at
        return raw[:place] + change + raw[place + len(change) :]

    good, stored = zipped(), zipped(kind=zipfile.ZIP_STORED)
    central, end = b"PK\x01\x02", b"PK\x05\x06"
    unsafe = ["../escape", "/etc/passwd", "a/../../b", "a\\b", "receipts//x", "é", "a/", ".hidden", "x" * 201]
    cases = [
        ("deflated", True, good),
        ("stored", True, stored),
        ("text before the archive", True, b"#!/bin/sh\n" + good),
        ("a comment at the end", True, good[:-2] + b"\x05\x00hello"),
        ("empty", False, b""),
        ("not an archive", False, b"hello" * 100),
        ("breaks off", False, good[: len(good) // 2]),
        ("breaks off in the directory", False, good[:-30]),
        ("a member twice", False, zipped(twice="keys.json")),
        ("a symbolic link", False, linked()),
        ("an encrypted member", False, patched(good, central, 8, b"\x01")),
        ("packed in an unknown way", False, patched(good, central, 10, b"\x0c\x00")),
        ("shorter than the directory says", False, patched(stored, central, 24, b"\xff\xff\x00\x00")),
        ("another checksum", False, patched(stored, central, 16, b"\x00\x00\x00\x00")),
        ("a directory that begins beyond the end", False, patched(good, end, 16, b"\xff\xff\xff\x7f")),
        ("a directory larger than the file", False, patched(good, end, 12, b"\xff\xff\xff\x03")),
        ("a member of 65 MiB in 65 kB", False, _bomb()),
        *((f"the member name {name[:20]!r}", False, zipped({name: b""})) for name in unsafe),
    ]
    return [{"name": name, "valid": valid, "zip": b64(raw)} for name, valid, raw in cases]


def _bomb() -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr(zipfile.ZipInfo("manifest.json"), bytes(65 << 20), compress_type=zipfile.ZIP_DEFLATED)
    return held.getvalue()
