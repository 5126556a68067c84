"""The configuration that a command works with: `--config`, else $POSTANE_CONFIG, else /etc/postane/postane.yml."""

from __future__ import annotations

from pathlib import Path

import click

from postane.admin.site import Site


def config_path() -> Path:
    return Path(click.get_current_context().find_root().params["config"])


def site() -> Site:
    """Raises ConfigError."""
    return Site.at(config_path())
