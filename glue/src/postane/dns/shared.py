"""One resolver, with one cache, for all in a process who ask; made when the first of them wants it.

dnspython takes a tenth of a second to load, so a process in which nobody asks goes without.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from postane.config.model import Dns
from postane.core.question import Ask


def shared(settings: Dns) -> Callable[[], Ask]:
    """What is returned gives the same Ask each time. It may raise ConfigError, for a nameserver that is no address."""

    @cache
    def ask() -> Ask:
        from postane.dns.resolver import Resolver

        return Resolver(settings).ask

    return ask
