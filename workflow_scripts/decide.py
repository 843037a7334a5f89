"""Decide every test image of a target at a calibrated threshold, and count the mistakes."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.evaluation.calibrated import read_calibration
from patchshift.evaluation.decisions import decide_images
from patchshift.evaluation.scored import ScoredImages
from patchshift.plan.specs import EvaluationSpec
from patchshift.runtime.files import write_json
from patchshift.runtime.provenance import describe
from patchshift.runtime.script import run_script
from patchshift.runtime.threads import limit_threads


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, required=True, help="scores on the target (HDF5)")
    parser.add_argument("--pack", type=Path, required=True, help="pack of the target (HDF5)")
    parser.add_argument("--split", type=Path, required=True, help="split of the target category (CSV)")
    parser.add_argument("--threshold", type=Path, required=True, help="calibrated threshold (JSON)")
    parser.add_argument("--spec", type=EvaluationSpec.model_validate_json, required=True, help="protocol (JSON)")
    parser.add_argument("--stage", required=True, help="stage version")
    parser.add_argument("--decisions", type=Path, required=True, help="decisions to write (JSON)")
    args = parser.parse_args(argv)

    limit_threads(1)  # small matrices: more threads only wait for each other
    test = ScoredImages.read(args.scores, args.pack, args.split, part="test")
    decisions = decide_images(test, *read_calibration(args.threshold), args.pack, args.spec)
    inputs = {"scores": args.scores, "pack": args.pack, "split": args.split, "threshold": args.threshold}
    provenance = describe("decide", version=args.stage, spec=args.spec.canonical(), inputs=inputs)
    write_json(args.decisions, {**decisions, "provenance": provenance})


if __name__ == "__main__":
    run_script(main)
