"""What holds for all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# `make test` asks the same questions each time: what fails there fails again. Long runs ask others.
settings.register_profile("short", derandomize=True, deadline=None)
settings.register_profile("long", deadline=None)
settings.load_profile("long" if os.environ.get("POSTANE_FUZZ_SECONDS") else "short")
