"""`postane domain clients`: in words and as JSON, for domains of any script, and for none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from postane.admin import domain
from postane.admin.site import Site
from postane.cli.main import main
from postane.config.model import Config


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clients")
    site = Site(Config(host="mail.host.test", state=str(folder)))
    site.database.upgrade()
    domain.add(site, "müze.example")
    file = folder / "postane.yml"
    file.write_text(f"host: mail.host.test\nstate: {folder}\nruntime: {folder}\nclients: {{provider: Örnek}}\n")
    return file


def run(config: Path, *words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(config), "domain", "clients", *words])
    return int(ended.value.code or 0)


def test_as_json(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "müze.example", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["domain"] == "xn--mze-hoa.example"
    assert shown["provider"] == "Örnek"
    assert {"name": "imaps", "port": 993, "security": "tls"}.items() <= shown["services"][2].items()
    assert {way["name"] for way in shown["ways"]} >= {"autoconfig", "autodiscover", "mobileconfig", "pacc", "mta-sts"}
    assert [one["data"] for one in shown["records"] if one["name"].startswith("_imaps.")] == ["0 1 993 mail.host.test."]
    assert "mode: testing" in shown["mta_sts"]


def test_in_words(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "xn--mze-hoa.example") == 0
    words = capsys.readouterr().out
    assert words.startswith("müze.example at Örnek; login: the whole address, …@xn--mze-hoa.example\n")
    assert "http://autoconfig.xn--mze-hoa.example/mail/config-v1.1.xml?emailaddress=NAME@xn--mze-hoa.example" in words
    assert "version: STSv1\nmode: testing\nmx: mail.host.test\nmax_age: 604800\n" in words


def test_one_that_is_not_hosted(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "far.test") == 65
    assert "far.test is not hosted here" in capsys.readouterr().err
