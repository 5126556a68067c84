"""Both with Rspamd: Postane's filter on /checkv2, and Postfix (tuned) with Rspamd as a milter."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import yaml

from bench.peers.postane import Postane
from bench.peers.postfix import Postfix
from bench.peers.rspamd import Rspamd


class PostaneRspamd(Postane):
    """Mail that Rspamd cannot judge is deferred, as is the default."""

    def __init__(self, folder: Path, store: Path) -> None:
        super().__init__(folder)
        self.name = "postane-rspamd"
        self._rspamd = Rspamd(folder.with_name(f"{folder.name}.scanner"), store)
        self._scans = False

    def start(self) -> None:
        if not self._scans:
            self._rspamd.start()
            self._scans = True
        self.folder.mkdir(parents=True, exist_ok=True)
        options = {"url": str(self._rspamd.http), "timeout": 30}
        settings = {"filters": {"use": ["rspamd"], "options": {"rspamd": options}}}
        self.filters_file = self.folder / "filters.yml"
        self.filters_file.write_text(yaml.safe_dump(settings))
        super().start()
        self.version = f"{version('postane')} with Rspamd {self._rspamd.version}"

    def remove(self) -> None:
        self._rspamd.stop()
        self._scans = False
        super().remove()


class PostfixRspamd(Postfix):
    """Mail that Rspamd cannot judge is deferred here too."""

    def __init__(self, folder: Path, store: Path) -> None:
        super().__init__(folder, store, tuned=True)
        self.name = "postfix-rspamd"
        self._rspamd = Rspamd(folder.with_name(f"{folder.name}.scanner"), store)

    def start(self) -> None:
        self._rspamd.start()
        self._settings = self._settings | {
            "smtpd_milters": f"unix:{self._rspamd.milter}",
            "milter_default_action": "tempfail",
            "milter_protocol": "6",
        }
        super().start()
        self.version += f" with Rspamd {self._rspamd.version}"

    def remove(self) -> None:
        self._rspamd.stop()
        super().remove()
