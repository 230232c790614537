"""Lines over a unix socket in the data directory.

SECURITY: the socket is 0600 and every peer's user id is asked of the kernel.
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

__all__ = ["ask", "listen", "peer_uid"]

MOST_BYTES = 1 << 20
_LONGEST_ADDRESS = 100  # sun_path holds 108 bytes with its final zero

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def listen(path: Path, serve: Serve) -> asyncio.Server:
    """Serve lines on `path`; a socket left over from a dead process is replaced.

    The caller holds the data directory's lock, so no living gate listens there.
    """
    return await asyncio.start_unix_server(serve, sock=_bound(path), limit=MOST_BYTES)


def _bound(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        with _address(path) as address:
            bound.bind(address)
    finally:
        os.umask(before)
    return bound


async def ask(path: Path, line: bytes) -> bytes | None:
    """Send one line and read one; None where nobody listens, empty where nobody answered."""
    try:
        with _address(path) as address:
            reader, writer = await asyncio.open_unix_connection(address, limit=MOST_BYTES)
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    try:
        writer.write(line + b"\n")
        await writer.drain()
        return await reader.readline()
    except (ConnectionResetError, BrokenPipeError):
        return b""
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def peer_uid(writer: asyncio.StreamWriter) -> int:
    """The user id of the process at the other end, as the kernel knows it."""
    connection: socket.socket = writer.get_extra_info("socket")
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """The path, by way of the directory's descriptor where it is too long for a socket address."""
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
