"""The effect behind `run.approval`: none. What a person decided is decided on the road, before it."""

import orjson

from answerable.action import Finding, Step
from answerable.core import ActionKind, Description, Effect, Outcome

__all__ = ["DecisionEffects"]


class DecisionEffects:
    """The effect of kind `decision`: being admitted at all means that it was approved."""

    def describe(self, kind: ActionKind, name: str, arguments: bytes) -> Description:
        """A write, so that an intent names the approvals it took; honouring its key, so that a crash costs nothing."""
        return Description(effect=Effect.WRITE, honours_key=True, attributes={"role": orjson.loads(arguments)["role"]})

    async def execute(self, step: Step) -> Outcome:
        """Say so."""
        return Outcome(status="ok", value=b'{"approved":true}')

    async def probe(self, step: Step) -> Finding:
        """Nothing happens that could be asked for."""
        return "did not happen"
