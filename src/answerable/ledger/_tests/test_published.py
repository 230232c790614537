"""The log as a folder: written once, continued, made again from the record, and never against it."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from answerable.core import TenantId
from answerable.ledger import (
    SYSTEM,
    Draft,
    Ledger,
    LogBehind,
    LogContradicted,
    LogFolder,
    Reader,
    Tree,
    control_run,
    leaf_hash,
    log_folder,
    read_head,
    receipt_lines,
    root_hash,
)

TENANT = TenantId("default")


def grow(directory: Path, count: int) -> None:
    """Put receipts on the record."""

    async def main() -> None:
        ledger = Ledger.open(directory)
        await ledger.start()
        drafts = [
            Draft(tenant=TENANT, run=control_run(TENANT), phase="signal", agent="a", members={"control": {"name": "x"}})
            for _ in range(count)
        ]
        await asyncio.gather(*map(ledger.append, drafts))
        await ledger.close()

    asyncio.run(main())


@contextlib.contextmanager
def reading(directory: Path) -> Iterator[Reader]:
    with contextlib.closing(Reader.open(directory)) as reader:
        yield reader


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


class Files:
    """Tiles as somebody elsewhere finds them: from the files alone."""

    def __init__(self, folder: Path) -> None:
        self.files = files(folder)

    def tile(self, level: int, index: int, width: int) -> bytes:
        return self.files[f"tile/{level}/{index:03d}" + (f".p/{width}" if width < 256 else "")]


@pytest.mark.requirement("EV-2")
def test_the_files_alone_lead_from_the_entries_to_the_checkpoints_root(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "log"
    for count in (3, 253, 300):
        grow(data, count)
        with reading(data) as reader:
            head = LogFolder(out).publish(reader, TENANT)

    assert head is not None
    assert head.size == 556
    assert Tree(Files(out), head.size).root() == head.root
    bundles = [files(out)[f"tile/entries/{name}"] for name in ("000", "001", "002.p/44")]
    entries = [bundle[start + 2 : start + 34] for bundle in bundles for start in range(0, len(bundle), 34)]
    assert root_hash([leaf_hash(entry) for entry in entries]) == head.root
    assert {"tile/0/000.p/3", "tile/0/002.p/44", "tile/1/000.p/2"} <= files(out).keys()


def test_what_was_written_once_is_not_written_again(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "log"
    grow(data, 300)
    with reading(data) as reader:
        LogFolder(out).publish(reader, TENANT)
        before = (out / "tile/0/000").stat().st_mtime_ns
    grow(data, 300)

    with reading(data) as reader:
        LogFolder(out).publish(reader, TENANT)

    assert (out / "tile/0/000").stat().st_mtime_ns == before


def test_a_lost_folder_is_made_again_from_the_record_to_the_byte(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "log"
    grow(data, 600)
    with reading(data) as reader:
        LogFolder(out).publish(reader, TENANT)
        before = files(out)
        shutil.rmtree(out)

        LogFolder(out).publish(reader, TENANT)

    assert files(out) == before


def test_tiles_left_by_a_crash_before_the_checkpoint_are_written_again(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "log"
    grow(data, 300)
    (out / "tile/0").mkdir(parents=True)
    (out / "tile/0/000").write_bytes(b"half")

    with reading(data) as reader:
        head = LogFolder(out).publish(reader, TENANT)

    assert head is not None
    assert Tree(Files(out), head.size).root() == head.root


@pytest.mark.requirement("EV-2")
def test_an_older_copy_of_the_record_is_not_published_over_a_newer_log(tmp_path: Path) -> None:
    data, older = tmp_path / "data", tmp_path / "older"
    grow(data, 10)
    shutil.copytree(data, older)
    grow(data, 10)
    with reading(data) as reader:
        log_folder(data, TENANT).publish(reader, TENANT)
    shutil.copytree(data / "log", older / "log")

    with reading(older) as reader, pytest.raises(LogContradicted):
        log_folder(older, TENANT).publish(reader, TENANT)
    with pytest.raises(LogBehind, match="20 entries"):
        grow(older, 20)  # nor grown past it, to another history
    with reading(older) as reader:
        assert reader.log_size(TENANT) == 10


@pytest.mark.requirement("EV-2")
@pytest.mark.parametrize("leaf", [3, 290])
def test_an_entry_changed_in_the_record_stops_publication(tmp_path: Path, leaf: int) -> None:
    data = tmp_path / "data"
    grow(data, 300)
    with reading(data) as reader:
        log_folder(data, TENANT).publish(reader, TENANT)
    shutil.rmtree(data / "log" / TENANT / "tile")
    with contextlib.closing(sqlite3.connect(data / "answerable.sqlite3")) as store:
        store.execute("UPDATE receipts SET digest = zeroblob(32) WHERE tenant = 'default' AND leaf = ?", (leaf,))
        store.commit()

    with reading(data) as reader, pytest.raises(LogContradicted):
        log_folder(data, TENANT).publish(reader, TENANT)


def test_a_checkpoint_that_came_late_does_not_replace_a_later_one(tmp_path: Path) -> None:
    data, out = tmp_path / "data", LogFolder(tmp_path / "log")
    grow(data, 3)
    with reading(data) as reader:
        out.publish(reader, TENANT)
    cosigned = out.checkpoint + "\N{EM DASH} w.example AAAAAAAA\n"
    grow(data, 3)
    with reading(data) as reader:
        out.publish(reader, TENANT)
    later = out.checkpoint

    out.show(cosigned)

    assert out.checkpoint == later
    out.show(later + "\N{EM DASH} w.example AAAAAAAA\n")
    assert out.checkpoint.endswith("w.example AAAAAAAA\n")


def test_of_old_checkpoints_that_others_signed_one_a_day_is_kept(tmp_path: Path) -> None:
    folder = LogFolder(tmp_path)
    for size in range(1, 521):
        folder.put(f"checkpoints/{size}", b"o\n%d\nAAAA\n\n" % size)
        folder.put(f"checkpoints/{size}.1.tsr", b"x")
        day = 1 if size <= 10 else 2
        os.utime(tmp_path / "checkpoints" / str(size), (day * 86_400, day * 86_400))

    folder.thin()

    kept = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdecimal())
    assert kept == [1, 11, *range(21, 521)]
    assert folder.stamps(2) == []
    assert folder.stamps(1) == [b"x"]


def test_every_tenant_has_a_log_and_an_origin_of_its_own(tmp_path: Path) -> None:
    grow(tmp_path, 2)

    with reading(tmp_path) as reader:
        heads = [log_folder(tmp_path, tenant).publish(reader, tenant) for tenant in reader.tenants()]
        assert reader.tenants() == [SYSTEM, TENANT]

    assert len({head.origin for head in heads if head}) == 2


def test_receipts_stand_beside_their_entries_one_a_line(tmp_path: Path) -> None:
    grow(tmp_path, 5)

    with reading(tmp_path) as reader:
        lines = receipt_lines(reader, TENANT, 0, 3).splitlines()
        assert lines == [receipt.envelope for receipt in reader.receipts()[:3]]
        assert read_head(reader.checkpoint()).size == 5
