"""Gather one experiment's results, one row per bank, target and threshold, and what they cost."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.plan.experiments import StudyPlan
from patchshift.report.costs import experiment_costs
from patchshift.report.tables import experiment_results
from patchshift.runtime.files import write_text
from patchshift.runtime.script import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=StudyPlan.model_validate_json, required=True, help="the study's plan (JSON)")
    parser.add_argument("--experiment", required=True)
    parser.add_argument("--baseline", help="detector whose scoring time is 1; default: the experiment's first")
    parser.add_argument("--results", type=Path, required=True, help="table to write (CSV)")
    parser.add_argument("--costs", type=Path, required=True, help="times and sizes to write (CSV)")
    args = parser.parse_args(argv)

    cells = args.plan.cells()[args.experiment]
    write_text(args.results, experiment_results(cells).to_csv(index=False))
    write_text(args.costs, experiment_costs(cells, args.baseline).to_csv(index=False))


if __name__ == "__main__":
    run_script(main)
