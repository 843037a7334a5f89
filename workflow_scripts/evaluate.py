"""Ranking metrics of a bank on a target's test images."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.evaluation.calibrated import count_calibrated, is_calibrated
from patchshift.evaluation.evaluate import evaluate_images
from patchshift.evaluation.pools import measure_composition
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
    parser.add_argument("--category", default="", help="the target's, dataset/category: who is who in a pool's bank")
    parser.add_argument("--spec", type=EvaluationSpec.model_validate_json, required=True, help="protocol (JSON)")
    parser.add_argument("--stage", required=True, help="stage version")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics to write (JSON)")
    args = parser.parse_args(argv)

    limit_threads(1)  # small matrices: more threads only wait for each other
    test = ScoredImages.read(args.scores, args.pack, args.split, part="test")
    result = count_calibrated(test, args.pack) if is_calibrated(test) else evaluate_images(test, args.pack, args.spec)
    result["counts"]["relabelled"] = int(test.relabelled.sum())
    composition = measure_composition(test, args.category, args.pack)
    patches = {"patches_per_image": test.patches_per_image} if test.maps.size else {}
    result["facts"] = {**test.facts, **composition, **patches}
    inputs = {"scores": args.scores, "pack": args.pack, "split": args.split}
    provenance = describe("evaluate", version=args.stage, spec=args.spec.canonical(), inputs=inputs)
    write_json(args.metrics, {**result, "provenance": provenance})


if __name__ == "__main__":
    run_script(main)
