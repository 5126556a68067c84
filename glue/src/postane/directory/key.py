"""A domain's DKIM key: what the signer and the records need to know of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Key:
    """`path` is the private key (PEM, PKCS#8); `record` the text of the TXT at `<selector>._domainkey.<domain>`."""

    selector: str
    algorithm: str
    path: Path
    record: str
    active: bool

    @classmethod
    def of(cls, state: str, domain: str, selector: str, algorithm: str, public_key: str, active: bool) -> Key:
        """From a row of the directory; `state` is the state folder."""
        path = folder_of(state, domain) / f"{selector}.pem"
        return cls(selector, algorithm, path, f"v=DKIM1; k={algorithm}; p={public_key}", active)


def folder_of(state: str, domain: str) -> Path:
    return Path(state) / "keys" / "dkim" / domain
