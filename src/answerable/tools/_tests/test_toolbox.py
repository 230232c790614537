"""Python functions behind the gate: what is refused, what fails, and what stays unknown."""

import asyncio
import threading
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import orjson
import pytest

from answerable.action import OutcomeUnknown, Step
from answerable.core import Action, AgentId, Effect, Money, Outcome, Permanent, RunId, StepKey, TenantId, Transient
from answerable.tools import (
    NOT_DONE,
    ArgumentsInvalid,
    Toolbox,
    ToolFailed,
    ToolResultInvalid,
    ToolServerLost,
    ToolTimedOut,
    ToolUnavailable,
    ToolUnknown,
    ToolUnusable,
)


def step(toolbox: Toolbox, name: str, **arguments: Any) -> Step:
    body = orjson.dumps(arguments)
    action = Action(
        tenant=TenantId("default"),
        run=RunId("run_1"),
        agent=AgentId("a"),
        step=StepKey("s"),
        branch="",
        kind="tool",
        name=name,
        arguments=body,
        described=toolbox.describe("tool", name, body),
        environment="test",
        idempotency_key="key-1",
    )
    return Step(action=action, status="admitted")


def call(toolbox: Toolbox, name: str, **arguments: Any) -> Outcome:
    return asyncio.run(toolbox.execute(step(toolbox, name, **arguments)))


def box_of(function: Callable[..., Any], **declared: Any) -> Toolbox:
    toolbox = Toolbox()
    toolbox.add(function, **declared)
    return toolbox


