"""What travels the road: an action, the decision on it, and its outcome."""

from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Literal

import orjson

from answerable.core._errors import AnswerableError, error_from_json
from answerable.core._ids import AgentId, ReceiptId, RunId, StepKey, TenantId
from answerable.core._money import Money, Usage
from answerable.core._quickly import quickly_made

__all__ = [
    "Action",
    "ActionKind",
    "ApprovalObligation",
    "Decision",
    "Description",
    "Effect",
    "FactScope",
    "Obligation",
    "Outcome",
    "OutcomeStatus",
    "Verdict",
]

ActionKind = Literal["model", "tool", "memory", "code", "delegation", "decision", "observation"]
Verdict = Literal["permit", "hold", "deny"]
OutcomeStatus = Literal["ok", "failed", "refused", "unknown"]


class Effect(StrEnum):
    """What an action does to the world."""

    READ = "read"
    WRITE = "write"
    IRREVERSIBLE = "irreversible"


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What the gate knows of a call before it is made, from the tool's or model's declaration.

    Args:
        effect: what it does to the world.
        target: the resource it acts on, as `type:id` (`order:1001`); empty where it has none.
        amount: the money it moves, if it moves any.
        subjects: the people its data concern, as `type:id`; their erasure erases the objects.
        ceiling: the most it can use, reserved before it runs.
        schema: `sha256:` name of the tool's argument schema, empty where it has none.
        honours_key: the effect is done once per idempotency key, however often it is asked for.
        has_probe: the outcome of a lost call can be asked for.
        timeout: after which the gate stops waiting.
        attributes: further facts the declaration exposes to policy (booleans, integers, short strings).
        model: for a model call, `{"provider": …, "id": …}`.
        specs: clause ids that govern the call.
    """

    effect: Effect
    target: str = ""
    amount: Money | None = None
    subjects: tuple[str, ...] = ()
    ceiling: Usage = Usage()
    schema: str = ""
    honours_key: bool = False
    has_probe: bool = False
    timeout: timedelta | None = None
    attributes: dict[str, bool | int | str] = field(default_factory=dict)
    model: dict[str, str] = field(default_factory=dict)
    specs: tuple[str, ...] = ()


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One thing an agent wants done, with all that policy, journal and effect need to know of it.

    Args:
        step: names this call within its run, the same in every replay.
        branch: names joined by `/`; empty at the root of the run.
        arguments: stable JSON, an object.
        on_behalf_of: the person or system that asked for the run, as `type:id`.
        resources: what the run is about, as its initiator named it (`order:1001`).
        ancestors: the runs whose budgets it is charged to beside its own: those that delegated it.
        mandate: what the run was started under; its budgets are charged, too.
        confidence: how sure the agent says it is, in percent; it can only make the decision stricter.
        labels: what the run has been exposed to so far, sorted (`untrusted:shop.read_ticket`).
        subjects: the people this action's data concern, sorted; those of `described` included.
    """

    tenant: TenantId
    run: RunId
    agent: AgentId
    step: StepKey
    branch: str
    kind: ActionKind
    name: str
    arguments: bytes
    described: Description
    environment: str
    on_behalf_of: str = ""
    idempotency_key: str = ""
    resources: tuple[str, ...] = ()
    ancestors: tuple[RunId, ...] = ()
    mandate: str = ""
    confidence: int | None = None
    labels: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    build: str = ""

    @property
    def effect(self) -> Effect:
        return self.described.effect

    @property
    def needs_intent(self) -> bool:
        """Whether a crash during the effect must leave a trace: all but reads that reserve nothing."""
        return self.described.effect is not Effect.READ or bool(self.described.ceiling)

    @property
    def is_repeatable(self) -> bool:
        """Whether doing it again after a lost outcome changes nothing in the world."""
        return self.described.effect is Effect.READ or self.described.honours_key


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalObligation:
    """People must say yes: `approve:role=…,n=…,not=initiator,edit,timeout=…,on_timeout=deny`.

    Args:
        n: how many of them; always different people.
        not_initiator: none of them asked for the run.
        not_chain: nor stands above or below whoever did.
        may_edit: one of them may change the arguments first.
        may_repeat: they may decide the same for the rest of the run.
        is_signed: each signs with a key of their own.
        on_timeout: `deny`, or `escalate:` and the roles that take over one after the other, with `>` between.
    """

    role: str
    n: int = 1
    distinct: bool = True
    not_initiator: bool = True
    not_chain: bool = False
    may_edit: bool = False
    may_repeat: bool = False
    is_signed: bool = False
    timeout: timedelta = timedelta(days=3)
    on_timeout: str = "deny"

    def __str__(self) -> str:
        parts = [f"role={self.role}", f"n={self.n}"]
        parts += ["distinct"] * self.distinct
        parts += ["not=chain"] * self.not_chain or ["not=initiator"] * self.not_initiator
        parts += ["edit"] * self.may_edit + ["repeat"] * self.may_repeat + ["signed"] * self.is_signed
        parts += [f"timeout={int(self.timeout.total_seconds())}s", f"on_timeout={self.on_timeout}"]
        return "approve:" + ",".join(parts)

    @property
    def escalates_to(self) -> tuple[str, ...]:
        """The roles that take over, one after the other, when nobody answers."""
        word, _, roles = self.on_timeout.partition(":")
        return tuple(roles.split(">")) if word == "escalate" else ()


