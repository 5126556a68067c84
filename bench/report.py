"""What a run leaves behind: results for programs, figures and the chart for readers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench import chart, table
from bench.goals import Goal
from bench.samples import Row


def write(root: Path, results: dict[str, Any], rows: list[Row], goals: list[Goal], *, quick: bool) -> str:
    """bench/results/latest.json, the figures in docs/bench.md and the chart docs/bench.svg. Returns their names.

    A quick run leaves bench/results/quick.json alone: its figures are not for readers.
    """
    path = root / "bench" / "results" / ("quick.json" if quick else "latest.json")
    path.parent.mkdir(exist_ok=True)
    path.write_text(as_json(results), "utf-8")
    if quick:
        return str(path.relative_to(root))
    facts = results["machine"]
    caption = (
        f"{results['at'][:10]} · {facts['cores']} cores, {facts['cpu']}, Linux {facts['kernel']}, "
        f"{facts['file_system']} · the dashed line is tuned Postfix"
    )
    (root / "docs" / "bench.svg").write_text(chart.drawn(rows, caption), "utf-8")
    page = root / "docs" / "bench.md"
    figures = f"{_circumstances(results)}\n\n{table.markdown(results, rows, goals)}"
    page.write_text(with_figures(page.read_text("utf-8"), figures), "utf-8")
    return f"{path.relative_to(root)}, docs/bench.md, docs/bench.svg"


def _circumstances(results: dict[str, Any]) -> str:
    facts, size = results["machine"], results["size"]
    # A run makes two or three itself on two cores.
    others = max(facts["load_before"], facts["load_after"]) > 3 * facts["cores"]
    busy = ": others used the machine meanwhile, which makes rates lower and latencies longer" if others else ""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return (
        f"{results['at']}: {facts['cores']} cores ({facts['cpu']}), {facts['memory_mib']} MiB, {facts['system']}, "
        f"Linux {facts['kernel']}, {facts['file_system']}, Python {facts['python']}.\n"
        f"A lone sync of 4 KiB: {facts['sync_alone_per_second']:,} a second; file, rename and directory synced: "
        f"{facts['file_rename_directory_per_second']:,} a second.\n"
        f"Load average before the run {facts['load_before']}, after it {facts['load_after']}{busy}.\n"
        f"Rounds of {size['seconds']} s; versions: {versions}."
    )


def with_figures(page: str, figures: str) -> str:
    """`page` with `figures` between its two marks."""
    before, mark, rest = page.partition("<!-- figures: written by make bench -->\n")
    _, end, after = rest.partition("<!-- end of figures -->")
    return f"{before}{mark}{figures}\n{end}{after}"


def as_json(results: dict[str, Any]) -> str:
    """One line for each key and each entry of a list, so that two runs can be compared line by line."""
    lines = []
    for key, value in results.items():
        if isinstance(value, list):
            text = "[\n" + ",\n".join(f"  {json.dumps(one, ensure_ascii=False)}" for one in value) + "\n ]"
        else:
            text = json.dumps(value, ensure_ascii=False)
        lines.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"
