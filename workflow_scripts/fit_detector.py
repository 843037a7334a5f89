"""Fit one detector on the cached features of normal training images."""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from patchshift.data.splits import read_split
from patchshift.detectors.fit import fit_detector
from patchshift.features.store import FeatureStore, pool
from patchshift.plan.detector_specs import DETECTOR
from patchshift.runtime.provenance import describe
from patchshift.runtime.script import run_script
from patchshift.runtime.threads import limit_threads


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=Path, nargs="+", required=True, help="feature stores, one per category")
    parser.add_argument("--splits", type=Path, nargs="+", required=True, help="splits, in the same order (CSV)")
    parser.add_argument("--spec", type=DETECTOR.validate_json, required=True, help="fit spec (JSON)")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--stage", required=True, help="stage version")
    parser.add_argument("--bank", type=Path, required=True, help="bank to write (HDF5)")
    args = parser.parse_args(argv)

    limit_threads(args.spec.threads)  # part of the spec: floating-point sums depend on it
    with ExitStack() as stack:
        selections = [
            stack.enter_context(FeatureStore(features)).select(read_split(split).taken_for_good)
            for features, split in zip(args.features, args.splits, strict=True)
        ]
        bank = fit_detector(args.spec, pool(selections), seed=args.seed)
    inputs = {"features": args.features, "splits": args.splits}
    bank.save(
        args.bank,
        describe("fit_detector", version=args.stage, spec=args.spec.fit_spec(), inputs=inputs, seed=args.seed),
    )


if __name__ == "__main__":
    run_script(main)
