"""Unix sockets: lines over one in the data directory, and HTTP over one that agents of other users reach.

SECURITY: the first is 0600, the second open to all; of each, every peer's user id is asked of the kernel.
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["PeerSocket", "ask", "listen", "peer_uid"]

MOST_BYTES = 1 << 20
_MOST_TURNED_AWAY, _HEARD_S = 100, 2.0
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
    return _uid_of(writer.get_extra_info("socket"))


def _uid_of(connection: socket.socket) -> int:
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)


class PeerSocket(socket.socket):
    """A listening unix socket that takes connections of some users only; the rest are told so, and hung up on.

    Args:
        path: a socket left over there from a dead process is replaced.
        admits: whether a user may connect.
        refusal: what one who may not is told, raw.
    """

    def __init__(self, path: Path, admits: Callable[[int], bool], refusal: Callable[[int], bytes]) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._admits = admits
        self._refusal = refusal
        self._turned_away: set[asyncio.Task[None]] = set()
        with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe, _address(path) as address:
            if probe.connect_ex(address) == 0:
                self.close()
                raise FileExistsError(f"another process listens at {path}")
            path.unlink(missing_ok=True)
            self.bind(address)
        path.chmod(0o666)
        self.listen(socket.SOMAXCONN)
        self.setblocking(False)

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection of somebody who may connect; the event loop asks for one at a time."""
        connection, address = super().accept()
        uid = _uid_of(connection)
        if self._admits(uid):
            return connection, address
        if len(self._turned_away) < _MOST_TURNED_AWAY:
            task = asyncio.get_running_loop().create_task(_turn_away(connection, self._refusal(uid)))
            self._turned_away.add(task)
            task.add_done_callback(self._turned_away.discard)
        else:
            connection.close()
        raise ConnectionAbortedError  # the loop goes on to the next


async def _turn_away(connection: socket.socket, refusal: bytes) -> None:
    """Say why, and hear the request out: hung up on while it is sending, a client would never read the answer."""
    loop = asyncio.get_running_loop()
    connection.setblocking(False)
    with connection, contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(_HEARD_S):
            await loop.sock_sendall(connection, refusal)
            connection.shutdown(socket.SHUT_WR)
            while await loop.sock_recv(connection, 1 << 16):
                pass


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
