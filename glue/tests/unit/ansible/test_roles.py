"""What every role promises: the same knobs in defaults, specification and page; it stands alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[4]
ROLES = sorted(path for path in (ROOT / "roles").iterdir() if (path / "tasks").is_dir())
KINDS: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "path": str,
    "bool": bool,
    "int": int,
    "float": (int, float),
    "list": list,
    "dict": dict,
    "raw": object,
}

every_role = pytest.mark.parametrize("role", ROLES, ids=lambda path: path.name)


class Loader(yaml.SafeLoader):
    """Reads Ansible's own tags (!vault, !unsafe) as plain text."""


Loader.add_multi_constructor("!", lambda loader, _suffix, node: getattr(node, "value", None))


def read(path: Path) -> Any:
    return yaml.load(path.read_text(), Loader)  # a subclass of SafeLoader


def defaults(role: Path) -> dict[str, Any]:
    path = role / "defaults/main.yml"
    return (read(path) or {}) if path.exists() else {}


def options(role: Path) -> dict[str, Any]:
    return read(role / "meta/argument_specs.yml")["argument_specs"]["main"].get("options") or {}


def task_files(role: Path) -> list[Path]:
    return sorted([*(role / "tasks").rglob("*.yml"), *(role / "handlers").glob("*.yml")])


def tasks(items: Any) -> list[dict[str, Any]]:
    """All tasks of a file, those in blocks too."""
    found = []
    for task in items or []:
        found.append(task)
        for key in ("block", "rescue", "always"):
            found += tasks(task.get(key))
    return found


def test_there_are_roles() -> None:
    assert {"base", "firewall", "fail2ban"} <= {role.name for role in ROLES}


@every_role
def test_specification_and_defaults_have_the_same_knobs(role: Path) -> None:
    required = {name for name, option in options(role).items() if option.get("required")}
    assert set(options(role)) - required == set(defaults(role))


@every_role
def test_knobs_are_typed_and_described(role: Path) -> None:
    assert [
        name for name, option in options(role).items() if not (option.get("type") and option.get("description"))
    ] == []


@every_role
def test_defaults_are_of_their_types(role: Path) -> None:
    for name, value in defaults(role).items():
        if isinstance(value, str) and "{{" in value:
            continue
        option = options(role)[name]
        assert isinstance(value, KINDS[option["type"]]), name
        if "default" in option:
            assert option["default"] == value, f"{name}: the specification says another default"


@every_role
def test_knobs_bear_the_roles_name(role: Path) -> None:
    assert [name for name in defaults(role) if not name.startswith(f"{role.name}_")] == []
    internal = [name for path in (role / "vars").glob("*.yml") for name in read(path) or {}]
    assert [name for name in internal if not name.startswith(f"__{role.name}_")] == []


@every_role
def test_every_knob_has_a_comment(role: Path) -> None:
    lines = (role / "defaults/main.yml").read_text().splitlines() if defaults(role) else []
    bare = []
    for number, line in enumerate(lines):
        if re.match(r"\w+:", line):
            above = number - 1
            # A comment may speak of several knobs that follow each other.
            while re.match(r"\w+:.*\S", lines[above]):
                above -= 1
            if not lines[above].startswith("#"):
                bare.append(line.partition(":")[0])
    assert bare == []


@every_role
def test_the_page_names_every_knob(role: Path) -> None:
    page = (role / "README.md").read_text()
    assert page.startswith(f"# {role.name}\n")
    assert [name for name in options(role) if f"`{name}`" not in page] == []


@every_role
def test_it_says_what_it_is_and_where_it_runs(role: Path) -> None:
    meta = read(role / "meta/main.yml")
    assert meta["galaxy_info"]["platforms"] == [{"name": "Debian", "versions": ["bookworm", "trixie"]}]
    assert not meta.get("dependencies")


@every_role
def test_it_includes_no_other_role(role: Path) -> None:
    modules = {key.rpartition(".")[2] for path in task_files(role) for task in tasks(read(path)) for key in task}
    assert modules.isdisjoint({"include_role", "import_role"})


@every_role
def test_it_reads_no_other_roles_knobs(role: Path) -> None:
    foreign = {name for other in ROLES if other != role for name in defaults(other)} - set(defaults(role))
    texts = [*task_files(role), *(role / "vars").glob("*.yml"), *(role / "templates").rglob("*.j2")]
    assert {
        f"{path.relative_to(role)}: {name}"
        for path in texts
        for name in foreign.intersection(re.findall(r"\b[a-z][a-z0-9_]+\b", path.read_text()))
    } == set()


@every_role
def test_the_task_list_is_a_table_of_contents(role: Path) -> None:
    listed = read(role / "tasks/main.yml") or []
    imports = [task for task in listed if any(key.rpartition(".")[2].endswith("_tasks") for key in task)]
    # A small role needs no second file.
    assert imports == listed or len(tasks(listed)) <= 4
