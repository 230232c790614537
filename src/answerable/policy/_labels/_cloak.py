"""Personal data hidden from whom a call goes to, and put back into what comes back.

A token stands for one value within one run (`[card#5f0c92ab]`), so that a model can speak of it. Only the gate knows
what it stands for: from the arguments of the very call, so nothing is kept.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

import orjson

from answerable.action import Effects, Finding, Step
from answerable.core import Action, ActionKind, Description, Outcome, RunId, TenantId, stable_json
from answerable.policy._labels._errors import PersonalDataBlocked
from answerable.policy._labels._recognise import KINDS, Recogniser, find_all
from answerable.policy._labels._rules import LabelRules, PersonalRule
from answerable.policy._labels._words import texts_in

__all__ = ["Cloak", "Cloaks", "PersonalEffects"]

_TOKEN = re.compile(r"\[[a-z-]{2,24}#[0-9a-f]{8}\]")
_END = re.compile(rb"(?<=\n\n)|(?<=\n\r\n)")
_LONGEST = 40
"""A token has at most 35 characters: so much of a stream is held back where one may have begun."""
_BEGUN = re.compile(r"\[(?:[a-z-]{0,24}|[a-z-]{2,24}#[0-9a-f]{0,8})$")
Name = Callable[[bytes], bytes]


@dataclass(slots=True, kw_only=True)
class Cloak:
    """Hides personal data in the texts of one call.

    Args:
        rule: what is to become of it.
        name: names a value, 32 bytes; of no meaning without the run's key.
        further: recognisers beside ours.
    """

    rule: PersonalRule
    name: Name
    further: Sequence[Recogniser] = ()
    _known: dict[str, str] = field(default_factory=dict)
    _held: "dict[_Place, tuple[str, dict[str, Any]]]" = field(default_factory=dict)

    def check(self, action: str, value: Any) -> None:
        """Nothing, unless personal data must not leave at all and some would.

        Raises:
            PersonalDataBlocked: it names the kinds, never the values.
        """
        if self.rule.mode == "block":
            found = {each.kind for text in texts_in(value) for each in self._find(text)}
            if found:
                raise PersonalDataBlocked(action=action, kinds=", ".join(sorted(found)))

    def hide(self, value: Any) -> Any:
        """The value with personal data taken out of every text, or tokens in its place."""
        if isinstance(value, str):
            return self._hidden(value)
        if isinstance(value, dict):
            return {key: self.hide(each) for key, each in value.items()}
        return [self.hide(each) for each in value] if isinstance(value, list) else value

    def reveal(self, value: Any, *, within_json: bool = False) -> Any:
        """The value with what its tokens stand for; a token that this call did not make stays.

        Args:
            within_json: a text is part of a JSON text, as arguments of tool calls are.
        """
        if not self._known:
            return value
        if isinstance(value, str):
            return _TOKEN.sub(lambda match: self._value(match[0], within_json=within_json), value)
        if isinstance(value, dict):
            return {key: self.reveal(each, within_json=key in _JSON_TEXTS) for key, each in value.items()}
        return [self.reveal(each) for each in value] if isinstance(value, list) else value

    def reveal_body(self, body: bytes) -> bytes:
        """An answer in JSON, whole; untouched where it holds no token."""
        if not self._known or not _TOKEN.search(body.decode(errors="replace")):
            return body
        return orjson.dumps(self.reveal(orjson.loads(body)))

    def reveal_events(self, events: bytes) -> bytes:
        """Server-sent events of a streamed answer, as far as no token may have begun in them.

        Source: WHATWG HTML, "Server-sent events"; text deltas of Chat Completions and of Messages.
        """
        if not self._known:
            return events
        return b"".join(self._event(event) for event in _END.split(events) if event)

    def reveal_end(self) -> bytes:
        """What was held back, at the end of a stream."""
        return b"".join(self._flushed(place) for place in list(self._held))

    def _find(self, text: str) -> Any:
        found = find_all(text, self.rule.kinds or KINDS, further=self.further)
        return [each for each in found if each.kind in self.rule.kinds] if self.rule.kinds else found

    def _hidden(self, text: str) -> str:
        parts, end = [], 0
        for found in self._find(text):
            stands_for = f"[{found.kind}]"
            if self.rule.mode == "tokenise":
                digest = self.name(f"{found.kind}\n{found.value}".encode()).hex()[:8]
                stands_for = f"[{found.kind}#{digest}]"
                self._known[stands_for] = found.value
            parts += [text[end : found.start], stands_for]
            end = found.end
        return "".join([*parts, text[end:]])

    def _value(self, token: str, *, within_json: bool) -> str:
        value = self._known.get(token, token)
        return json.dumps(value, ensure_ascii=False)[1:-1] if within_json else value

    def _event(self, event: bytes) -> bytes:
        lines = event.split(b"\n")
        at = next((n for n, line in enumerate(lines) if line.startswith(b"data:")), None)
        try:
            said = json.loads(lines[at][5:]) if at is not None else None
        except ValueError:
            said = None  # `[DONE]`
        if at is None or not isinstance(said, dict):
            return self.reveal_end() + event
        deltas = list(_deltas(said))
        if not deltas:
            return self.reveal_end() + event
        places = {place for place, _, _ in deltas}
        owners = {place[:2] for place in places}
        # What was held of a text goes out before the tool call that follows it.
        earlier = [self._flushed(place) for place in list(self._held) if place not in places and place[:2] in owners]
        before = json.dumps(said)
        for place, holder, key in deltas:
            text = self._held.pop(place, ("", said))[0] + holder[key]
            begun = _BEGUN.search(text[-_LONGEST:])
            cut = len(text) - len(begun[0]) if begun else len(text)
            if begun:
                self._held[place] = (text[cut:], said)
            holder[key] = self.reveal(text[:cut], within_json=key in _JSON_TEXTS)
        if json.dumps(said) == before:
            return b"".join([*earlier, event])
        written = b"\n".join([*lines[:at], b"data: " + orjson.dumps(said), *lines[at + 1 :]])
        return b"".join([*earlier, written])

    def _flushed(self, place: "_Place") -> bytes:
        """An event of our own with what was held back at a place."""
        text, said = self._held.pop(place)
        where, owner, call = place
        if where == "block":
            key, kind = ("partial_json", "input_json_delta") if call else ("text", "text_delta")
            delta = {"type": "content_block_delta", "index": owner, "delta": {"type": kind, key: text}}
            return b"event: content_block_delta\ndata: " + orjson.dumps(delta) + b"\n\n"
        held: dict[str, Any] = {"content": text}
        if call is not None:
            held = {"tool_calls": [{"index": call, "function": {"arguments": text}}]}
        choice = {"index": owner, "delta": held, "finish_reason": None}
        return b"data: " + orjson.dumps({**said, "choices": [choice]}) + b"\n\n"


_Place = tuple[str, Any, Any]
"""`choice` or `block`, its index, and of a tool call in it the call's own index (of a block: that it is one)."""
_JSON_TEXTS = ("arguments", "partial_json")


