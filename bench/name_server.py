"""A DNS server on loopback that answers at once from memory: nobody else's resolver is measured."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import threading
from collections.abc import Mapping, Sequence

NOERROR, SERVFAIL, NXDOMAIN = 0, 2, 3
_TYPES = {"A": 1, "NS": 2, "PTR": 12, "MX": 15, "TXT": 16}
_TTL = 3600  # seconds; negative answers too, by the SOA (RFC 2308)
_SOA = b"\0" + struct.pack("!HHIH", 6, 1, _TTL, 22) + b"\0\0" + struct.pack("!IIIII", 1, _TTL, _TTL, _TTL, _TTL)

Records = Mapping[tuple[str, str], Sequence[str]]


class NameServer:
    """Answers with one RCODE (RFC 1035 section 4.1.1) from a thread, until it is closed; what is in `records` better.

    `records` by (name, type), each a list of texts; types are A, NS, PTR, MX and TXT.
    """

    def __init__(self, rcode: int, port: int = 0, *, host: str = "127.0.0.1", records: Records | None = None) -> None:
        """Raises OSError where the port is not to be had."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((host, port))
        self._rcode = rcode
        self._records = {
            (_wire(name), _TYPES[kind]): _answers(kind, texts) for (name, kind), texts in (records or {}).items()
        }
        self._names = {name for name, _ in self._records}
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                question, peer = self._socket.recvfrom(4096)
                if len(question) > 12:
                    self._socket.sendto(self._answer(question), peer)

    def _answer(self, question: bytes) -> bytes:
        """Header, question, and the records there are (an OPT is left out)."""
        end = question.index(0, 12) + 5
        name = question[12 : end - 4].lower()
        found = self._records.get((name, int.from_bytes(question[end - 4 : end - 2], "big")))
        rcode = NOERROR if name in self._names else self._rcode
        count, answers = found or (0, b"")
        # Who has records tells how long it is known that there is none.
        negative = _SOA if not found and self._records else b""
        # QR, RD and RA are set.
        head = struct.pack("!2sBBHHHH", question[:2], 0x81, 0x80 | rcode, 1, count, 1 if negative else 0, 0)
        return head + question[12:end] + answers + negative

    def close(self) -> None:
        """Its port is free then: the thread, which may wait for a question, is woken."""
        with contextlib.suppress(OSError):  # it has no peer, says the system, and wakes the thread all the same
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


def _wire(name: str) -> bytes:
    labels = [label.encode() for label in name.lower().strip(".").split(".") if label]
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def _answers(kind: str, texts: Sequence[str]) -> tuple[int, bytes]:
    packed = b""
    for text in texts:
        match kind:
            case "A":
                data = ipaddress.IPv4Address(text).packed
            case "NS" | "PTR":
                data = _wire(text)
            case "MX":
                data = struct.pack("!H", 10) + _wire(text)
            case _:
                data = bytes((len(text),)) + text.encode()
        packed += b"\xc0\x0c" + struct.pack("!HHIH", _TYPES[kind], 1, _TTL, len(data)) + data
    return len(texts), packed
