"""A relay in front of a name server that counts DNS UPDATEs, and does something before the one that is awaited."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

_UPDATE = 5  # opcode, RFC 2136 section 1.3


@contextlib.contextmanager
def relay(port: int, nth: int, before: Callable[[], None]) -> Iterator[int]:
    """Yields its port. `before` is called once, when update number `nth` has come and was not handed on."""
    door = socket.create_server(("127.0.0.1", 0))
    seen = 0
    lock = threading.Lock()

    def serve(near: socket.socket) -> None:
        nonlocal seen
        with near, contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as far:
            while message := _message(near):
                with lock:
                    update = message[4] >> 3 & 0xF == _UPDATE
                    seen += update
                    if update and seen == nth:
                        before()
                        return
                far.sendall(message)
                near.settimeout(0.05)
                while answer := _message(far):
                    near.sendall(answer)
                    far.settimeout(0.05)
                near.settimeout(None)
                far.settimeout(None)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = door.accept()
                threading.Thread(target=serve, args=(near,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield door.getsockname()[1]
    finally:
        door.close()


def _message(stream: socket.socket) -> bytes:
    """One message with its length before it (RFC 1035 section 4.2.2); b"" at the end."""
    try:
        size = _exactly(stream, 2)
        return size + _exactly(stream, int.from_bytes(size)) if size else b""
    except TimeoutError:
        return b""


def _exactly(stream: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = stream.recv(count - len(data))
        if not more:
            return b""
        data += more
    return data
