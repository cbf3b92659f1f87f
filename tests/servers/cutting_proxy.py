"""A TCP proxy in front of a server, for tests of lost connections: it cuts, falls silent, or is away, as it is told.

It can also change what clients send, so that a server seems to ignore it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

from servers.places import LOOPBACK

CHUNK_BYTES = 65_536
LOOK_SECONDS = 0.02


class CuttingProxy:
    """Forwards between `port`, a free one, and `server_port` of this machine; each connection has two threads.

    `is_away`: new connections are ended at once. `is_silent`: nothing is forwarded, and no connection is ended.
    `replaced`: texts that clients send, and what the server gets instead, of the same length.
    """

    def __init__(self, server_port: int) -> None:
        self.replaced: dict[bytes, bytes] = {}
        self.is_away = False
        self.is_silent = False
        self._server_port = server_port
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._text: bytes | None = None
        self._forward = False
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        # Those that end with the server's next answer.
        self._unanswered: set[tuple[socket.socket, socket.socket]] = set()
        self._ended = threading.Event()

    def __enter__(self) -> CuttingProxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End all connections now."""
        for pair in self._pairs:
            _end(pair)
        self._pairs.clear()

    def cut_at(self, text: bytes, *, forward: bool) -> None:
        """End the connection whose client sends this next, before the client gets an answer.

        `forward`: the server gets it, and has answered when the connection ends.
        """
        self._forward = forward
        self._text = text

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._ended.is_set():
                client, _ = self._listener.accept()
                if self.is_away:
                    client.close()
                    continue
                pair = (client, socket.create_connection((LOOPBACK, self._server_port)))
                self._pairs.append(pair)
                for number in (0, 1):
                    threading.Thread(target=self._copy, args=(pair, number), daemon=True).start()

    def _copy(self, pair: tuple[socket.socket, socket.socket], number: int) -> None:
        source, target = pair[number], pair[1 - number]
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                while self.is_silent and not self._ended.wait(LOOK_SECONDS):
                    pass
                if number == 0:
                    for text, other in self.replaced.items():
                        data = data.replace(text, other)
                if number == 0 and self._text is not None and self._text in data:
                    self._text = None
                    if not self._forward:
                        break
                    self._unanswered.add(pair)
                elif number == 1 and pair in self._unanswered:
                    break
                target.sendall(data)
        _end(pair)


def _end(pair: tuple[socket.socket, socket.socket]) -> None:
    for one in pair:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
