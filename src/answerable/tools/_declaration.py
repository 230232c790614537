"""What the operator says of a tool that neither its code nor its server can be trusted to say."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from string import Formatter
from typing import Any

from answerable.core import Description, Effect, Money
from answerable.tools._errors import ArgumentsInvalid, ToolUnusable

__all__ = ["AmountOf", "Arguments", "Probe", "ToolDeclaration"]

Arguments = Mapping[str, Any]
Probe = Callable[..., Awaitable[Any] | Any]

_LONGEST_TARGET = 200
_SAFE_INTEGER = 2**53


@dataclass(frozen=True, slots=True, kw_only=True)
class AmountOf:
    """The money that a call moves, where its arguments say so plainly.

    Args:
        argument: holds the amount.
        is_minor: whether in minor units (cents), a whole number; else in major units (`19.99`).
        currency: ISO 4217; or
        currency_argument: holds it.
    """

    argument: str
    is_minor: bool
    currency: str = ""
    currency_argument: str = ""

    def __call__(self, arguments: Arguments) -> Money:
        currency = self.currency or arguments[self.currency_argument]
        said = arguments[self.argument]
        if self.is_minor:
            return Money(said, currency)
        if isinstance(said, bool) or not isinstance(said, int | float | str):
            raise TypeError("an amount is a number")
        return Money.parse(str(said), currency)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolDeclaration:
    """How a tool acts on the world.

    Args:
        effect: `read`, `write` or `irreversible`. Unsaid, a tool writes: the safe reading.
        idempotency: the parameter into which the gate puts the action's idempotency key. The agent
            neither sees nor sets it, and the tool promises one effect per key.
        probe: finds out whether a lost call happened. For a Python tool a function
            `(key, **arguments)` that returns the result, `NOT_DONE`, or `None` if it cannot say; for a
            served tool the name of a read tool of that server that answers `{"found": bool, …result}`.
        compensate: the tool that undoes it, called with this call's arguments, else with its result's fields,
            under the names of its own parameters.
        amount: the money it moves, from its arguments.
        resource: what it acts on, `order:{order_id}` or a function of the arguments.
        subjects: whose data it concerns, templates or a function of the arguments.
        timeout: after which the gate stops waiting.
        retries: how often a try that surely did nothing is repeated; None leaves it to the runtime.
        trusted: its results may steer the agent; else they carry `untrusted:<tool>`.
        specs: ids of the clauses that govern it.
        attributes: further facts for policy.
    """

    effect: Effect | str = Effect.WRITE
    idempotency: str | None = None
    probe: Probe | str | None = None
    compensate: str | None = None
    amount: Callable[[Arguments], Money | None] | None = None
    resource: str | Callable[[Arguments], str] | None = None
    subjects: tuple[str, ...] | Callable[[Arguments], Iterable[str]] = ()
    timeout: timedelta | None = None
    retries: int | None = None
    trusted: bool = False
    specs: tuple[str, ...] = ()
    attributes: Mapping[str, bool | int | str] = field(default_factory=dict)

    def checked_effect(self, tool: str) -> Effect:
        """The effect as declared; anything but the three words is a mistake worth stopping for."""
        try:
            return Effect(self.effect)
        except ValueError:
            problem = f"its effect is `{self.effect}`, and an effect is `read`, `write` or `irreversible`"
            raise ToolUnusable(tool=tool, problem=problem) from None

    def check_names(self, tool: str, known: Iterable[str]) -> None:
        """Nothing, if every argument that the declaration names is one of the tool's.

        Raises:
            ToolUnusable: it names another.
        """
        templates = [("resource", self.resource), *(("subjects", each) for each in _templates(self.subjects))]
        named = [(what, name) for what, said in templates if isinstance(said, str) for name in _fields(said)]
        if isinstance(self.amount, AmountOf):
            named += [("amount", self.amount.argument), ("amount", self.amount.currency_argument)]
        arguments = sorted(known)
        for what, name in named:
            if name and name not in arguments:
                has = ", ".join(f"`{each}`" for each in arguments) or "none"
                problem = f"its `{what}` names the argument `{name}`, and its arguments are: {has}"
                raise ToolUnusable(tool=tool, problem=problem)

    @property
    def is_constant(self) -> bool:
        """Whether it says the same of every call: it works nothing out from the arguments."""
        return self.resource is None and self.amount is None and not self.subjects

    def describe(self, tool: str, arguments: Arguments, schema: str) -> Description:
        """What the gate knows of a call with these (valid) arguments.

        Raises:
            ArgumentsInvalid: the declaration cannot make sense of them.
        """
        return Description(
            effect=Effect(self.effect),
            target=self._target(tool, arguments),
            amount=self._amount(tool, arguments),
            subjects=self._subjects(tool, arguments),
            schema=schema,
            honours_key=self.idempotency is not None,
            has_probe=self.probe is not None,
            timeout=self.timeout,
            attributes=dict(self.attributes),
            specs=self.specs,
        )

    def _target(self, tool: str, arguments: Arguments) -> str:
        if self.resource is None:
            return ""
        target = _said(tool, "resource", self.resource, arguments)
        if not isinstance(target, str) or not target.isascii() or len(target) > _LONGEST_TARGET:
            problem = f"what it acts on must be named in at most {_LONGEST_TARGET} ASCII characters"
            raise ArgumentsInvalid(tool=tool, problem=problem)
        return target

    def _amount(self, tool: str, arguments: Arguments) -> Money | None:
        if self.amount is None:
            return None
        amount = _said(tool, "amount", self.amount, arguments)
        if amount is None:
            return None
        # SECURITY: a negative amount would pass every upper limit, and sums would shrink by it.
        if not isinstance(amount, Money) or not 0 <= amount.minor < _SAFE_INTEGER:
            raise ArgumentsInvalid(tool=tool, problem="the amount must be zero or more, and below 2^53 minor units")
        return amount

    def _subjects(self, tool: str, arguments: Arguments) -> tuple[str, ...]:
        if not self.subjects:
            return ()
        if callable(self.subjects):
            said = _said(tool, "subjects", self.subjects, arguments)
        else:
            said = [_said(tool, "subjects", template, arguments) for template in self.subjects]
        return tuple(sorted({str(subject) for subject in said}))


def _templates(said: tuple[str, ...] | Callable[[Arguments], Iterable[str]]) -> tuple[str, ...]:
    return () if callable(said) else said


def _fields(template: str) -> list[str]:
    """The arguments that a template names; `{order[id]}` names `order`."""
    return [re.split(r"[.\[]", name, maxsplit=1)[0] for _, name, _, _ in Formatter().parse(template) if name]


def _said(tool: str, what: str, rule: str | Callable[[Arguments], Any], arguments: Arguments) -> Any:
    try:
        return rule.format_map(arguments) if isinstance(rule, str) else rule(arguments)
    except Exception as error:  # noqa: BLE001 - the operator's rule over the agent's words: refused, fail closed
        problem = f"the declared `{what}` cannot be worked out from these arguments ({type(error).__name__})"
        raise ArgumentsInvalid(tool=tool, problem=problem) from None
