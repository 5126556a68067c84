"""Who types, for what is written down about changes."""

from __future__ import annotations

import os
import pwd


def who() -> str:
    """The name of the user; behind sudo, of the one who called it."""
    name = os.environ.get("SUDO_USER")
    if name:
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
