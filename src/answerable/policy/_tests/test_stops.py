"""Stops take effect at the next action and say who, what and why."""

from typing import Any

import pytest

from answerable.core import Effect, Usage
from answerable.policy import StopScopeInvalid, StopUnknown
from answerable.policy._tests.conftest import AtDesk, Desk, an_action, refusal


@pytest.mark.requirement("GV-3", "RT-4")
@pytest.mark.parametrize("scope", ["run:{run}", "agent:support", "tool:shop.refund", "tool:shop.*", "tenant", "all"])
def test_what_is_stopped_is_refused_at_the_next_action_until_it_is_lifted(at_desk: AtDesk, scope: str) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        stopped = scope.format(run=run)
        await desk.do(an_action(run, 1))

        await desk.stops.stop(stopped, reason="odd refunds", by="robin")
        refused = await desk.do(an_action(run, 2))
        await desk.stops.lift(stopped, reason="looked into", by="robin")
        after = await desk.do(an_action(run, 3))

        assert refusal(refused) == "refused.stopped"
        assert refused.refusal is not None
        assert b"odd refunds" in refused.refusal.value
        assert after.status == "admitted"

    at_desk(body)


@pytest.mark.requirement("GV-3")
@pytest.mark.parametrize("scope", ["model:openai:gpt-5-mini", "model:openai:*", "agent:support", "all"])
def test_a_model_that_is_stopped_is_asked_no_more_and_tools_only_where_they_are_meant(
    at_desk: AtDesk, scope: str
) -> None:
    asked: dict[str, Any] = {
        "kind": "model",
        "name": "openai:gpt-5-mini",
        "described": {"effect": Effect.READ, "target": "", "amount": None, "ceiling": Usage(input_tokens=1)},
    }

    async def body(desk: Desk) -> None:
        run = await desk.run()
        before = await desk.do(an_action(run, 1, **asked))

        await desk.stops.stop(scope, reason="it raves", by="robin")
        model, tool = await desk.do(an_action(run, 2, **asked)), await desk.do(an_action(run, 3))

        assert before.status == "admitted"
        assert refusal(model) == "refused.stopped"
        assert tool.status == ("admitted" if scope.startswith("model:") else "refused")

    at_desk(body)


@pytest.mark.requirement("GV-3")
def test_reads_are_stopped_too(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        await desk.stops.stop("agent:support", reason="pause", by="robin")

        step = await desk.do(an_action(run, 1, described={"effect": Effect.READ}))

        assert refusal(step) == "refused.stopped"

    at_desk(body)


def test_what_is_not_stopped_goes_on(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        for scope in ("run:run_other", "agent:clerk", "tool:shop.send_email", "tool:desk.*", "model:shop.refund"):
            await desk.stops.stop(scope, reason="elsewhere", by="robin")

        step = await desk.do(an_action(run, 1))

        assert step.status == "admitted"
        assert len(desk.stops.standing()) == 5
        assert "robin" not in {stop.by for stop in desk.stops.standing()}

    at_desk(body)


def test_a_stop_that_matches_nothing_and_a_lift_of_nothing_are_refused(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        with pytest.raises(StopScopeInvalid):
            await desk.stops.stop("everything", reason="now", by="robin")
        with pytest.raises(StopUnknown):
            await desk.stops.lift("tenant", reason="now", by="robin")

    at_desk(body)
