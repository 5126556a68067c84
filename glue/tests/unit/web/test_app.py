"""The health page tells the truth: which part does not answer, and why."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

from litestar.testing import TestClient

from postane.admin.site import Site
from postane.config.model import Config
from postane.web.app import make_app


def health(site: Site) -> tuple[int, dict[str, str]]:
    with TestClient(make_app(site)) as client:
        answer = client.get("/api/v1/health")
        return answer.status_code, answer.json()["checks"]


def test_health(tmp_path: Path) -> None:
    site = Site(Config(host="mail.host.test", state=str(tmp_path), runtime=str(tmp_path)))
    code, checks = health(site)
    assert code == 503
    assert "has not been made" in checks["directory"]
    assert "queue.sock" in checks["queue"]
    assert checks["spool"] != "ok"

    site.database.upgrade()
    (tmp_path / "spool" / "w0").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as queue:
        queue.bind(str(tmp_path / "queue.sock"))
        queue.listen()
        assert health(site) == (200, {"directory": "ok", "queue": "ok", "spool": "ok"})


def test_its_log_goes_the_way_of_all_others(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = list(root.handlers)
    with TestClient(make_app(Site(Config(host="mail.host.test", state=str(tmp_path), runtime=str(tmp_path))))):
        assert root.handlers == before