def raising(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def test_a_function_is_called_with_validated_arguments_and_its_result_is_json() -> None:
    def days(*, start: date, count: int = 1) -> dict[str, date]:
        return {"start": start, "end": start + timedelta(days=count)}

    outcome = call(box_of(days, effect="read"), "days", start="2026-11-21")

    assert outcome.result == {"start": "2026-11-21", "end": "2026-11-22"}
    assert outcome.labels == ("untrusted:days",)
    assert outcome.usage.calls == 1


def test_a_coroutine_runs_on_the_loop_and_a_plain_function_in_a_thread() -> None:
    seen: dict[str, int] = {}

    async def on_loop() -> None:
        seen["loop"] = threading.get_ident()

    def in_thread() -> None:
        seen["thread"] = threading.get_ident()

    toolbox = box_of(on_loop)
    toolbox.add(in_thread)
    call(toolbox, "on_loop")
    call(toolbox, "in_thread")

    assert seen["loop"] == threading.get_ident() != seen["thread"]


@pytest.mark.parametrize("declared", [{}, {"resource": lambda said: said["names"].pop()}])
def test_what_is_carried_out_is_what_is_on_the_record_whatever_was_done_to_the_arguments(
    declared: dict[str, Any],
) -> None:
    def sort(names: list[str]) -> int:
        count = len(names)
        names.clear()
        return count

    toolbox = box_of(sort, effect="read", **declared)
    first, second = step(toolbox, "sort", names=["b", "a"]), step(toolbox, "sort", names=["b", "a"])

    assert [asyncio.run(toolbox.execute(each)).result for each in (first, second, first)] == [2, 2, 2]


def test_results_of_a_trusted_tool_carry_no_label() -> None:
    def read() -> str:
        return "ours"

    assert call(box_of(read, effect="read", trusted=True), "read").labels == ()


@pytest.mark.requirement("TL-4")
def test_a_declaration_says_what_a_call_is() -> None:
    def refund(order_id: str, amount_minor: int, key: str) -> None: ...

    toolbox = box_of(
        refund,
        effect="irreversible",
        idempotency="key",
        amount=lambda said: Money(said["amount_minor"], "EUR"),
        resource="order:{order_id}",
        subjects=("customer-of:{order_id}",),
        timeout=timedelta(seconds=5),
        specs=("REFUND-1",),
        attributes={"external": True},
    )

    described = toolbox.describe("tool", "refund", b'{"order_id":"1001","amount_minor":250}')

    assert described.effect is Effect.IRREVERSIBLE
    assert described.target == "order:1001"
    assert described.amount == Money(250, "EUR")
    assert described.subjects == ("customer-of:1001",)
    assert described.honours_key
    assert not described.has_probe
    assert described.timeout == timedelta(seconds=5)
    assert described.specs == ("REFUND-1",)
    assert described.attributes == {"external": True}
    assert described.schema.startswith("sha256:")


def test_the_idempotency_key_is_injected_by_the_gate_and_hidden_from_the_agent() -> None:
    def pay(amount: int, key: str) -> str:
        return key

    toolbox = box_of(pay, idempotency="key")

    assert call(toolbox, "pay", amount=1).result == "key-1"
    assert "key" not in toolbox.tool("pay").schema["properties"]
    with pytest.raises(ArgumentsInvalid, match="no argument `key`"):
        toolbox.describe("tool", "pay", b'{"amount":1,"key":"mine"}')


@pytest.mark.requirement("TL-3")
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (b'{"count":1,"colour":"red"}', "no argument `colour`"),
        (b"{}", "argument `count` is missing"),
        (b'{"count":"many"}', "`count`: input should be a valid integer"),
        (b"[1]", "not called"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(arguments: bytes, problem: str) -> None:
    def act(count: int) -> None: ...

    with pytest.raises(ArgumentsInvalid, match=problem):
        box_of(act).describe("tool", "act", arguments)


def test_a_refusal_of_arguments_never_quotes_their_values() -> None:
    def act(count: int) -> None: ...

    with pytest.raises(ArgumentsInvalid) as refused:
        box_of(act).describe("tool", "act", b'{"count":"s3cret"}')

    assert "s3cret" not in str(refused.value.to_json())


def test_an_unknown_tool_is_refused_with_the_closest_names() -> None:
    def find_order() -> None: ...

    with pytest.raises(ToolUnknown, match="did you mean `find_order`"):
        box_of(find_order).describe("tool", "find_ordr", b"{}")


@pytest.mark.parametrize("minor", [-1, 2**53])
def test_an_amount_below_zero_or_beyond_counting_is_refused(minor: int) -> None:
    def pay(minor: int) -> None: ...

    toolbox = box_of(pay, amount=lambda said: Money(said["minor"], "EUR"))

    with pytest.raises(ArgumentsInvalid, match="zero or more"):
        toolbox.describe("tool", "pay", orjson.dumps({"minor": minor}))


@pytest.mark.parametrize(
    "declared",
    [{"resource": "order:{nothing}"}, {"resource": "order:{text}"}, {"amount": lambda said: said["text"] / 2}],
)
def test_a_declaration_that_cannot_read_the_arguments_refuses_the_call(declared: dict[str, Any]) -> None:
    def act(text: str) -> None: ...

    with pytest.raises(ArgumentsInvalid):
        box_of(act, **declared).describe("tool", "act", '{"text":"größer"}'.encode())


def star(*args: int) -> None: ...


def unknown_hint(order: "Missing") -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "declared", "problem"),
    [
        (star, {}, "cannot be given by name"),
        (unknown_hint, {}, "type hints"),
        (print, {"effect": "harmless"}, "harmless"),
        (raising(ValueError()), {"idempotency": "key"}, "no parameter `key`"),
    ],
)
def test_a_tool_that_the_gate_cannot_work_with_is_a_configuration_error(
    function: Callable[..., Any], declared: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ToolUnusable, match=problem):
        box_of(function, **declared)


def test_two_tools_cannot_share_a_name() -> None:
    toolbox = box_of(star_free)

    with pytest.raises(ToolUnusable, match="already"):
        toolbox.add(star_free)


def star_free() -> None: ...


@pytest.mark.parametrize("effect", ["read", "write"])
def test_an_exception_of_the_tool_is_its_own_answer_and_its_text_stays_out_of_the_message(effect: str) -> None:
    outcome = call(box_of(raising(KeyError("mara@example.com")), name="act", effect=effect), "act")

    with pytest.raises(ToolFailed) as failed:
        _ = outcome.result

    assert outcome.status == "failed"
    assert failed.value.error == "KeyError"
    assert "mara" in failed.value.said
    assert "mara" not in str(failed.value)


def test_an_exhausted_iterator_in_a_thread_fails_the_call_instead_of_hanging_it() -> None:
    def first() -> int:
        return next(iter(()))

    with pytest.raises(ToolFailed, match="StopIteration"):
        _ = call(box_of(first), "first").result


class VendorTimeoutError(Exception):
    """As client libraries name theirs."""


