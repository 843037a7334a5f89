"""Gather a study's metrics, per-image predictions and timings, and a table to print."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from patchshift.plan.experiments import StudyPlan
from patchshift.report.tables import experiment_results, predictions, text_table, tidy_metrics
from patchshift.report.timings import timings
from patchshift.runtime.files import write_text
from patchshift.runtime.script import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=StudyPlan.model_validate_json, required=True, help="the study's plan (JSON)")
    parser.add_argument("--batches", type=json.loads, default={}, help="which targets one job extracted (JSON)")
    parser.add_argument("--metrics", type=Path, required=True, help="tidy metrics to write (CSV)")
    parser.add_argument("--predictions", type=Path, required=True, help="per-image decisions to write (CSV)")
    parser.add_argument("--timings", type=Path, required=True, help="times and memory to write (CSV)")
    parser.add_argument("--table", type=Path, required=True, help="results to print (text)")
    args = parser.parse_args(argv)

    by_experiment = args.plan.cells()
    cells = list(dict.fromkeys(cell for cells in by_experiment.values() for cell in cells))
    write_text(args.metrics, tidy_metrics(cells).to_csv(index=False))
    write_text(args.predictions, predictions(cells).to_csv(index=False))
    write_text(args.timings, timings(cells, args.batches).to_csv(index=False))
    results = {
        name: (args.plan.experiments[name].title, experiment_results(cells)) for name, cells in by_experiment.items()
    }
    write_text(args.table, text_table(results))


if __name__ == "__main__":
    run_script(main)
