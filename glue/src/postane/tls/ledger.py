"""What was tried, and what came of it: kept between runs, so that no run asks an authority for more than it likes.

One file a domain and one for all, each written whole. A file that cannot be read is begun anew: what is lost with it is
only patience.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from postane.storage.durable import write_file
from postane.tls.schedule import Window
from postane.tls.store import Store

_FILE = ".ledger.json"

T = TypeVar("T", "Record", "Common")


class Fault(Struct, omit_defaults=True):
    """Of a name that the authority refused, or of a whole order."""

    failures: int = 0
    retry_at: float = 0.0
    why: str = ""


class Record(Struct, omit_defaults=True):
    """Of one domain. `names`: the service names that its certificate serves; `wanted`: those that it was to have at the
    last look, and `left_out` why not others; `directory`: who issued it; `look_at`: when to see again where its names
    lead; `advice_at`: when to ask for advice.
    """

    names: list[str] = []
    wanted: list[str] = []
    left_out: dict[str, str] = {}
    directory: str = ""
    issued_at: float = 0.0
    fault: Fault = msgspec.field(default_factory=Fault)
    faults: dict[str, Fault] = {}
    looks: int = 0
    look_at: float = 0.0
    advice: Window | None = None
    advice_at: float = 0.0


class Left(Struct):
    """A TXT record that proves a name for a moment: noted before it is put, forgotten when it is gone again."""

    target: str
    zone: str
    name: str
    data: str


class Common(Struct, omit_defaults=True):
    """Of all. `orders`: when they were made; until `resting_until` the authority is left alone. `issued` and `failed`
    count.
    """

    orders: list[float] = []
    failures: int = 0
    resting_until: float = 0.0
    why: str = ""
    left: list[Left] = []
    issued: int = 0
    failed: int = 0


class Ledger:
    """Both kinds, beside the certificates of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._path = store.folder / _FILE
        self.common = read_common(self._path)
        self._records: dict[str, Record] = {}

    def of(self, domain: str) -> Record:
        if domain not in self._records:
            self._records[domain] = _decode(self._store.state(domain), Record)
        return self._records[domain]

    def save(self, domain: str) -> None:
        self._store.save_state(domain, msgspec.json.format(msgspec.json.encode(self.of(domain)), indent=1))

    def save_common(self) -> None:
        write_file(self._path, msgspec.json.encode(self.common), self._store.folder)


def read_common(path: Path) -> Common:
    """As nothing had been tried yet, where there is no such file."""
    try:
        return _decode(path.read_bytes(), Common)
    except FileNotFoundError:
        return Common()


def _decode(octets: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(octets, type=kind) if octets else kind()
    except msgspec.DecodeError:
        return kind()
