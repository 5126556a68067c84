"""A DNS server on loopback that says the same to every question, at once: nobody else's resolver is measured."""

from __future__ import annotations

import contextlib
import socket
import threading

SERVFAIL, NXDOMAIN = 2, 3


class NameServer:
    """Answers with one RCODE (RFC 1035 section 4.1.1) from a thread, until it is closed."""

    def __init__(self, rcode: int, port: int = 0) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", port))
        # QR, RD and RA are set; one question, and no other section (an OPT is left out).
        self._head = bytes((0x81, 0x80 | rcode, 0, 1, 0, 0, 0, 0, 0, 0))
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                question, peer = self._socket.recvfrom(4096)
                if len(question) > 12:
                    end = question.index(0, 12) + 5
                    self._socket.sendto(question[:2] + self._head + question[12:end], peer)

    def close(self) -> None:
        """Its port is free then: the thread, which may wait for a question, is woken."""
        with contextlib.suppress(OSError):  # it has no peer, says the system, and wakes the thread all the same
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()
