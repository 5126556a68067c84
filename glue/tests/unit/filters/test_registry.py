"""Filters by name: built in, from a package, unknown, badly told."""

from __future__ import annotations

from pathlib import Path

import pytest

from postane.admin.filters import listed
from postane.config.load import load, parse
from postane.config.model import Config, Filters
from postane.core.errors import ConfigError
from postane.filters import registry
from postane.filters.base import PHASES, Filter, Tools
from postane.filters.builtin.rspamd import Rspamd
from postane.filters.policies import Policies

HEAD = "host: mx.demo.test\n"


def made(settings: Filters) -> list[Filter[object]]:  # type: ignore[type-var]
    config = Config(host="mx.demo.test", filters=settings)
    policies = Policies(settings, Tools(config.host, config.dns, lambda: 0.0))
    return list(policies.server.pipeline.filters)


def test_none_unless_configured() -> None:
    assert made(Filters()) == []


def test_a_built_in_one_with_its_options() -> None:
    (found,) = made(Filters(use=("rspamd",), options={"rspamd": {"url": "/run/rspamd.sock", "timeout": 3}}))
    assert isinstance(found, Rspamd)
    assert (found.options.url, found.options.timeout, found.options.on_failure) == ("/run/rspamd.sock", 3.0, "defer")
    assert found.phases() == ("data",)


@pytest.mark.parametrize("name", sorted(registry.BUILTIN))
def test_every_built_in_one_is_what_it_says(name: str) -> None:
    found = registry.filter_class(name)
    assert found.name == name
    assert found.options_type().on_failure == "defer"
    assert any(getattr(found, phase) is not getattr(Filter, phase) for phase in PHASES)
    assert found.options_type.__doc__


def test_one_of_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "__init__.py").write_text(
        "from postane.filters.base import Filter, Options\n"
        "class Mine(Filter):\n    name = 'mine'\n    async def connect(self, peer): raise ValueError\n"
        "class Nameless(Mine):\n    name = ''\n"
        "Rubbish = 7\n"
    )
    (tmp_path / "others" / "raises.py").write_text("raise RuntimeError('boom')\n")
    info = tmp_path / "others-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[postane.filters]\nmine = others:Mine\nodd = others:Rubbish\ngone = nowhere:X\n"
        "nameless = others:Nameless\nraises = others.raises:X\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert [one.name for one in made(Filters(use=("mine",)))] == ["mine"]
    faults = {
        "odd": "is no subclass",
        "gone": "cannot be loaded",
        "nameless": "has the name ''",
        "raises": "cannot be loaded: .*boom",
    }
    for broken, words in faults.items():
        with pytest.raises(ConfigError, match=f"f.yml:2: filters.use: .*{words}"):
            parse(f"{HEAD}filters: {{use: [{broken}]}}", "f.yml", registry.check)
    # A package that is broken hides none of the others.
    purposes = {one.name: one.purpose for one in listed(parse(HEAD, "f.yml", registry.check))}
    assert "cannot be loaded" in purposes["raises"]
    assert purposes["rspamd"] == "Spam scoring by Rspamd."


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("filters:\n  use: [nope]", r"f.yml:3: filters.use: there is no filter 'nope'; known here: .*rspamd"),
        ("filters:\n  use: [rspamd, rspamd]", "f.yml:3: filters.use: a filter is named twice"),
        (
            "filters:\n  use: [rspamd]\n  options:\n    rspamd:\n      urll: x",
            "f.yml:5: filters.options.rspamd: Object contains unknown field `urll`",
        ),
        (
            "filters:\n  use: [rspamd]\n  options:\n    rspamd:\n      timeout: 0",
            "f.yml:5: filters.options.rspamd: Expected `float` > 0.0",
        ),
        (
            "filters:\n  options:\n    rspamd: {}",
            "f.yml:4: filters.options.rspamd: options for a filter that filters.use does not name",
        ),
    ],
)
def test_bad_configurations(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(HEAD + text, "f.yml", registry.check)


def test_a_good_file(tmp_path: Path) -> None:
    path = tmp_path / "p.yml"
    path.write_text(HEAD + "filters:\n  use: [rspamd]\n  options:\n    rspamd: {on_failure: skip}\n")
    assert load(path, registry.check).filters.options == {"rspamd": {"on_failure": "skip"}}
