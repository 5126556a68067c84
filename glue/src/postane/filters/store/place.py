"""Where the store is, read from the configuration: "" for SQLite, else the URL of a Redis server."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, unquote, urlsplit

from postane.config.load import WrongValueError

_KEY = "filters.store"
_FORMS = "redis://host:port/0, rediss://host:port/0 or unix:///path?db=0"


@dataclass(frozen=True, slots=True)
class Server:
    """A Redis server: `path` of its socket, or `host` and `port`."""

    host: str = ""
    port: int = 6379
    path: str = ""
    tls: bool = False
    db: int = 0
    user: str = ""

    def __str__(self) -> str:
        return f"redis at {self.path or f'{self.host}:{self.port}'}"


def parse(url: str) -> Server | None:
    """None for "". Raises WrongValueError; a password is refused, since a URL is shown and logged."""
    if not url:
        return None
    try:
        parts = urlsplit(url)
        port, password = parts.port or 6379, parts.password
    except ValueError as error:
        raise WrongValueError(_KEY, f"{error}; it is {_FORMS}") from error
    if password is not None or "password" in parse_qs(parts.query):
        raise WrongValueError(_KEY, "a password has its own file, filters.store_password")
    user = unquote(parts.username or "")
    if parts.scheme == "unix":
        asked = parse_qs(parts.query, keep_blank_values=True)
        if parts.path.startswith("/") and set(asked) <= {"db"}:
            return Server(path=unquote(parts.path), db=_number(asked.get("db", ["0"])[0]), user=user)
    elif parts.scheme in ("redis", "rediss") and parts.hostname and not parts.query:
        db = _number(parts.path.strip("/") or "0")
        return Server(host=parts.hostname, port=port, tls=parts.scheme == "rediss", db=db, user=user)
    raise WrongValueError(_KEY, f"it is {_FORMS}")


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise WrongValueError(_KEY, f"the database of Redis is a number; the whole is {_FORMS}")
    return int(text)
