"""Write one deliverable of a study: results, a figure, thresholds or splits, as another project knows them."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from patchshift.plan.deliverable_specs import DeliverableSpec
from patchshift.plan.experiments import StudyPlan
from patchshift.report.deliverables import write_deliverable
from patchshift.runtime.script import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spec", type=DeliverableSpec.model_validate_json, required=True, help="what it holds (JSON)")
    parser.add_argument(
        "--plan", type=StudyPlan.model_validate_json, required=True, help="the plan of its experiments (JSON)"
    )
    parser.add_argument(
        "--splits", type=json.loads, required=True, help="settings of splits that columns ask for (JSON)"
    )
    parser.add_argument("--folder", type=Path, required=True, help="the study's folder of results")
    parser.add_argument("--deliverable", type=Path, required=True, help="file to write")
    args = parser.parse_args(argv)

    write_deliverable(args.deliverable, args.spec, args.plan, args.folder, args.splits)


if __name__ == "__main__":
    run_script(main)
