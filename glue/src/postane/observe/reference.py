"""The reference page of the metrics, printed from the code: every call that names one says what it counts.

Looked for are calls of `count`, `total`, `tally`, `gauge`, `seconds` and `clock` whose first argument is a text that
begins with `postane_`; the second is a text too, or a name that was given one nearby.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

_KINDS = {
    "count": "counter",
    "total": "counter",
    "tally": "counter",
    "gauge": "gauge",
    "seconds": "histogram",
    "clock": "histogram",
}
_NO_LABELS = {"amount", "value", "buckets"}

_HEAD = (
    "# Metrics\n\n"
    "Printed from the code by `postane metrics reference`; a test keeps this page equal to it.\n\n"
    "`postane-api` answers `GET /metrics` on its local listener (`api.listen`, 127.0.0.1:8025) with the figures of all "
    "processes of the host, in Prometheus's text format; `postane metrics show` shows them in a terminal.\n"
    "The web server does not lead there, and a request that came through a proxy gets 404.\n"
    "`docs/howto/metrics.md` has a scrape job and rules for alerts.\n\n"
    "Every process writes what it counts into `<runtime>/metrics/`, every two seconds and at its end.\n"
    "Each figure has the labels `service` (`smtpd`, `queue`, `api`, `drift`) and `worker` (`smtpd-0`, `queue`, "
    "`smtpd-supervisor`, …) beside its own.\n"
    "A counter belongs to the worker and not to the process: when a worker is replaced or reloaded it goes on, "
    "and it begins at zero when the service is started.\n"
    "What a process counted in the two seconds before it was killed may be lost.\n"
    "Durations are histograms, in seconds: `…_bucket`, `…_count` and `…_sum`.\n\n"
    "| metric | kind | labels | counts |\n"
    "| --- | --- | --- | --- |\n"
)


@dataclass(frozen=True, slots=True)
class Described:
    name: str
    kind: str
    labels: tuple[str, ...]
    text: str


def reference() -> str:
    """Markdown."""
    lines = [
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} | {one.text} |"
        for one in described()
    ]
    return _HEAD + "\n".join(lines) + "\n"


def described() -> list[Described]:
    """All metrics of the package, by name."""
    found: dict[str, Described] = {}
    for source in _sources(files("postane")):
        tree = ast.parse(source.read_text(encoding="utf-8"))
        texts = [
            (node.lineno, target.id, node.value.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name) and isinstance(node.value.value, str)
        ]
        for one in _calls(tree, texts):
            found.setdefault(one.name, one)
    return [found[name] for name in sorted(found)]


def _sources(folder: Traversable) -> Iterator[Traversable]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _sources(entry)
        elif entry.name.endswith(".py"):
            yield entry


def _calls(tree: ast.AST, texts: list[tuple[int, str, str]]) -> Iterator[Described]:
    """`texts`: what names were given, and in which lines; the last before the call counts."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=call), args=[ast.Constant(value=str(name)), told, *rest]) if (
                call in _KINDS and name.startswith("postane_")
            ):
                text = ""
                match told:
                    case ast.Constant(value=str(words)):
                        text = words
                    case ast.Name(id=variable):
                        before = [one for one in texts if one[1] == variable and one[0] <= node.lineno]
                        text = max(before, default=(0, "", ""))[2]
                labels = {word.arg for word in node.keywords if word.arg} - _NO_LABELS
                if call == "tally":
                    labels = {one.value for one in rest if isinstance(one, ast.Constant) and isinstance(one.value, str)}
                shown = f"{name.removesuffix('_total')}_total" if _KINDS[call] == "counter" else name
                yield Described(shown, _KINDS[call], tuple(sorted(labels)), text)
