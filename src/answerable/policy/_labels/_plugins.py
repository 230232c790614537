"""Recognisers beside ours: Presidio's (extra `presidio`), and others' by entry point (`answerable.recognisers`)."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from answerable.core import PluginError
from answerable.policy._labels._recognise import Found, Recogniser

__all__ = ["RecogniserUnusable", "load_recognisers", "presidio"]

_GROUP = "answerable.recognisers"
_SURE_RATIO = 0.6
_LONGEST_KIND = 24


@dataclass(eq=False, kw_only=True)
class RecogniserUnusable(PluginError):
    """A recogniser that labels name cannot be used."""

    code = "plugin.recogniser_unusable"
    what = "recogniser `{name}` cannot be used: {problem}"
    why = "what nobody looks for would leave, and nobody would notice"
    fix = "install what offers it (for `presidio`: the extra `presidio`), or take it out of `recognisers`"

    name: str
    problem: str


def load_recognisers(names: Sequence[str]) -> tuple[Recogniser, ...]:
    """The recognisers of these names.

    Raises:
        RecogniserUnusable: there is none or more than one of a name, or it does not load.
    """
    return tuple(map(_load, names))


def _load(name: str) -> Recogniser:
    found = list(entry_points(group=_GROUP, name=name))
    if name not in _BUILT_IN and len(found) != 1:
        owners = ", ".join(sorted(str(each.dist and each.dist.name) for each in found))
        raise RecogniserUnusable(
            name=name, problem=f"{owners} all bring it" if found else "nothing installed brings it"
        )
    try:
        # SECURITY: nobody takes a built-in recogniser's name.
        recogniser: Recogniser = _BUILT_IN[name]() if name in _BUILT_IN else found[0].load()()
    except Exception as error:  # noqa: BLE001 - somebody else's code: whatever it is, the gate stays shut
        problem = f"it does not load ({type(error).__name__}: {error})"
        raise RecogniserUnusable(name=name, problem=problem) from None
    return recogniser


def presidio(analyzer: Any = None) -> Recogniser:
    """Presidio as a recogniser.

    Args:
        analyzer: an `AnalyzerEngine` of yours, with the language model of your choice; without one, Presidio's
            patterns with their checks, and no language model.
    """
    engine = _Patterns() if analyzer is None else analyzer

    def find(text: str) -> Iterator[Found]:
        for result in engine.analyze(text=text, language="en", score_threshold=_SURE_RATIO):
            kind = str(result.entity_type).lower().replace("_", "-")[:_LONGEST_KIND]
            yield Found(result.start, result.end, kind, text[result.start : result.end])

    return find


class _Patterns:
    """Presidio's recognisers that need no language model."""

    def __init__(self) -> None:
        # Loads spaCy, which takes seconds: only where it is asked for.
        from presidio_analyzer import PatternRecognizer, predefined_recognizers

        classes = (getattr(predefined_recognizers, name) for name in sorted(dir(predefined_recognizers)))
        patterns = (each for each in classes if isinstance(each, type) and issubclass(each, PatternRecognizer))
        self._each = [each() for each in patterns if each is not PatternRecognizer]

    def analyze(self, *, text: str, language: str, score_threshold: float) -> Iterator[Any]:
        """What each is sure of, without regard to the language that it was written for."""
        for recognizer in self._each:
            for result in recognizer.analyze(text, recognizer.supported_entities, None):
                if result.score >= score_threshold:
                    yield result


_BUILT_IN: Mapping[str, Callable[[], Recogniser]] = {"presidio": presidio}
