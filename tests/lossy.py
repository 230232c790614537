"""A way to a Postgres that can be lost: on demand, and right after a commit whose answer nobody gets."""

import contextlib
import socket
import threading
from pathlib import Path

__all__ = ["Lossy"]


class Lossy:
    """Stands between clients and a server, on a socket of its own; used as `with Lossy(…) as way`.

    Args:
        folder: where clients find it.
        server: where the server's socket is.
        sign: stands in what is sent with a commit that may be lost, and in nothing else.
    """

    def __init__(self, folder: Path, server: Path, sign: bytes) -> None:
        self._sign = sign
        self._server = str(server / ".s.PGSQL.5432")
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(folder / ".s.PGSQL.5432"))
        self._listening.listen()
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self._is_closed = self._loses_next = False
        self.lost = threading.Event()
        """Set once a commit went through and its answer did not."""

    def __enter__(self) -> "Lossy":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self._listening.close()

    def lose_next_commit(self) -> None:
        """The next commit reaches the server; its answer is lost, and so is the way, until `open`."""
        self._loses_next = True

    def open(self) -> None:
        """Let clients through again."""
        with self._lock:
            self._is_closed = False

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                with self._lock:
                    if self._is_closed:
                        client.close()
                        continue
                    server = socket.socket(socket.AF_UNIX)
                    server.connect(self._server)
                    self._open += [client, server]
                flags = [False]
                for each in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._carry, args=(*each, flags), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, is_question: bool, is_doomed: list[bool]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if is_question and self._loses_next and self._sign in data:
                    self._loses_next, is_doomed[0] = False, True
                elif not is_question and is_doomed[0]:
                    self._close()  # the server has answered, and what it says goes nowhere
                    self.lost.set()
                    return
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _close(self) -> None:
        with self._lock:
            self._is_closed = True
            for each in self._open:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
            self._open.clear()
