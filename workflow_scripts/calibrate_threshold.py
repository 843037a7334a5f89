"""Turn the scores of validation images into a decision threshold."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from patchshift.evaluation.log_odds import calibrate_combined
from patchshift.evaluation.scored import ScoredImages
from patchshift.plan.threshold_specs import ThresholdSpec
from patchshift.runtime.files import write_json
from patchshift.runtime.provenance import describe
from patchshift.runtime.script import run_script
from patchshift.runtime.threads import limit_threads


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, nargs="+", required=True, help="scores on what calibrates (HDF5)")
    parser.add_argument("--pack", type=Path, nargs="+", required=True, help="pack of each of these, in order (HDF5)")
    parser.add_argument("--split", type=Path, nargs="+", required=True, help="split of each of these, in order (CSV)")
    parser.add_argument("--defects-scores", type=Path, nargs="*", default=[], help="scores on defects made of each")
    parser.add_argument("--defects-pack", type=Path, nargs="*", default=[], help="pack of each of these, in order")
    parser.add_argument("--spec", type=ThresholdSpec.model_validate_json, required=True, help="threshold spec (JSON)")
    parser.add_argument("--smoothing-sigma", type=float, required=True, help="smoothing of maps, in input pixels")
    parser.add_argument("--stage", required=True, help="stage version")
    parser.add_argument("--threshold", type=Path, required=True, help="threshold to write (JSON)")
    args = parser.parse_args(argv)
    if not len(args.scores) == len(args.pack) == len(args.split):
        parser.error("--scores, --pack and --split belong together: as many of each")
    if {len(args.defects_scores), len(args.defects_pack)} not in ({0}, {len(args.split)}):
        parser.error("--defects-scores and --defects-pack belong together: none, or as many as --split")

    limit_threads(1)  # sums depend on it
    roles = ("scores", "pack", "split", "defects_scores", "defects_pack")
    files = zip(args.scores, args.pack, args.split, strict=True)
    sources = [(ScoredImages.read(scores, pack, split, part="val"), pack) for scores, pack, split in files]
    made = zip(args.defects_scores, args.defects_pack, args.split[: len(args.defects_scores)], strict=True)
    sources += [(ScoredImages.read_defects(scores, pack, split), pack) for scores, pack, split in made]
    calibration, weights = calibrate_combined(args.spec, sources, smoothing_sigma=args.smoothing_sigma)
    inputs = {role: files for role in roles if (files := getattr(args, role))}
    provenance = describe(
        "calibrate_threshold",
        version=args.stage,
        spec=args.spec.canonical(),
        inputs=inputs,
        smoothing_sigma=args.smoothing_sigma,
    )
    combination = dataclasses.asdict(weights) if weights else None
    content = {**dataclasses.asdict(calibration), "combination": combination, "provenance": provenance}
    write_json(args.threshold, content)


if __name__ == "__main__":
    run_script(main)
