"""Choose vectors for a bank from a range of its training images: one of several jobs that share the choice."""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from patchshift.detectors.shard_files import (
    describe_fit,
    describe_picks,
    describe_prepared,
    describe_shard,
    read_prepared,
    write_picks,
)
from patchshift.detectors.sharding import choose_shard
from patchshift.detectors.training import add_arguments, open_training
from patchshift.runtime.script import run_script
from patchshift.runtime.sealed import leave_seal
from patchshift.runtime.threads import limit_threads


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--shard", type=int, required=True, help="which shard, from 1, of those of the spec")
    parser.add_argument("--shards", type=int, required=True, help="how many there are")
    parser.add_argument("--representation", type=Path, required=True, help="what shards share (HDF5)")
    parser.add_argument("--representation-stage", required=True, help="stage version of fit_representation")
    parser.add_argument("--picks", type=Path, required=True, help="file to write (HDF5)")
    args = parser.parse_args(argv)
    if args.shards != args.spec.shards:
        parser.error(f"the spec has shards: {args.spec.shards}, not {args.shards}")
    if not 1 <= args.shard <= args.shards:
        parser.error(f"there is no shard {args.shard} of {args.shards}: they are numbered from 1")

    limit_threads(args.spec.threads)  # as fit_detector does
    spec, inputs = args.spec, {name: getattr(args, name) for name in ("features", "splits", "turned")}
    with ExitStack() as stack:
        # all stores would be read to compare their seals: `fit_detector` does it before it joins
        training = open_training(stack, members=args.members, **inputs, check=leave_seal)
        fit = describe_fit(spec, training, args.seed)
        prepared = read_prepared(args.representation, spec, describe_prepared(fit, args.representation_stage))
        provenance = describe_picks(fit, args.stage, args.representation) | {
            "shard": describe_shard(args.shard, args.shards)
        }
        limits = {"memory_mb": spec.memory_mb, "members": training.members, "member_of": training.member_of}
        source = prepared.open_patches(spec, training.features)
        picks = choose_shard(spec.sampler, source, shard=args.shard - 1, count=args.shards, seed=args.seed, **limits)
        write_picks(args.picks, picks, provenance)


if __name__ == "__main__":
    run_script(main)
