"""Look inside the features of a category: map patches, separate defects layer by layer, measure activation energy."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.data.packs import Pack
from patchshift.data.splits import read_split
from patchshift.evaluation.inspection import inspect_features
from patchshift.features.store import FeatureStore
from patchshift.plan.inspections import LookSpec
from patchshift.runtime.provenance import describe
from patchshift.runtime.script import run_script
from patchshift.runtime.threads import limit_threads

THREADS = 2  # floating-point sums depend on it, so it is the same everywhere


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=Path, required=True, help="feature store (HDF5)")
    parser.add_argument("--pack", type=Path, required=True, help="pack of the same images (HDF5)")
    parser.add_argument("--split", type=Path, required=True, help="split of the category (CSV)")
    parser.add_argument("--spec", type=LookSpec.model_validate_json, required=True, help="what to measure (JSON)")
    parser.add_argument("--stage", required=True, help="stage version")
    parser.add_argument("--inspection", type=Path, required=True, help="measurements to write (HDF5)")
    args = parser.parse_args(argv)

    limit_threads(THREADS)
    with FeatureStore(args.features) as store, Pack(args.pack) as pack:
        inspection = inspect_features(store, pack, read_split(args.split), args.spec)
    inputs = {"features": args.features, "pack": args.pack, "split": args.split}
    inspection.save(
        args.inspection, describe("inspect_features", version=args.stage, spec=args.spec.canonical(), inputs=inputs)
    )


if __name__ == "__main__":
    run_script(main)
