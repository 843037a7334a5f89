"""Turn the scores of validation images into a decision threshold."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from patchshift.evaluation.calibrated import is_calibrated
from patchshift.evaluation.log_odds import calibrate_combined
from patchshift.evaluation.scored import ScoredImages
from patchshift.plan.specs import ThresholdSpec
from patchshift.runtime.files import write_json
from patchshift.runtime.provenance import describe
from patchshift.runtime.script import run_script
from patchshift.runtime.threads import limit_threads


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, required=True, help="scores on the calibration domain (HDF5)")
    parser.add_argument("--pack", type=Path, required=True, help="pack of the calibration domain (HDF5)")
    parser.add_argument("--split", type=Path, required=True, help="split of the calibration category (CSV)")
    parser.add_argument("--defects-scores", type=Path, help="scores on a domain of synthetic defects that join (HDF5)")
    parser.add_argument("--defects-pack", type=Path, help="pack of that domain (HDF5)")
    parser.add_argument("--spec", type=ThresholdSpec.model_validate_json, required=True, help="threshold spec (JSON)")
    parser.add_argument("--stage", required=True, help="stage version")
    parser.add_argument("--threshold", type=Path, required=True, help="threshold to write (JSON)")
    args = parser.parse_args(argv)
    if (args.defects_scores is None) != (args.defects_pack is None):
        parser.error("--defects-scores and --defects-pack belong together")

    sources = [(ScoredImages.read(args.scores, args.pack, args.split, part="val"), args.pack)]
    inputs = {"scores": args.scores, "pack": args.pack, "split": args.split}
    if args.defects_scores:
        defects = ScoredImages.read_defects(args.defects_scores, args.defects_pack, args.split)
        sources.append((defects, args.defects_pack))
        inputs |= {"defects_scores": args.defects_scores, "defects_pack": args.defects_pack}
    if any(is_calibrated(images) for images, _ in sources):
        limit_threads(1)  # sums of the regression depend on it
    calibration, weights = calibrate_combined(args.spec, sources)
    combination = dataclasses.asdict(weights) if weights else None
    provenance = describe("calibrate_threshold", version=args.stage, spec=args.spec.canonical(), inputs=inputs)
    content = {**dataclasses.asdict(calibration), "combination": combination, "provenance": provenance}
    write_json(args.threshold, content)


if __name__ == "__main__":
    run_script(main)
