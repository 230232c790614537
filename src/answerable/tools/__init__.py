"""Tools: what an agent may ask for, and what the gate knows of each before it is done."""

from answerable.tools._declaration import AmountOf, ToolDeclaration
from answerable.tools._errors import (
    ArgumentsInvalid,
    CompensationUnfit,
    ToolChanged,
    ToolFailed,
    ToolHeld,
    ToolLeftWaiting,
    ToolListingMoved,
    ToolNotHeld,
    ToolNotServed,
    ToolResultInvalid,
    ToolServerLost,
    ToolServerUnavailable,
    ToolsNotListed,
    ToolTimedOut,
    ToolUnavailable,
    ToolUnknown,
    ToolUnusable,
)
from answerable.tools._function import NOT_DONE
from answerable.tools._pinning import Pinning, PinState
from answerable.tools._pins import Pins, PinsProjection
from answerable.tools._ports import (
    Answer,
    ClientSaid,
    ListedTool,
    NobodyAsked,
    Peer,
    RelayedServer,
    ServerFace,
    Tool,
    ToolServer,
)
from answerable.tools._relayed import RELAYED, RelayedTool
from answerable.tools._served import ServedTool
from answerable.tools._toolbox import Toolbox
from answerable.tools._whole import WholeResults

__all__ = [
    "NOT_DONE",
    "RELAYED",
    "AmountOf",
    "Answer",
    "ArgumentsInvalid",
    "ClientSaid",
    "CompensationUnfit",
    "ListedTool",
    "NobodyAsked",
    "Peer",
    "PinState",
    "Pinning",
    "Pins",
    "PinsProjection",
    "RelayedServer",
    "RelayedTool",
    "ServedTool",
    "ServerFace",
    "Tool",
    "ToolChanged",
    "ToolDeclaration",
    "ToolFailed",
    "ToolHeld",
    "ToolLeftWaiting",
    "ToolListingMoved",
    "ToolNotHeld",
    "ToolNotServed",
    "ToolResultInvalid",
    "ToolServer",
    "ToolServerLost",
    "ToolServerUnavailable",
    "ToolTimedOut",
    "ToolUnavailable",
    "ToolUnknown",
    "ToolUnusable",
    "Toolbox",
    "ToolsNotListed",
    "WholeResults",
]
