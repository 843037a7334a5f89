"""Join the shards of a feature store: the same bytes as a single job would have written."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from patchshift.data.index import read_index
from patchshift.features.shards import merge_shards
from patchshift.plan.backbone_specs import BACKBONE, NO_FEATURES
from patchshift.runtime.files import digest_file
from patchshift.runtime.script import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=Path, nargs="+", required=True, help="all shards, in order (HDF5)")
    parser.add_argument("--index", type=Path, required=True, help="image index (CSV)")
    parser.add_argument("--spec", type=BACKBONE.validate_json, required=True, help="backbone spec (JSON)")
    parser.add_argument("--shard-stage", required=True, help="stage version of extract_shard")
    parser.add_argument("--whole-stage", required=True, help="stage version of extract_features")
    parser.add_argument("--features", type=Path, required=True, help="feature store to write (HDF5)")
    args = parser.parse_args(argv)
    expected = {
        "stage": "extract_features",
        "version": args.whole_stage,
        "spec": json.loads(args.spec.canonical(exclude=NO_FEATURES)),
        "inputs": {"index": digest_file(args.index)},
    }
    merge_shards(
        args.shards,
        args.features,
        images=[row.key for row in read_index(args.index)],
        batch_size=args.spec.batch_size,
        expected=expected,
        version=args.shard_stage,
    )


if __name__ == "__main__":
    run_script(main)
