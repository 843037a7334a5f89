"""Where a study's time and memory went, rule by rule: `rules.csv`. Columns: docs/results.md.

Read from Snakemake's benchmark files by its handlers, so it imports nothing heavy.
Tested in tests/runtime/test_rule_costs.py.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

COLUMNS = (
    *("rule", "jobs", "seconds", "share", "cpu_seconds", "longest_seconds", "peak_memory_mb"),
    *("read_mb", "written_mb"),
)

MEASURED = {
    "seconds": "s",
    "cpu_seconds": "cpu_time",
    "peak_memory_mb": "max_rss",
    "read_mb": "io_in",
    "written_mb": "io_out",
}
"""Name here -> name in a benchmark file."""


def sum_up_rules(artifacts: Iterable[Mapping[str, Any]]) -> str:
    """The table as CSV: one row per rule, the longest first.

    Args:
        artifacts: what the manifest says of each artifact of a study; jobs that left no benchmark have no part in it.
    """
    jobs: dict[str, dict[str, dict[str, float]]] = {}
    for artifact in artifacts:
        path = artifact.get("benchmark")
        if path and path not in jobs.get(artifact["stage"], {}) and (figures := read_benchmark(Path(path))):
            jobs.setdefault(artifact["stage"], {})[path] = figures
    rows = [_sum_up(rule, list(figures.values())) for rule, figures in jobs.items()]
    total = sum(row["seconds"] for row in rows)
    table = io.StringIO()
    writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in sorted(rows, key=lambda row: (-row["seconds"], row["rule"])):
        share = round(row["seconds"] / total, 4) if total else ""
        writer.writerow({**row, "share": share})
    return table.getvalue()


def read_benchmark(path: Path) -> dict[str, float]:
    """The figures of a benchmark file, NaN where Snakemake could not measure one; empty without such a file."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file, delimiter="\t"), {})
    return {name: _number(row.get(column)) for name, column in MEASURED.items()} if row else {}


def _sum_up(rule: str, jobs: list[dict[str, float]]) -> dict[str, Any]:
    def known(name: str) -> list[float]:
        return [job[name] for job in jobs if not math.isnan(job[name])]

    sums = {name: round(sum(known(name)), 2) if known(name) else "" for name in MEASURED}
    peak, longest = (max(known(name), default="") for name in ("peak_memory_mb", "seconds"))
    return {"rule": rule, "jobs": len(jobs), **sums, "peak_memory_mb": peak, "longest_seconds": longest}


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:  # NA, or -
        return math.nan
