"""An MCP server with books: what `pay` did is written down, one line a payment."""

import sys
from pathlib import Path

from mcp.server import MCPServer

books = Path(sys.argv[1])
server = MCPServer("shop")


@server.tool()
def echo(text: str) -> str:
    """Say it again."""
    return text


@server.tool()
def pay(order: str) -> str:
    """Pay an order."""
    with books.open("a") as file:
        file.write(order + "\n")
    return f"{order} is paid"


@server.tool()
def ban(order: str) -> str:
    """Ban whoever ordered."""
    raise AssertionError("nobody may")


@server.resource("shop://terms")
def terms() -> str:
    """The terms of business."""
    return "no refunds"


@server.prompt()
def greet(name: str) -> str:
    """A greeting."""
    return f"Greet {name}."


server.run("stdio")
