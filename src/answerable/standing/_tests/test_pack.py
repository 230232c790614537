"""Audit packs: counts that anybody can count again, gaps that are named, and no claim that a control is met."""

import base64
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from answerable.core import RunId, TenantId
from answerable.ledger import Ledger, Reader, write_trust
from answerable.ledger._tests.evidence import a_record, work
from answerable.standing import (
    FRAMEWORKS,
    MappingInvalid,
    Pack,
    PackNotWritten,
    PackScope,
    make_pack,
    read_mapping,
    write_pack,
)
from answerable_verify import verify
from answerable_verify._container import read_container

ALL = PackScope(tenant="default")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record of two runs; in one of them an effect has no outcome."""
    folder = tmp_path_factory.mktemp("record")

    async def both(ledger: Ledger) -> list[RunId]:
        return [await work(ledger, 1001), await work(ledger, 1002, lost=True)]

    a_record(folder, both)
    return folder


def pack_of(data: Path, framework: str, scope: PackScope = ALL) -> Pack:
    mapping, _ = read_mapping(framework)
    return make_pack(mapping, Reader.open(data).receipts(tenant=TenantId("default")), scope)


@pytest.mark.requirement("EV-12")
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_pack_is_a_page_data_its_mapping_and_a_bundle_that_verifies(
    data: Path, tmp_path: Path, framework: str
) -> None:
    mapping, text = read_mapping(framework)
    reader = Reader.open(data)

    pack = write_pack(reader, mapping, text, ALL, tmp_path / "pack")

    assert sorted(path.name for path in (tmp_path / "pack").iterdir()) == [
        "evidence.zip", "index.html", "mapping.toml", "pack.json",
    ]  # fmt: skip
    assert (tmp_path / "pack" / "mapping.toml").read_bytes() == text
    report = verify(tmp_path / "pack" / "evidence.zip", write_trust(reader, tmp_path / "trust.toml"))
    assert (report.verdict, report.findings) == ("verified", ())
    told = json.loads((tmp_path / "pack" / "pack.json").read_text())
    assert told == pack.to_json()
    assert told["source"]


@pytest.mark.requirement("EV-12")
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_sample_is_a_receipt_of_the_bundle_and_every_count_can_be_counted_again(
    data: Path, tmp_path: Path, framework: str
) -> None:
    mapping, text = read_mapping(framework)
    told = write_pack(Reader.open(data), mapping, text, ALL, tmp_path / "pack").to_json()

    members = read_container(tmp_path / "pack" / "evidence.zip")
    said = [
        json.loads(base64.b64decode(json.loads(body)["payload"]))["predicate"]
        for name, body in members.items()
        if name.startswith("receipts/")
    ]
    ids = {each["id"] for each in said}
    for control in told["controls"]:
        for item in control["evidence"]:
            assert set(item["samples"]) <= ids
    assert told["receipts"] == len(said)
    denied = sum(each["phase"] == "denied" for each in said)
    counts = {item["what"]: item["count"] for control in told["controls"] for item in control["evidence"]}
    assert counts["actions that policy denied, none of which ran"] == denied > 0


@pytest.mark.requirement("EV-12")
def test_what_is_missing_is_a_gap_and_each_exception_is_named(data: Path) -> None:
    reader = Reader.open(data)
    answered = {each.predicate.get("intentRef") for each in reader.receipts() if each.phase == "outcome"}
    lost = [
        each.predicate["id"]
        for each in reader.receipts()
        if each.phase == "intent" and each.predicate["id"] not in answered
    ]
    assert len(lost) == 1

    found = {each["id"]: each for each in pack_of(data, "soc2").to_json()["controls"]}

    exceptions = next(item for item in found["CC7.2"]["evidence"] if item["expect"] == "none")
    assert exceptions["samples"] == lost
    assert found["CC7.2"]["gaps"] == ["1 × effects that may have happened, without an outcome"]
    assert found["CC6.2"]["gaps"] == ["no receipt within period and scope: people registered, changed or removed"]
    assert found["PI1.3"]["gaps"] == []


@pytest.mark.requirement("EV-12")
def test_period_and_scope_bound_what_is_counted_and_an_empty_one_is_no_pack(data: Path, tmp_path: Path) -> None:
    receipts = Reader.open(data).receipts()
    middle = receipts[len(receipts) // 2].predicate["at"]

    before = pack_of(data, "soc2", PackScope(tenant="default", until=middle))
    after = pack_of(data, "soc2", PackScope(tenant="default", since=middle))

    assert before.receipts + after.receipts == len(receipts)
    assert 0 < before.receipts < len(receipts)
    nobody = PackScope(tenant="default", agents=("nobody",), since=datetime(2100, 1, 1, tzinfo=UTC).isoformat())
    mapping, text = read_mapping("gdpr")
    with pytest.raises(PackNotWritten, match="no receipt is within"):
        write_pack(Reader.open(data), mapping, text, nobody, tmp_path / "pack")
    assert list(tmp_path.iterdir()) == []


def test_a_pack_is_not_mixed_with_what_is_there(data: Path, tmp_path: Path) -> None:
    mapping, text = read_mapping("gdpr")
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "index.html").write_text("another")

    with pytest.raises(PackNotWritten, match="something already"):
        write_pack(Reader.open(data), mapping, text, ALL, tmp_path / "pack")

    assert (tmp_path / "pack" / "index.html").read_text() == "another"


@pytest.mark.requirement("EV-12")
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_pack_says_what_is_supported_and_never_that_anything_complies(
    data: Path, tmp_path: Path, framework: str
) -> None:
    mapping, text = read_mapping(framework)
    write_pack(Reader.open(data), mapping, text, ALL, tmp_path / "pack")

    for path in (tmp_path / "pack" / name for name in ("index.html", "pack.json", "mapping.toml")):
        assert not re.search(r"complian|complies|comply|certif|fulfil|conform", path.read_text(), re.IGNORECASE)
    page = (tmp_path / "pack" / "index.html").read_text()
    assert "supports" in page
    assert page.count("Beyond them:") == len(mapping.controls)


def test_the_page_shows_what_receipts_say_as_text_and_loads_nothing(data: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        'framework = "own"\ntitle = "<script>alert(1)</script>"\nsource = "a source of our own"\nreviewed = "2026-11"\n'
        '[[controls]]\nid = "A <b>"\ntitle = "t"\nsupports = "s"\nbeyond = "b"\n'
        '[[controls.evidence]]\nwhat = "w"\nphases = ["denied"]\n'
    )
    mapping, text = read_mapping("", own)

    write_pack(Reader.open(data), mapping, text, ALL, tmp_path / "pack")

    page = (tmp_path / "pack" / "index.html").read_text()
    assert "<script" not in page
    assert "<b>" not in page
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x = ", "not TOML"),
        ('framework = "x"', "field required"),
        ("colour = 1", "field required|extra"),
    ],
)
def test_a_mapping_that_means_nothing_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "own.toml").write_text(text)

    with pytest.raises(MappingInvalid, match=problem):
        read_mapping("", tmp_path / "own.toml")


def test_a_framework_or_phase_that_there_is_not_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(MappingInvalid, match="gdpr, soc2"):
        read_mapping("iso")
    text = read_mapping("gdpr")[1].decode().replace('phases = ["erasure"]', 'phases = ["erased"]')
    (tmp_path / "own.toml").write_text(text)
    with pytest.raises(MappingInvalid, match="the phase `erased`"):
        read_mapping("", tmp_path / "own.toml")
