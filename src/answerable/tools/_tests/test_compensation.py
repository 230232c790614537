"""A tool is undone by the tool that its declaration names, with what the call gave and returned."""

import asyncio
from typing import Any

import pytest

from answerable.tools import CompensationUnfit, Toolbox, ToolUnknown


def book(room: str, nights: int) -> dict[str, Any]:
    return {"booking": 7, "room": "another"}


def cancel(booking: int, room: str, note: str = "") -> None:
    """Cancels."""


def refund(charge: str) -> None:
    """Needs what nobody knows."""


def box(**compensate: Any) -> Toolbox:
    tools = Toolbox()
    for undoing in (cancel, refund):
        tools.add(undoing)
    tools.add(book, **compensate)
    return tools


@pytest.mark.requirement("RT-4")
def test_an_undoing_tool_gets_arguments_first_and_what_they_lack_from_the_result() -> None:
    undoing = box(compensate="cancel").compensation("book", {"room": "12", "nights": 2}, book("12", 2))

    assert undoing == ("cancel", {"booking": 7, "room": "12"}), "a result cannot point it at another room"


@pytest.mark.requirement("RT-4")
def test_a_parameter_that_nothing_gives_is_named() -> None:
    with pytest.raises(CompensationUnfit, match="charge"):
        box(compensate="refund").compensation("book", {"room": "12", "nights": 2}, None)


@pytest.mark.requirement("RT-4")
def test_a_tool_without_a_declared_undoing_has_none() -> None:
    assert box().compensation("book", {}, None) is None


@pytest.mark.requirement("RT-4")
def test_an_undoing_tool_that_does_not_exist_stops_the_gate_from_starting() -> None:
    with pytest.raises(ToolUnknown, match="cancle"):
        asyncio.run(box(compensate="cancle").start())
