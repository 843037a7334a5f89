"""Compare the banks of an experiment's pools with those of single categories."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.plan.experiments import StudyPlan
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.pools import pool_table
from patchshift.report.results import StudyResults
from patchshift.runtime.files import write_text
from patchshift.runtime.script import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=StudyPlan.model_validate_json, required=True, help="the study's plan (JSON)")
    parser.add_argument("--experiment", required=True)
    parser.add_argument("--folder", type=Path, required=True, help="the study's folder, with its tables")
    parser.add_argument("--spec", type=EvaluationSpec.model_validate_json, required=True, help="protocol (JSON)")
    parser.add_argument("--pools", type=Path, required=True, help="table to write (CSV)")
    args = parser.parse_args(argv)

    table = pool_table(StudyResults(args.plan, args.folder), args.plan, args.experiment, args.spec)
    write_text(args.pools, table.to_csv(index=False))


if __name__ == "__main__":
    run_script(main)
