"""The figures of all processes, for the host alone."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest
from litestar.testing import TestClient

from postane.admin.site import Site
from postane.config.model import Config
from postane.observe import scrape
from postane.observe.metrics import Metrics
from postane.web.app import make_app

NGINX = Path(__file__).parents[4] / "roles" / "web" / "templates" / "etc" / "nginx" / "sites-enabled"


def test_one_scrape_sees_all_processes(tmp_path: Path) -> None:
    for worker in ("smtpd-0", "smtpd-1", "queue"):
        metrics = Metrics()
        metrics.count("postane_filter_failures_total", "Filters that failed", filter="rspamd", phase="data")
        scrape.write(tmp_path / scrape.FOLDER, worker, metrics)
    site = Site(Config(host="mail.host.test", state=str(tmp_path), runtime=str(tmp_path)))
    with TestClient(make_app(site)) as client:
        answer = client.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        line = 'postane_filter_failures_total{{filter="rspamd",phase="data",service="{}",worker="{}"}} 1.0'
        for service, worker in (("smtpd", "smtpd-0"), ("smtpd", "smtpd-1"), ("queue", "queue")):
            assert line.format(service, worker) in answer.text


@pytest.mark.parametrize("header", ["X-Forwarded-For", "x-forwarded-for", "Forwarded"])
def test_who_comes_by_a_proxy_sees_nothing(header: str, tmp_path: Path) -> None:
    site = Site(Config(host="mail.host.test", state=str(tmp_path), runtime=str(tmp_path)))
    with TestClient(make_app(site)) as client:
        for value in ("192.0.2.1", ""):
            answer = client.get("/metrics", headers={header: value})
            assert answer.status_code == 404
            assert "postane" not in answer.text


def test_the_web_server_does_not_lead_there() -> None:
    loader = jinja2.FileSystemLoader(NGINX)
    template = jinja2.Environment(loader=loader, undefined=jinja2.StrictUndefined).get_template("postane-sites.conf.j2")
    panel = {"name": "panel", "hostnames": ["panel.demo.test"], "kind": "proxy", "upstream": "http://127.0.0.1:8025"}
    other = {"name": "shop", "hostnames": ["shop.demo.test"], "kind": "proxy", "upstream": "http://127.0.0.1:9000"}
    given = {"web_listen": ["[::]"], "web_panel_upstream": "http://127.0.0.1:8025", "ansible_managed": ""}
    closed = "location ^~ /metrics {\n        return 404;\n    }"  # also /metrics/, //metrics, /%6detrics
    assert closed in template.render(web_sites=[panel], **given)
    assert "/metrics" not in template.render(web_sites=[other], **given)
