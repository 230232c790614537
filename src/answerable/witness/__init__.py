"""Those who watch a log from outside: witnesses, time-stamping authorities, monitors; and how a gate asks them.

Formats: C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-witness, tlog-policy; RFC 3161.
"""

from answerable.witness._config import LogConfig, LogConfigInvalid, read_log_config
from answerable.witness._drivers import fetching
from answerable.witness._errors import Unreachable
from answerable.witness._notes import (
    Note,
    NoteMalformed,
    VerifierKey,
    VerifierKeyMalformed,
    cosign,
    cosigned_at,
    parse_head,
    parse_note,
    parse_vkey,
    vkey_of,
)
from answerable.witness._ports import Http, HttpReply
from answerable.witness._publisher import Publisher, Watched, publishing, seen_elsewhere
from answerable.witness._quorum import Quorum, QuorumMalformed, WitnessAt, parse_quorum
from answerable.witness._timestamps import TimestampInvalid, TimestampsNotInstalled
from answerable.witness._witness import (
    Answer,
    Witness,
    WitnessBusy,
    WitnessUnnamed,
    kept_checkpoint,
    make_signer,
    make_witness,
)

__all__ = [
    "Answer",
    "Http",
    "HttpReply",
    "LogConfig",
    "LogConfigInvalid",
    "Note",
    "NoteMalformed",
    "Publisher",
    "Quorum",
    "QuorumMalformed",
    "TimestampInvalid",
    "TimestampsNotInstalled",
    "Unreachable",
    "VerifierKey",
    "VerifierKeyMalformed",
    "Watched",
    "Witness",
    "WitnessAt",
    "WitnessBusy",
    "WitnessUnnamed",
    "cosign",
    "cosigned_at",
    "fetching",
    "kept_checkpoint",
    "make_signer",
    "make_witness",
    "parse_head",
    "parse_note",
    "parse_quorum",
    "parse_vkey",
    "publishing",
    "read_log_config",
    "seen_elsewhere",
    "vkey_of",
]
