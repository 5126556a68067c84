"""The configuration that a command works with: `--config`, else $POSTANE_CONFIG, else /etc/postane/postane.yml."""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the real import waits until a verb needs the database
    from postane.admin.site import Site

DEFAULT_CONFIG = Path("/etc/postane/postane.yml")

_chosen: ContextVar[Path] = ContextVar("config", default=DEFAULT_CONFIG)


def choose(path: Path) -> None:
    """Said once, by the root command, before any verb runs."""
    _chosen.set(path)


def config_path() -> Path:
    return _chosen.get()


def site() -> Site:
    """Raises ConfigError."""
    from postane.admin.site import Site

    return Site.at(config_path())
