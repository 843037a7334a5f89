"""Gather a study's distances between domains into tables and a figure."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.errors import UserError
from patchshift.plan.experiments import StudyPlan
from patchshift.plan.inspections import pair_domains
from patchshift.report.distances import draw_distances, tidy_distances, tidy_drifts
from patchshift.report.results import read_rows
from patchshift.report.style import save_figure
from patchshift.runtime.files import write_text
from patchshift.runtime.script import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plan", type=StudyPlan.model_validate_json, required=True, help="the study's plan (JSON)")
    parser.add_argument("--backbones", nargs="*", required=True, help="backbones whose features are compared")
    parser.add_argument("--table", type=Path, required=True, help="tidy distances to write (CSV)")
    parser.add_argument("--drifts", type=Path, required=True, help="tidy drifts of layers and fusions to write (CSV)")
    parser.add_argument("--figure", type=Path, required=True, help="figure to write (PNG)")
    args = parser.parse_args(argv)

    pairs = pair_domains(args.plan, args.backbones)
    if not pairs:
        raise UserError(f"study '{args.plan.study}' has no distances: set `inspection` with `distances: true`")
    write_text(args.table, tidy_distances(pairs, args.plan.weights).to_csv(index=False))
    write_text(args.drifts, tidy_drifts(pairs, args.plan.weights).to_csv(index=False))
    save_figure(draw_distances(read_rows(args.table)), args.figure)


if __name__ == "__main__":
    run_script(main)
