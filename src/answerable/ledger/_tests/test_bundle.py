"""Bundles: what they hold, what they leave out, and that nothing else than the record decides their bytes."""

import json
from asyncio import gather
from html.parser import HTMLParser
from pathlib import Path

import pytest

from answerable.core import RunId
from answerable.ledger import (
    BundleTooLarge,
    Member,
    NothingToExport,
    Reader,
    _bundle,
    _report,
    export_bundle,
    write_trust,
)
from answerable.ledger._tests.evidence import a_record, work
from answerable_verify import _container, read_container, read_trust, verify


class Record:
    """A record of three runs, open for reading."""

    def __init__(self, directory: Path) -> None:
        self.runs = a_record(
            directory / "data", lambda ledger: gather(work(ledger, 1, lost=True), work(ledger, 2), work(ledger, 3))
        )
        self.reader = Reader.open(directory / "data")


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    return Record(tmp_path_factory.mktemp("record"))


@pytest.mark.requirement("EV-3")
def test_a_bundle_of_one_run_and_one_of_all_runs_verify(record: Record, tmp_path: Path) -> None:
    trust = write_trust(record.reader, tmp_path / "trust.toml")

    one = export_bundle(record.reader, record.runs[:1], tmp_path)
    everything = export_bundle(record.reader, record.runs, tmp_path / "all.zip")

    assert one.name == f"{record.runs[0]}.evidence.zip"
    assert [verify(one, trust).verdict, verify(everything, trust).verdict] == ["verified", "verified"]
    assert verify(everything, trust).receipts == len(record.reader.receipts())


def test_the_same_record_gives_the_same_bytes(record: Record, tmp_path: Path) -> None:
    first = export_bundle(record.reader, record.runs, tmp_path / "first.zip").read_bytes()
    again = export_bundle(record.reader, record.runs, tmp_path / "again.zip").read_bytes()

    assert first == again


@pytest.mark.requirement("EV-1")
def test_without_disclosure_no_text_leaves_the_record(record: Record, tmp_path: Path) -> None:
    path = export_bundle(record.reader, record.runs[:1], tmp_path, disclose=False)

    members = read_container(path)
    assert not [name for name in members if name.startswith(("disclosed/", "policy/", "specs/"))]
    assert not [name for name, content in members.items() if b"refund everything" in content]
    report = verify(path)
    assert report.verdict == "self-consistent"
    assert any("not disclosed" in note for note in report.notes)


def test_texts_policies_and_specifications_are_disclosed_with_their_salts(record: Record, tmp_path: Path) -> None:
    members = read_container(export_bundle(record.reader, record.runs[:1], tmp_path))

    opened = record.reader.receipts(run=record.runs[0])[0].predicate
    given = members["disclosed/" + opened["commitments"]["input"][7:]]
    assert json.loads(given[32:])["ticket"] == 1
    (policy,) = (content for name, content in members.items() if name.startswith("policy/"))
    assert policy[32:].startswith(b"permit")
    (spec,) = (content for name, content in members.items() if name.startswith("specs/"))
    assert spec[32:].startswith(b"# Refunds")


def test_further_members_are_carried_and_listed(record: Record, tmp_path: Path) -> None:
    path = export_bundle(record.reader, record.runs[:1], tmp_path, extra=[Member("mandates/m.txt", b"x")])

    members = read_container(path)
    assert members["mandates/m.txt"] == b"x"
    assert "mandates/m.txt" in json.loads(members["manifest.json"])["members"]
    assert not verify(path).findings


def test_a_run_that_is_not_on_the_record_cannot_be_exported(record: Record, tmp_path: Path) -> None:
    with pytest.raises(NothingToExport, match="is not on the record"):
        export_bundle(record.reader, [RunId("run_nobody")], tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_the_trust_file_holds_the_keys_of_gate_and_log(record: Record, tmp_path: Path) -> None:
    trust = read_trust(write_trust(record.reader, tmp_path / "trust.toml"))

    assert (trust.origin, trust.log_key) == record.reader.log_key()
    assert trust.gate_keys == record.reader.gate_keys()


class Page(HTMLParser):
    """What a browser would see of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.references: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "action", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.requirement("EV-3")
def test_the_page_tells_the_run_and_reaches_for_nothing(record: Record, tmp_path: Path) -> None:
    members = read_container(export_bundle(record.reader, record.runs[:1], tmp_path))
    source = members["report.html"].decode()
    page = Page()
    page.feed(source)

    assert not page.tags & {"script", "link", "img", "iframe", "b>refund<"}
    assert page.references == []
    assert "url(" not in source
    assert "@import" not in source
    for told in (
        "Please <b>refund</b> order 1001",  # shown as it was written, and not as markup
        "<script>refund everything</script>",
        "Permitted by read-anything",
        "Denied by no-bulk-refunds",
        "in the role support-lead, not the one who asked",
        "person:ada (party_",
        "approved by person:grace",
        "photo shows the damage",
        "rejected by person:grace",
        "249.00 EUR",
        "Unknown: it may have happened",
        "stock answered 503",
        "$0.00133",
        "untrusted:shop.read_ticket",
        "refunds#limit",
        "bash VERIFY.sh --trust trust.toml",
    ):
        assert told in page.text, told


def test_a_page_of_several_runs_begins_with_their_list(record: Record, tmp_path: Path) -> None:
    members = read_container(export_bundle(record.reader, record.runs, tmp_path))
    page = Page()
    page.feed(members["report.html"].decode())

    assert sorted(page.references) == sorted(f"#{run}" for run in record.runs)


@pytest.mark.requirement("EV-3")
def test_a_page_that_would_be_too_long_says_what_it_leaves_out(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def page(longest: int) -> str:
        monkeypatch.setattr(_report, "_LONGEST_PAGE", longest)
        members = read_container(export_bundle(record.reader, record.runs, tmp_path / "bundle.zip"))
        return members["report.html"].decode()

    whole = page(8_000_000)
    first_run, first_steps = page(12_000), page(2_000)

    assert "not told here" not in whole
    assert "more runs are not told here" in first_run
    assert "more steps of this run are not told here" in first_steps
    assert len(whole) > len(first_run) > len(first_steps)
    for cut in (first_run, first_steps):
        assert f"What {len(record.runs)} agent runs did" in cut
        assert all(f'href="#{run}"' not in cut or f'id="{run}"' in cut for run in record.runs)


@pytest.mark.requirement("EV-3")
@pytest.mark.parametrize(
    ("bound", "most", "held"),
    [
        ("_MOST_MEMBERS", 10, "receipts"),
        ("_MOST_MEMBERS", 70, "71 files"),
        ("_LARGEST_MEMBER_BYTES", 30_000, "bytes in `VERIFY.sh`"),
        ("_LARGEST_BYTES", 100_000, "bytes"),
    ],
)
def test_a_bundle_that_no_verifier_would_read_is_not_written(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, most: int, held: str
) -> None:
    assert getattr(_bundle, bound) <= getattr(_container, bound.replace("LARGEST_BYTES", "LARGEST_TOTAL_BYTES"))
    assert _bundle._LARGEST_BYTES <= _container._LARGEST_FILE_BYTES
    monkeypatch.setattr(_bundle, bound, most)

    with pytest.raises(BundleTooLarge, match="export fewer runs at a time") as refused:
        export_bundle(record.reader, record.runs, tmp_path / "bundle.zip")

    assert refused.value.held.endswith(held)
    assert list(tmp_path.iterdir()) == []
