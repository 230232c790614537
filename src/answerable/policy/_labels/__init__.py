"""Labels: where words come from, which arguments they may decide, and what may leave the house."""

from answerable.policy._labels._again import flows_again
from answerable.policy._labels._cloak import Cloak, Cloaks, PersonalEffects
from answerable.policy._labels._dropping import CarriedLabel, Labels
from answerable.policy._labels._effects import LabelledEffects
from answerable.policy._labels._errors import LabelNotDropped, LabelsInvalid, PersonalDataBlocked
from answerable.policy._labels._flow import NO_FLOW, Flow, Flows
from answerable.policy._labels._kept import KeptLabels, KeptLabelsProjection
from answerable.policy._labels._origins import Passage, passages_of
from answerable.policy._labels._plugins import RecogniserUnusable, load_recognisers, presidio
from answerable.policy._labels._recognise import Found, Recogniser
from answerable.policy._labels._rules import LabelRules, PersonalRule, Sink, Source, UserSpeech, read_labels

__all__ = [
    "NO_FLOW",
    "CarriedLabel",
    "Cloak",
    "Cloaks",
    "Flow",
    "Flows",
    "Found",
    "KeptLabels",
    "KeptLabelsProjection",
    "LabelNotDropped",
    "LabelRules",
    "LabelledEffects",
    "Labels",
    "LabelsInvalid",
    "Passage",
    "PersonalDataBlocked",
    "PersonalEffects",
    "PersonalRule",
    "Recogniser",
    "RecogniserUnusable",
    "Sink",
    "Source",
    "UserSpeech",
    "flows_again",
    "load_recognisers",
    "passages_of",
    "presidio",
    "read_labels",
]
