"""The record: receipts signed, chained, logged and sealed; the journal of every run; leases.

One process owns a data directory and writes (`Ledger`); any process may read (`Reader`).
"""

from answerable.ledger._bundle import Member, NothingToExport, export_bundle, write_trust
from answerable.ledger._history import History, Intent, Recorded
from answerable.ledger._journal import RunJournal, SliceLost, action_digest
from answerable.ledger._keys import FileSigner, KeyFileUnsafe
from answerable.ledger._leases import Again, Busy, Gone, Leases, Parked, Slice, Stale
from answerable.ledger._ledger import SYSTEM, DirectoryInUse, Ledger, control_run
from answerable.ledger._merkle import inclusion_path, leaf_hash, root_hash
from answerable.ledger._ports import Projection, Ruling, Signer, Tx
from answerable.ledger._reader import NoStore, Reader, Texts
from answerable.ledger._rebuild import TableRebuilt, rebuild
from answerable.ledger._receipt import Draft, Phase, Receipt, envelope_json, pae
from answerable.ledger._record import Appended
from answerable.ledger._schema import SchemaTooNew
from answerable.ledger._sharing import SharedReceiptsChanged, begun_at
from answerable.ledger._sql import Prepared, metadata
from answerable.ledger._store import StoreDamaged
from answerable.ledger._vault import ObjectErased

__all__ = [
    "SYSTEM",
    "Again",
    "Appended",
    "Busy",
    "DirectoryInUse",
    "Draft",
    "FileSigner",
    "Gone",
    "History",
    "Intent",
    "KeyFileUnsafe",
    "Leases",
    "Ledger",
    "Member",
    "NoStore",
    "NothingToExport",
    "ObjectErased",
    "Parked",
    "Phase",
    "Prepared",
    "Projection",
    "Reader",
    "Receipt",
    "Recorded",
    "Ruling",
    "RunJournal",
    "SchemaTooNew",
    "SharedReceiptsChanged",
    "Signer",
    "Slice",
    "SliceLost",
    "Stale",
    "StoreDamaged",
    "TableRebuilt",
    "Texts",
    "Tx",
    "action_digest",
    "begun_at",
    "control_run",
    "envelope_json",
    "export_bundle",
    "inclusion_path",
    "leaf_hash",
    "metadata",
    "pae",
    "rebuild",
    "root_hash",
    "write_trust",
]