Obligation = ApprovalObligation


@dataclass(frozen=True, slots=True)
class FactScope:
    """A fact about history that a decision read, and its version when it was read."""

    name: str
    version: int


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What policy says of one action; `hold` is a permit with obligations still open.

    Args:
        rules: ids of the policies that decided, sorted.
        request: the exact request that was decided, stable JSON: principal, action, resource, context.
        policy: `sha256:` name of the policy set.
        obligations: what must be met first.
        facts: the scopes that the decision read; `open` refuses to act on it if one has moved.
        provenance: where its critical arguments come from, each `{"argument", "kind", "from", "receipts"}`.
        error: why it was denied, for the agent and the person reading.
    """

    verdict: Verdict
    rules: tuple[str, ...] = ()
    request: bytes = b"{}"
    policy: str = ""
    obligations: tuple[Obligation, ...] = ()
    facts: tuple[FactScope, ...] = ()
    provenance: tuple[dict[str, Any], ...] = ()
    error: AnswerableError | None = None


@quickly_made
@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an action.

    Args:
        status: `unknown` means dispatched and not heard of since: never "did not happen".
        value: the result as stable JSON; for `failed` and `refused`, the error as JSON.
        observed_by: `gate`, `counterparty`, `independent` or `agent`.
        evidence: what else supports it, each `{"kind": …, "digest": …}`.
        labels: what the result carries into the run (`untrusted:shop.read_ticket`).
        tries: how often the effect was tried within this attempt.
        seq, at, receipt: where it stands on the record; set by the journal.
    """

    status: OutcomeStatus
    value: bytes = b"null"
    usage: Usage = Usage()
    observed_by: str = "gate"
    evidence: tuple[dict[str, str], ...] = ()
    labels: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    tries: int = 1
    seq: int = -1
    at: str = ""
    receipt: ReceiptId = ReceiptId("")

    @property
    def result(self) -> Any:
        """The result as Python values; raises what the action raised, in replay as live."""
        if self.status != "ok":
            raise error_from_json(orjson.loads(self.value))
        return orjson.loads(self.value)

    @classmethod
    def of_error(cls, status: OutcomeStatus, error: AnswerableError, **more: Any) -> "Outcome":
        """An outcome that raises `error` when its result is read."""
        return cls(status=status, value=orjson.dumps(error.to_json(), option=orjson.OPT_SORT_KEYS), **more)
