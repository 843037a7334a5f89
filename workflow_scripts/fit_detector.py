"""Fit one detector on the cached features of normal training images."""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from patchshift.detectors.fit import fit_detector
from patchshift.detectors.shard_files import open_shards
from patchshift.detectors.training import add_arguments, open_training
from patchshift.runtime.provenance import describe
from patchshift.runtime.script import run_script
from patchshift.runtime.threads import limit_threads

INPUTS = ("features", "splits", "turned", "packs", "indexes", "positives", "positive_packs")


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--packs", type=Path, nargs="+", default=[], help="packs, where training defects are used")
    parser.add_argument("--indexes", type=Path, nargs="+", default=[], help="their image indexes (CSV), with the packs")
    parser.add_argument("--positives", type=Path, nargs="+", default=[], help="stores of defects")
    parser.add_argument("--positive-packs", type=Path, nargs="+", default=[], help="their packs, in the same order")
    parser.add_argument("--representation", type=Path, help="what shards share (HDF5); with --shards")
    parser.add_argument("--shards", type=Path, nargs="+", default=[], help="what they chose, in order (HDF5)")
    parser.add_argument("--shard-stages", nargs=2, help="stage versions of fit_representation and choose_shard")
    parser.add_argument("--bank", type=Path, required=True, help="bank to write (HDF5)")
    args = parser.parse_args(argv)
    shared, count = (args.representation, args.shards, args.shard_stages), getattr(args.spec, "shards", 1)
    if any(shared) != all(shared):
        parser.error("--representation, --shards and --shard-stages are given together or not at all")
    if args.shards and not len(args.shards) == count > 1:
        parser.error(f"the spec has shards: {count}, but {len(args.shards)} are given by --shards")

    limit_threads(args.spec.threads)  # part of the spec: floating-point sums depend on it
    inputs = {name: getattr(args, name) for name in INPUTS if getattr(args, name)}
    with ExitStack() as stack:
        training = open_training(stack, members=args.members, **inputs)
        prepared = sharding = None
        if args.shards:
            files, stages = (args.representation, args.shards), args.shard_stages
            prepared, sharding = open_shards(*files, args.spec, training, seed=args.seed, stages=stages)
        bank = fit_detector(args.spec, training, seed=args.seed, prepared=prepared, sharding=sharding)
    bank.save(
        args.bank,
        describe("fit_detector", version=args.stage, spec=args.spec.fit_spec(), inputs=inputs, seed=args.seed),
    )


if __name__ == "__main__":
    run_script(main)
