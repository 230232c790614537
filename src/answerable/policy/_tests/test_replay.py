"""Decisions decided again from the record alone."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from answerable.core import Effect, Money, RunId, TenantId
from answerable.ledger import Reader, Receipt
from answerable.policy import replay_decisions
from answerable.policy._tests.conftest import ALLOW, AtDesk, Desk, an_action
from answerable.policy._tests.test_approvals import ASK, LEAD
from answerable.policy._tests.test_facts import ONCE


async def a_day_at_the_desk(desk: Desk) -> RunId:
    """Permitted, denied, held, approved, stopped; a read, and two of the same request."""
    run = await desk.run()
    held = await desk.open(an_action(run, 1))
    await desk.approvals.decide(held.wait, "approve", **LEAD)
    await desk.do(an_action(run, 1))
    small = {"amount": Money(100, "EUR")}
    await desk.do(an_action(run, 2, described=small))
    await desk.do(an_action(run, 3, described={**small, "target": "order:2"}))
    await desk.do(an_action(run, 4, described={**small, "effect": Effect.READ, "target": "order:3"}))
    await desk.stops.stop(f"run:{run}", reason="enough", by="robin")
    await desk.do(an_action(run, 5, described={**small, "target": "order:4"}))
    return RunId(run)


@pytest.mark.requirement("EV-4", "EV-6")
def test_every_decision_of_a_run_comes_out_the_same_again(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await a_day_at_the_desk(desk)
        assert desk.authorizer.cache is not None
        before = (desk.authorizer.cache.hits, desk.authorizer.cache.misses)

        replay = replay_decisions(desk.ledger.reader, run)

        said = [
            (each.recorded, each.evaluation and each.evaluation.verdict, each.refused_by) for each in replay.decisions
        ]
        assert said == [
            ("hold", "hold", ""),
            ("permit", "hold", ""),
            ("deny", "deny", ""),
            ("permit", "permit", ""),
            ("permit", "permit", ""),
            ("deny", "permit", "refused.stopped"),
        ]
        assert [each.difference for each in replay.decisions] == [""] * 6
        assert replay.is_same
        assert (desk.authorizer.cache.hits, desk.authorizer.cache.misses) == before

    at_desk(body, authorize=ONCE, obligations=ASK)


@dataclass
class Forged:
    """A reader over a record in which one object was exchanged."""

    reader: Reader
    old: bytes
    new: bytes

    def receipts(self, *, run: RunId | None = None, tenant: TenantId = TenantId("default")) -> list[Receipt]:
        return self.reader.receipts(run=run, tenant=tenant)

    def stored(self, digest: str) -> tuple[bytes, bytes] | None:
        text, salt = self.reader.stored(digest) or (b"", b"")
        return text.replace(self.old, self.new), salt


@pytest.mark.requirement("EV-4", "EV-6")
@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"forbid(principal", b"permit(principal"),
        (b'"amount_minor":100,', b'"amount_minor":900,'),
        (b"allow", b"other"),
    ],
)
def test_a_decision_that_does_not_follow_from_the_record_is_named(at_desk: AtDesk, old: bytes, new: bytes) -> None:
    async def body(desk: Desk) -> None:
        run = await a_day_at_the_desk(desk)

        replay = replay_decisions(Forged(desk.ledger.reader, old, new), run)

        assert not replay.is_same
        assert any(each.difference for each in replay.decisions)

    at_desk(body, authorize=ONCE, obligations=ASK)


@pytest.mark.requirement("EV-6")
def test_a_decision_whose_policies_are_gone_is_not_called_the_same(at_desk: AtDesk) -> None:
    @dataclass
    class Bare(Forged):
        def stored(self, digest: str) -> tuple[bytes, bytes] | None:
            found = self.reader.stored(digest)
            return None if found and b"answerable-policy" in found[0] else found

    async def body(desk: Desk) -> None:
        run = await desk.run()
        await desk.do(an_action(run))

        replay = replay_decisions(Bare(desk.ledger.reader, b"", b""), RunId(run))

        assert (replay.is_same, replay.decisions[0].is_replayable) == (False, False)

    at_desk(body, authorize=ALLOW)


def test_replay_says_nothing_of_a_run_without_decisions(at_desk: AtDesk) -> None:
    async def body(desk: Desk) -> None:
        run = await desk.run()
        replay: Any = replay_decisions(desk.ledger.reader, RunId(run))
        assert replay == replace(replay, decisions=())

    at_desk(body)