@pytest.mark.requirement("RT-3")
@pytest.mark.parametrize(
    "error",
    [ConnectionResetError(), TimeoutError(), VendorTimeoutError(), OutcomeUnknown(name="act", reason="said so")],
)
@pytest.mark.parametrize(("effect", "status"), [("read", "failed"), ("write", "unknown"), ("irreversible", "unknown")])
def test_a_lost_connection_leaves_a_write_unknown_and_a_read_failed(error: Exception, effect: str, status: str) -> None:
    assert call(box_of(raising(error), name="act", effect=effect), "act").status == status


def test_our_own_errors_out_of_a_tool_mean_that_nothing_was_done() -> None:
    busy = call(box_of(raising(ToolUnavailable(tool="act", error="busy", retry_after_s=7)), name="act"), "act")
    bare = call(box_of(raising(Transient()), name="act"), "act")
    final = call(box_of(raising(Permanent()), name="act"), "act")

    assert [busy.status, bare.status, final.status] == ["failed"] * 3
    with pytest.raises(ToolUnavailable) as unavailable:
        _ = busy.result
    assert unavailable.value.retry_after_s == 7
    with pytest.raises(Transient):
        _ = bare.result
    with pytest.raises(Permanent):
        _ = final.result


def test_an_exit_asked_for_by_a_tool_does_not_take_the_gate_down() -> None:
    async def leave() -> None:
        raise SystemExit(3)

    assert call(box_of(leave), "leave").status == "failed"


@pytest.mark.requirement("RT-3", "TL-6")
@pytest.mark.parametrize(("effect", "status"), [("read", "failed"), ("write", "unknown")])
def test_a_time_out_leaves_a_write_unknown_and_a_read_failed(effect: str, status: str) -> None:
    async def hang() -> None:
        await asyncio.Event().wait()

    outcome = call(box_of(hang, effect=effect, timeout=timedelta(milliseconds=5)), "hang")

    assert outcome.status == status
    with pytest.raises(ToolTimedOut, match="5 ms"):
        _ = outcome.result


def test_a_cancellation_of_the_tools_own_making_is_an_outcome_and_one_of_the_gates_goes_through() -> None:
    async def cancels_itself() -> None:
        raise asyncio.CancelledError

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    async def from_outside() -> None:
        task = asyncio.create_task(toolbox.execute(step(toolbox, "hang")))
        await started.wait()
        task.cancel()
        await task

    toolbox = box_of(cancels_itself)
    toolbox.add(hang)
    started = asyncio.Event()

    own = call(toolbox, "cancels_itself")
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(from_outside())

    assert own.status == "unknown"
    with pytest.raises(ToolServerLost):
        _ = own.result


@pytest.mark.requirement("TL-3")
@pytest.mark.parametrize(("effect", "status"), [("read", "failed"), ("write", "unknown")])
def test_a_result_of_the_wrong_type_is_invalid_and_the_effect_of_a_write_not_denied(effect: str, status: str) -> None:
    def count() -> int:
        return "many"  # type: ignore[return-value]

    def thing() -> Any:
        return object()

    def held() -> dict[str, Any]:
        return {"thing": object()}

    toolbox = box_of(count, effect=effect)
    toolbox.add(thing, effect=effect)
    toolbox.add(held, effect=effect)

    for name in ("count", "thing", "held"):
        outcome = call(toolbox, name)
        assert outcome.status == status
        with pytest.raises(ToolResultInvalid):
            _ = outcome.result


@pytest.mark.requirement("RT-3")
def test_a_probe_says_done_not_done_or_nothing() -> None:
    async def status(key: str, what: str) -> Any:
        assert key == "key-1"
        return {"done": {"id": 7}, "not": NOT_DONE, "silent": None, "broken": 1 / 0 if what == "broken" else 0}[what]

    def act(what: str) -> dict[str, int]: ...  # type: ignore[empty-body]

    toolbox = box_of(act, probe=status)

    def probed(what: str) -> Any:
        return asyncio.run(toolbox.probe(step(toolbox, "act", what=what)))

    done = probed("done")
    assert (done.status, done.result, done.observed_by) == ("ok", {"id": 7}, "counterparty")
    assert probed("not") == "did not happen"
    assert probed("silent") == "cannot say"
    assert probed("broken") == "cannot say"
