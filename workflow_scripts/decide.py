"""Decide every test image of a target at a calibrated threshold, and count the mistakes."""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from patchshift.evaluation.calibrated import is_calibrated, rank_calibrated, read_calibration
from patchshift.evaluation.evaluate import decide_target
from patchshift.evaluation.scored import ScoredImages
from patchshift.evaluation.thresholds import normalise
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

    test = ScoredImages.read(args.scores, args.pack, args.split, part="test")
    calibration, weights = read_calibration(args.threshold)
    result: dict[str, Any] = {}
    if is_calibrated(test):
        limit_threads(1)  # small matrices: more threads only wait for each other
        test, result["ranking"] = rank_calibrated(test, weights, str(calibration.undefined), args.pack, args.spec)
    result |= decide_target(test.labels, test.scores, calibration, args.spec)
    if result["counts"] is not None:
        result["counts"]["relabelled"] = int(test.relabelled.sum())
    inputs = {"scores": args.scores, "pack": args.pack, "split": args.split, "threshold": args.threshold}
    provenance = describe("decide", version=args.stage, spec=args.spec.canonical(), inputs=inputs)
    threshold, normalised = calibration.threshold, normalise(test.scores, calibration)
    shown = zip(test.images, test.labels, test.defects, test.relabelled, test.scores, normalised, strict=True)
    images = [
        {
            "image": image,
            "label": int(label),
            "defect": defect,
            "relabelled": int(relabelled),
            "score": float(score) if math.isfinite(score) else None,  # JSON has neither NaN nor infinity
            "normalised_score": float(unit) if math.isfinite(unit) else None,
            "decision": int(score >= threshold) if threshold is not None and math.isfinite(score) else None,
        }
        for image, label, defect, relabelled, score, unit in shown
    ]
    write_json(args.decisions, {**result, "threshold": threshold, "images": images, "provenance": provenance})


if __name__ == "__main__":
    run_script(main)