def _deltas(said: dict[str, Any]) -> Iterator[tuple[_Place, dict[str, Any], str]]:
    """Each piece of text in an event: where it belongs, and what holds it under which key."""
    choices = said.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        delta = choice.get("delta") if isinstance(choice, dict) else None
        if not isinstance(delta, dict) or choice.get("finish_reason") is not None:
            continue
        index = choice.get("index")
        if isinstance(delta.get("content"), str):
            yield ("choice", index, None), delta, "content"
        for call in delta.get("tool_calls") or ():
            function = call.get("function")
            if isinstance(function, dict) and isinstance(function.get("arguments"), str):
                yield ("choice", index, call.get("index", 0)), function, "arguments"
    delta = said.get("delta")
    if said.get("type") == "content_block_delta" and isinstance(delta, dict):
        if isinstance(delta.get("text"), str):
            yield ("block", said.get("index"), None), delta, "text"
        elif isinstance(delta.get("partial_json"), str):
            yield ("block", said.get("index"), True), delta, "partial_json"


class Cloaks:
    """Makes a cloak for a call, where one is declared.

    Args:
        rules: by the name of a tool, or `model:` and a pattern of `provider:model`.
        name_in: names values within a run.
    """

    def __init__(
        self,
        rules: LabelRules,
        name_in: Callable[[TenantId, RunId], Name],
        *,
        further: Sequence[Recogniser] = (),
    ) -> None:
        self._tools: Mapping[str, PersonalRule] = rules.personal
        self._models = [
            (name.removeprefix("model:"), rule) for name, rule in rules.personal.items() if name.startswith("model:")
        ]
        self._name_in = name_in
        self._further = tuple(further)

    def __bool__(self) -> bool:
        return bool(self._tools)

    def rule(self, kind: ActionKind, name: str) -> PersonalRule | None:
        """What is declared for calls of this name."""
        if kind == "tool":
            return self._tools.get(name)
        if kind != "model":
            return None
        return next((rule for pattern, rule in self._models if fnmatchcase(name, pattern)), None)

    def cloak(self, kind: ActionKind, name: str, *, tenant: TenantId, run: RunId) -> Cloak | None:
        """For one call; None where nothing is declared."""
        rule = self.rule(kind, name)
        return None if rule is None else Cloak(rule=rule, name=self._name_in(tenant, run), further=self._further)


class PersonalEffects:
    """Other effects, whose calls go out cloaked. What was decided and recorded is the call as the agent made it."""

    def __init__(self, inner: Effects, cloaks: Cloaks) -> None:
        self._inner = inner
        self._cloaks = cloaks

    def describe(self, kind: ActionKind, name: str, arguments: bytes) -> Description:
        """What the call is.

        Raises:
            PersonalDataBlocked: what must not leave would.
        """
        rule = self._cloaks.rule(kind, name)
        if rule is not None and rule.mode == "block":
            Cloak(rule=rule, name=bytes).check(name, orjson.loads(arguments))
        return self._inner.describe(kind, name, arguments)

    async def execute(self, step: Step) -> Outcome:
        """Do it, without the personal data."""
        cloak, cloaked = self._cloaked(step)
        return _revealed(cloak, await self._inner.execute(cloaked))

    async def probe(self, step: Step) -> Finding:
        """Ask whether the call as it went out happened."""
        cloak, cloaked = self._cloaked(step)
        found = await self._inner.probe(cloaked)
        return _revealed(cloak, found) if isinstance(found, Outcome) else found

    def _cloaked(self, step: Step) -> tuple[Cloak | None, Step]:
        action: Action = step.action
        cloak = self._cloaks.cloak(action.kind, action.name, tenant=action.tenant, run=action.run)
        if cloak is None or cloak.rule.mode == "block":
            return None, step
        hidden = stable_json(cloak.hide(orjson.loads(action.arguments)))
        return cloak, replace(step, action=replace(action, arguments=hidden))


def _revealed(cloak: Cloak | None, outcome: Outcome) -> Outcome:
    if cloak is None or b"#" not in outcome.value:
        return outcome
    return replace(outcome, value=stable_json(cloak.reveal(orjson.loads(outcome.value))))
