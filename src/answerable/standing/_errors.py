"""What can be wrong with a specification, or with a question about the record."""

from dataclasses import dataclass

from answerable.core import ConfigError, EvidenceError

__all__ = ["ArtefactUnknown", "SpecInvalid", "SpecsMissing"]


@dataclass(eq=False, kw_only=True)
class SpecInvalid(ConfigError):
    """A specification cannot be read as written.

    Args:
        clause: the clause's id, or the part of the file where there is none yet (`front matter`).
    """

    code = "config.spec_invalid"
    what = "`{file}` line {line} ({clause}): {found}"
    why = "a clause that is half understood would be judged wrongly, so nothing is guessed"
    fix = "{expected}; `docs/guides/write-a-spec.md` has the whole grammar"

    file: str
    line: int
    clause: str
    found: str
    expected: str


@dataclass(eq=False, kw_only=True)
class SpecsMissing(ConfigError):
    """The folder that should hold specifications is not there."""

    code = "config.specs_missing"
    what = "no folder `{directory}`"
    why = "without it nothing would be governed, and nobody would notice"
    fix = "create it with one `*.md` file a specification, or leave out the setting that names it"

    directory: str


@dataclass(eq=False, kw_only=True)
class ArtefactUnknown(EvidenceError):
    """Nothing on the record bears this name."""

    code = "evidence.artefact_unknown"
    what = "nothing on the record of tenant `{tenant}` is called `{asked}`"
    why = "{near}"
    fix = "name a receipt (`rcpt_…`), run (`run_…`), approval (`appr_…`), digest (`sha256:…`) or target (`order:1001`)"

    tenant: str
    asked: str
    near: str
