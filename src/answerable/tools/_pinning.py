"""Holds a toolbox to its pins: what a server changed, added or renamed waits for a person.

The first time a server is seen, its list is taken as it is. From then on any difference holds the tool:
it is refused and not shown, until somebody has looked at the difference and accepted it.
"""

import difflib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from answerable.tools._errors import ToolListingMoved, ToolNotHeld
from answerable.tools._pins import Pin, Pins
from answerable.tools._toolbox import Toolbox

__all__ = ["PinState", "Pinning"]

_log = logging.getLogger(__name__)
State = Literal["pinned", "changed", "new", "gone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PinState:
    """A served tool beside its pin.

    Args:
        tool: its full name.
        digest: of what its server says now; empty where it says nothing of it any more.
        listed, pinned: what its server says, and what was accepted; None where there is none.
        since: of the pin; empty where there is none.
    """

    server: str
    tool: str
    state: State
    digest: str
    listed: dict[str, Any] | None
    pinned: dict[str, Any] | None
    since: str

    def difference(self) -> list[str]:
        """From what was accepted to what is said now, as a unified diff."""
        before, after = (_lines(each) for each in (self.pinned, self.listed))
        return list(difflib.unified_diff(before, after, "accepted", "listed now", lineterm="", n=2))


class Pinning:
    """The pins of one toolbox."""

    def __init__(self, toolbox: Toolbox, pins: Pins) -> None:
        self._toolbox = toolbox
        self._pins = pins

    async def start(self) -> None:
        """Take what is seen for the first time, and hold the toolbox to all pins.

        Raises:
            ToolNotServed: a declaration names a tool that its server never had.
        """
        pins = self._pins.all()
        seen = {pin.server for pin in pins}
        self._toolbox.check_declared({pin.name for pin in pins})
        for server, tools in self._toolbox.served().items():
            if server not in seen:
                for tool in tools.values():
                    await self._pins.put(server, tool.listing)
        self._hold()
        for each in self.states(self._pins.all()):
            if each.state != "pinned":
                _log.warning("tool %s is held: it is %s since its server was accepted", each.tool, each.state)

    def states(self, pins: Iterable[Pin] | None = None) -> list[PinState]:
        """Every served tool, and every pinned one that its server has no more."""
        known = {pin.name: pin for pin in (self._pins.all() if pins is None else pins)}
        served = self._toolbox.served()
        found = []
        for server, tools in served.items():
            for name, tool in tools.items():
                pin = known.pop(name, None)
                state: State = "new" if pin is None else "pinned" if pin.digest == tool.digest else "changed"
                found.append(self._state(server, name, state, pin, tool.digest, tool.listing))
        found += [self._state(pin.server, pin.name, "gone", pin) for pin in known.values() if pin.server in served]
        return sorted(found, key=lambda each: each.tool)

    async def accept(self, tool: str, digest: str, *, by: str, reason: str = "") -> PinState:
        """Take what a server says of a tool now for good.

        Args:
            digest: names what the person saw.

        Raises:
            ToolNotHeld: it is as accepted, or there is no such tool.
            ToolListingMoved: its server says something else by now.
        """
        await self._toolbox.relist(tool)
        found = next((each for each in self.states() if each.tool == tool), None)
        if found is None or found.state == "pinned":
            raise ToolNotHeld(tool=tool)
        if found.digest != digest:
            raise ToolListingMoved(tool=tool)
        if found.listed is None:
            await self._pins.drop(found.server, tool.removeprefix(f"{found.server}."), by=by, reason=reason)
        else:
            await self._pins.put(found.server, found.listed, by=by, reason=reason)
        self._hold()
        return found

    def _hold(self) -> None:
        self._toolbox.hold_to({pin.name: pin.digest for pin in self._pins.all()})

    def _state(
        self,
        server: str,
        tool: str,
        state: State,
        pin: Pin | None,
        digest: str = "",
        listed: dict[str, Any] | None = None,
    ) -> PinState:
        return PinState(
            server=server,
            tool=tool,
            state=state,
            digest=digest,
            listed=listed,
            pinned=listed if state == "pinned" else self._pins.listing(pin) if pin is not None else None,
            since=pin.since if pin is not None else "",
        )


def _lines(listing: dict[str, Any] | None) -> list[str]:
    if listing is None:
        return []
    shape = {name: value for name, value in listing.items() if name not in ("name", "description")}
    said = [f"name: {listing['name']}", *(f"description: {line}" for line in listing["description"].splitlines())]
    return said + orjson.dumps(shape, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode().splitlines()
