"""What the record stands for: specifications, whether they were satisfied, and the chain behind an artefact.

Specifications are files under version control. Verdicts and trails are computed from receipts alone.
"""

from answerable.standing._conformance import ClauseVerdict, check_record, check_run
from answerable.standing._errors import ArtefactUnknown, SpecInvalid, SpecsMissing
from answerable.standing._evaluate import Finding
from answerable.standing._mapping import FRAMEWORKS, FrameworkMapping, MappingInvalid, read_mapping
from answerable.standing._markdown import Clause, Governs
from answerable.standing._pack import Pack, PackScope, make_pack
from answerable.standing._pack_files import PackNotWritten, write_pack
from answerable.standing._ports import Record
from answerable.standing._render import trail_lines, verdict_lines
from answerable.standing._so_far import ClausesSoFar
from answerable.standing._specs import Spec, Specs, load_specs, parse_snapshot
from answerable.standing._trail import ActionTrail, ApprovalLink, ClauseLink, DecisionLink, ModelLink, PartyLink, Trail
from answerable.standing._why import why

__all__ = [
    "FRAMEWORKS",
    "ActionTrail",
    "ApprovalLink",
    "ArtefactUnknown",
    "Clause",
    "ClauseLink",
    "ClauseVerdict",
    "ClausesSoFar",
    "DecisionLink",
    "Finding",
    "FrameworkMapping",
    "Governs",
    "MappingInvalid",
    "ModelLink",
    "Pack",
    "PackNotWritten",
    "PackScope",
    "PartyLink",
    "Record",
    "Spec",
    "SpecInvalid",
    "Specs",
    "SpecsMissing",
    "Trail",
    "check_record",
    "check_run",
    "load_specs",
    "make_pack",
    "parse_snapshot",
    "read_mapping",
    "trail_lines",
    "verdict_lines",
    "why",
    "write_pack",
]
