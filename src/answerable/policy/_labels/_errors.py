"""What can be wrong with labels as they are declared, or with dropping them."""

from dataclasses import dataclass

from answerable.core import ConfigError, Refused

__all__ = ["LabelNotDropped", "LabelsInvalid", "PersonalDataBlocked"]


@dataclass(eq=False, kw_only=True)
class LabelsInvalid(ConfigError):
    """Sources and sinks cannot be used as they are declared."""

    code = "config.labels_invalid"
    what = "labels in `{where}` cannot be used: {problem}"
    why = "a source or sink that is guessed at would pass for one that is guarded"
    fix = "correct it; `docs/guides/contain-prompt-injection.md` lists what may stand there"

    where: str
    problem: str


@dataclass(eq=False, kw_only=True)
class LabelNotDropped(Refused):
    """A run does not carry what is to be dropped from it."""

    code = "refused.label_not_dropped"
    what = "nothing dropped from run `{run}`: {problem}"
    why = "dropping a label is a decision about what a run was really exposed to"
    fix = "see what it carries with `answerable labels show {run}`"

    run: str
    problem: str


@dataclass(eq=False, kw_only=True)
class PersonalDataBlocked(Refused):
    """Personal data would have left where none may."""

    code = "refused.personal_data_blocked"
    what = "call of `{action}` refused: it carries personal data ({kinds})"
    why = "the operator declares that none may go there"
    fix = "leave it out, or have the operator declare `redact` or `tokenise` for it"

    action: str
    kinds: str
