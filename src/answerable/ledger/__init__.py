"""The record: receipts signed, chained, logged and sealed; the journal of every run; leases.

One process owns a data directory and writes (`Ledger`); any process may read (`Reader`).
"""

from answerable.ledger._bundle import Member, NothingToExport, export_bundle, export_span, write_trust
from answerable.ledger._checkpoint import Head, log_vkey, read_head
from answerable.ledger._copy import StoreNotEmpty, copy_store
from answerable.ledger._drivers._failures import StoreRefused, StoreUnreachable, StoreWentBack
from answerable.ledger._drivers._sqlite import StoreDamaged
from answerable.ledger._history import History, Intent, Recorded
from answerable.ledger._journal import RunJournal, SliceLost, action_digest
from answerable.ledger._key_files import KeyLost, KeyRetired, KeyRoleTaken, check_key, find_in_ssh_agent, write_key
from answerable.ledger._key_lives import KeyLife
from answerable.ledger._keys import FileSigner, KeyFileUnsafe
from answerable.ledger._leases import Again, Busy, Gone, Leases, Parked, Queued, Slice, Stale, Standing
from answerable.ledger._ledger import DirectoryInUse, Ledger
from answerable.ledger._merkle import inclusion_path, leaf_hash, root_hash
from answerable.ledger._ports import Projection, Ruling, Signer, Tx
from answerable.ledger._proofs import consistency_proof, inclusion_proof, is_consistent, tlog_proof
from answerable.ledger._published import (
    LogContradicted,
    LogFolder,
    RecordTiles,
    log_folder,
    monitor_secret,
    receipt_lines,
)
from answerable.ledger._reader import NoStore, Reader, Texts
from answerable.ledger._rebuild import TableRebuilt, rebuild
from answerable.ledger._receipt import SYSTEM, Draft, Phase, Receipt, control_run, envelope_json, pae
from answerable.ledger._record import USUAL_PRIORITY, Appended
from answerable.ledger._rotation import retire_key, rotate_key
from answerable.ledger._schema import SchemaTooNew
from answerable.ledger._sharing import SharedReceiptsChanged, begun_at
from answerable.ledger._signers import KeeperUnusable, SignerUnavailable
from answerable.ledger._sql import Prepared, insert, metadata
from answerable.ledger._stores import DriverMissing, KeysElsewhere, StoreElsewhere, join_store, store_of
from answerable.ledger._tables import slices
from answerable.ledger._tiles import WIDTH, TileSource, Tree, tile_path
from answerable.ledger._vault import ObjectErased

__all__ = [
    "SYSTEM",
    "USUAL_PRIORITY",
    "WIDTH",
    "Again",
    "Appended",
    "Busy",
    "DirectoryInUse",
    "Draft",
    "DriverMissing",
    "FileSigner",
    "Gone",
    "Head",
    "History",
    "Intent",
    "KeeperUnusable",
    "KeyFileUnsafe",
    "KeyLife",
    "KeyLost",
    "KeyRetired",
    "KeyRoleTaken",
    "KeysElsewhere",
    "Leases",
    "Ledger",
    "LogContradicted",
    "LogFolder",
    "Member",
    "NoStore",
    "NothingToExport",
    "ObjectErased",
    "Parked",
    "Phase",
    "Prepared",
    "Projection",
    "Queued",
    "Reader",
    "Receipt",
    "RecordTiles",
    "Recorded",
    "Ruling",
    "RunJournal",
    "SchemaTooNew",
    "SharedReceiptsChanged",
    "Signer",
    "SignerUnavailable",
    "Slice",
    "SliceLost",
    "Stale",
    "Standing",
    "StoreDamaged",
    "StoreElsewhere",
    "StoreNotEmpty",
    "StoreRefused",
    "StoreUnreachable",
    "StoreWentBack",
    "TableRebuilt",
    "Texts",
    "TileSource",
    "Tree",
    "Tx",
    "action_digest",
    "begun_at",
    "check_key",
    "consistency_proof",
    "control_run",
    "copy_store",
    "envelope_json",
    "export_bundle",
    "export_span",
    "find_in_ssh_agent",
    "inclusion_path",
    "inclusion_proof",
    "insert",
    "is_consistent",
    "join_store",
    "leaf_hash",
    "log_folder",
    "log_vkey",
    "metadata",
    "monitor_secret",
    "pae",
    "read_head",
    "rebuild",
    "receipt_lines",
    "retire_key",
    "root_hash",
    "rotate_key",
    "slices",
    "store_of",
    "tile_path",
    "tlog_proof",
    "write_key",
    "write_trust",
]
