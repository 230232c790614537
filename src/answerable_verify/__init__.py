"""Verifies Answerable evidence offline: no account, no network, nothing of Answerable's own code.

    from answerable_verify import verify

    report = verify("run_….evidence.zip", trust="trust.toml")
    report.verdict        # "verified", "self-consistent", "undetermined" or "does not verify"

Formats: `docs/formats/receipt.md`, `journal.md`, `log.md`, `bundle.md`, `trust.md`.
"""

from answerable_verify._container import BadContainer, read_container
from answerable_verify._mirror import Mirror
from answerable_verify._monitor import Alert, Fetch, Monitor, Round
from answerable_verify._page import page
from answerable_verify._report import Check, Finding, Report, RunSummary
from answerable_verify._trust import BadTrust, Trust, read_trust
from answerable_verify._verify import Seen, verify, verify_members

__all__ = [
    "Alert",
    "BadContainer",
    "BadTrust",
    "Check",
    "Fetch",
    "Finding",
    "Mirror",
    "Monitor",
    "Report",
    "Round",
    "RunSummary",
    "Seen",
    "Trust",
    "page",
    "read_container",
    "read_trust",
    "verify",
    "verify_members",
]
