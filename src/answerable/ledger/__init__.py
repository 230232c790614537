"""The record: receipts signed, chained, logged and sealed; the journal of every run; leases.

One process owns a data directory and writes (`Ledger`); any process may read (`Reader`).
"""

from answerable.ledger._backup import (
    Backup,
    BackupKeysUnusable,
    BackupUnusable,
    back_up,
    list_backups,
    read_backup,
)
from answerable.ledger._bundle import (
    BundleTooLarge,
    Member,
    NothingToExport,
    export_bundle,
    export_span,
    write_trust,
)
from answerable.ledger._checkpoint import Head, log_vkey, read_head
from answerable.ledger._copy import OtherSchema, StoreNotEmpty, copy_store
from answerable.ledger._drivers._failures import StoreRefused, StoreUnreachable, StoreWentBack
from answerable.ledger._drivers._sqlite import StoreDamaged
from answerable.ledger._dropping import Concerned, drop_texts, drop_these, seqs_of, texts_of
from answerable.ledger._emptiness import Emptiness
from answerable.ledger._erasures import Erasure, ErasureListDamaged, ErasureLists
from answerable.ledger._going_on import published_beyond, why_it_stands_still
from answerable.ledger._history import History, Intent, Recorded
from answerable.ledger._journal import RunJournal, SliceLost
from answerable.ledger._key_files import KeyLost, KeyRetired, KeyRoleTaken, check_key, find_in_ssh_agent, write_key
from answerable.ledger._key_lives import KeyLife
from answerable.ledger._keys import FileSigner, KeyFileUnsafe, read_or_make_secret
from answerable.ledger._lately import USUAL_PRIORITY
from answerable.ledger._leases import CALLED, Again, Busy, Gone, Leases, Parked, Queued, Slice, Stale, Standing
from answerable.ledger._ledger import DirectoryInUse, Ledger
from answerable.ledger._merkle import inclusion_path, leaf_hash, root_hash
from answerable.ledger._ports import Projection, Ruling, RulingTx, Signer, Tx
from answerable.ledger._proofs import consistency_proof, inclusion_proof, is_consistent, tlog_proof
from answerable.ledger._published import (
    LogContradicted,
    LogFolder,
    RecordTiles,
    log_folder,
    monitor_secret,
    put_away,
    receipt_lines,
)
from answerable.ledger._reader import NoStore, Reader, Texts
from answerable.ledger._rebuild import TableRebuilt, compare, rebuild
from answerable.ledger._receipt import SYSTEM, Appended, Draft, Phase, Receipt, control_run, envelope_json, pae
from answerable.ledger._restore import DirectoryNotEmpty, Restored, restore
from answerable.ledger._rotation import KeyShared, retire_key, rotate_key
from answerable.ledger._said import action_digest
from answerable.ledger._schema import SchemaTooNew
from answerable.ledger._sharing import SharedReceiptsChanged, begun_at
from answerable.ledger._signers import KeeperUnusable, SignerUnavailable
from answerable.ledger._sql import Prepared, insert, metadata
from answerable.ledger._standstill import (
    LogBehind,
    Standstill,
    StoreMoved,
    StoreRestored,
    lift_standstill,
    read_standstill,
    stand_still,
)
from answerable.ledger._stores import DriverMissing, KeysElsewhere, StoreElsewhere, join_store, store_of
from answerable.ledger._tables import slices
from answerable.ledger._tiles import WIDTH, TileSource, Tree, tile_path
from answerable.ledger._tombstones import ErasuresProjection, Hold, is_erased, standing_holds
from answerable.ledger._vault import ObjectErased

__all__ = [
    "CALLED",
    "SYSTEM",
    "USUAL_PRIORITY",
    "WIDTH",
    "Again",
    "Appended",
    "Backup",
    "BackupKeysUnusable",
    "BackupUnusable",
    "BundleTooLarge",
    "Busy",
    "Concerned",
    "DirectoryInUse",
    "DirectoryNotEmpty",
    "Draft",
    "DriverMissing",
    "Emptiness",
    "Erasure",
    "ErasureListDamaged",
    "ErasureLists",
    "ErasuresProjection",
    "FileSigner",
    "Gone",
    "Head",
    "History",
    "Hold",
    "Intent",
    "KeeperUnusable",
    "KeyFileUnsafe",
    "KeyLife",
    "KeyLost",
    "KeyRetired",
    "KeyRoleTaken",
    "KeyShared",
    "KeysElsewhere",
    "Leases",
    "Ledger",
    "LogBehind",
    "LogContradicted",
    "LogFolder",
    "Member",
    "NoStore",
    "NothingToExport",
    "ObjectErased",
    "OtherSchema",
    "Parked",
    "Phase",
    "Prepared",
    "Projection",
    "Queued",
    "Reader",
    "Receipt",
    "RecordTiles",
    "Recorded",
    "Restored",
    "Ruling",
    "RulingTx",
    "RunJournal",
    "SchemaTooNew",
    "SharedReceiptsChanged",
    "Signer",
    "SignerUnavailable",
    "Slice",
    "SliceLost",
    "Stale",
    "Standing",
    "Standstill",
    "StoreDamaged",
    "StoreElsewhere",
    "StoreMoved",
    "StoreNotEmpty",
    "StoreRefused",
    "StoreRestored",
    "StoreUnreachable",
    "StoreWentBack",
    "TableRebuilt",
    "Texts",
    "TileSource",
    "Tree",
    "Tx",
    "action_digest",
    "back_up",
    "begun_at",
    "check_key",
    "compare",
    "consistency_proof",
    "control_run",
    "copy_store",
    "drop_texts",
    "drop_these",
    "envelope_json",
    "export_bundle",
    "export_span",
    "find_in_ssh_agent",
    "inclusion_path",
    "inclusion_proof",
    "insert",
    "is_consistent",
    "is_erased",
    "join_store",
    "leaf_hash",
    "lift_standstill",
    "list_backups",
    "log_folder",
    "log_vkey",
    "metadata",
    "monitor_secret",
    "pae",
    "published_beyond",
    "put_away",
    "read_backup",
    "read_head",
    "read_or_make_secret",
    "read_standstill",
    "rebuild",
    "receipt_lines",
    "restore",
    "retire_key",
    "root_hash",
    "rotate_key",
    "seqs_of",
    "slices",
    "stand_still",
    "standing_holds",
    "store_of",
    "texts_of",
    "tile_path",
    "tlog_proof",
    "why_it_stands_still",
    "write_key",
    "write_trust",
]
