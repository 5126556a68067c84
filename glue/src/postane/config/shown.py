"""The configuration as it may be shown: in a terminal, in a report of a fault."""

from __future__ import annotations

import re

from msgspec.structs import replace

from postane.config.model import Config

_PASSWORD = re.compile(r"(?<=:)[^/@]*(?=@)|(?<=[?&]password=)[^&]*")


def without_secrets(config: Config) -> Config:
    """The same with passwords as `***`. The database's URL is the one place that can hold one."""
    scheme, found, rest = config.directory.url.partition("://")
    url = scheme + found + _PASSWORD.sub("***", rest)
    return replace(config, directory=replace(config.directory, url=url))
