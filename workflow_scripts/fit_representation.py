"""Fit what the shards of a bank share: the representation of patches, and where the object is."""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from patchshift.detectors.prepared import prepare
from patchshift.detectors.shard_files import describe_fit, describe_prepared, write_prepared
from patchshift.detectors.training import add_arguments, open_training
from patchshift.runtime.script import run_script
from patchshift.runtime.sealed import leave_seal
from patchshift.runtime.threads import limit_threads


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    parser.add_argument("--representation", type=Path, required=True, help="file to write (HDF5)")
    args = parser.parse_args(argv)

    limit_threads(args.spec.threads)  # as fit_detector does
    inputs = {name: getattr(args, name) for name in ("features", "splits", "turned")}
    with ExitStack() as stack:
        # all stores would be read to compare their seals: `fit_detector` does it before it joins
        training = open_training(stack, members=args.members, **inputs, check=leave_seal)
        prepared = prepare(args.spec, training.features, seed=args.seed)
        provenance = describe_prepared(describe_fit(args.spec, training, args.seed), args.stage)
    write_prepared(args.representation, prepared, provenance)


if __name__ == "__main__":
    run_script(main)
