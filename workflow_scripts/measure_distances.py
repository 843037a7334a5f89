"""Distances from normal training images' features to those of a target's normal test images."""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from patchshift.data.splits import read_split
from patchshift.evaluation.feature_samples import measure_domains, normal_test_images
from patchshift.features.store import FeatureStore, pool
from patchshift.plan.inspections import DistanceSpec
from patchshift.runtime.files import write_json
from patchshift.runtime.provenance import describe
from patchshift.runtime.script import run_script
from patchshift.runtime.threads import limit_threads


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=Path, nargs="+", required=True, help="feature stores trained on (HDF5)")
    parser.add_argument("--splits", type=Path, nargs="+", required=True, help="splits, in the same order (CSV)")
    parser.add_argument("--target-features", type=Path, required=True, help="features of the target (HDF5)")
    parser.add_argument("--target-split", type=Path, required=True, help="split of the target category (CSV)")
    parser.add_argument("--spec", type=DistanceSpec.model_validate_json, required=True, help="resamples (JSON)")
    parser.add_argument("--stage", required=True, help="stage version")
    parser.add_argument("--distances", type=Path, required=True, help="distances to write (JSON)")
    args = parser.parse_args(argv)

    limit_threads(1)  # small matrices: more threads only wait for each other
    with ExitStack() as stack:
        selections = [
            stack.enter_context(FeatureStore(features)).select(read_split(split).taken_for_good)
            for features, split in zip(args.features, args.splits, strict=True)
        ]
        store = stack.enter_context(FeatureStore(args.target_features))
        target = store.select(normal_test_images(read_split(args.target_split)))
        result = measure_domains(pool(selections), target, args.spec)
    inputs = {
        "features": args.features,
        "splits": args.splits,
        "target_features": args.target_features,
        "target_split": args.target_split,
    }
    provenance = describe("measure_distances", version=args.stage, spec=args.spec.canonical(), inputs=inputs)
    write_json(args.distances, {**result, "provenance": provenance})


if __name__ == "__main__":
    run_script(main)
