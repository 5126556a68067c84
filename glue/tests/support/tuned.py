"""`postane dev` with settings that its command line does not have."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from support.dev import Dev

RUN = """
import sys
from pathlib import Path
from postane.config.load import load
from postane.daemon.run import run_dev
sys.exit(run_dev(load(Path(sys.argv[1])), lambda: print("ready", flush=True)))
"""


class Tuned(Dev):
    """`changes` are sections of the configuration, each with the keys that differ."""

    def __init__(self, folder: Path, changes: Mapping[str, Mapping[str, Any]], **more: Any) -> None:
        super().__init__(folder, **more)
        self.start()
        assert self.stop() == 0
        self.config = folder / "postane.yml"
        settings = yaml.safe_load(self.config.read_text())
        for section, values in changes.items():
            settings[section] = {**settings.get(section, {}), **values}
        self.config.write_text(yaml.safe_dump(settings))
        inside = more.get("inside") or folder
        self._command = [*more.get("before", ()), sys.executable, "-c", RUN, str(inside / "postane.yml")]
