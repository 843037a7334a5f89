"""Pass all images of a domain through a backbone and keep the raw layer maps."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.data.index import read_index
from patchshift.features.extraction import extract_features
from patchshift.plan.backbone_specs import BACKBONE
from patchshift.runtime.memory import keep_freed_memory
from patchshift.runtime.provenance import describe
from patchshift.runtime.script import run_script
from patchshift.runtime.threads import limit_threads


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", type=Path, required=True, help="image index (CSV)")
    parser.add_argument("--root", type=Path, required=True, help="folder that the index is relative to")
    parser.add_argument("--weights-dir", type=Path, help="folder of weight files, for backbones that have them")
    parser.add_argument("--spec", type=BACKBONE.validate_json, required=True, help="backbone spec (JSON)")
    parser.add_argument("--stage", required=True, help="stage version")
    parser.add_argument("--features", type=Path, required=True, help="feature store to write (HDF5)")
    args = parser.parse_args(argv)

    keep_freed_memory()
    limit_threads(args.spec.threads)  # part of the spec: floating-point sums depend on it
    rows = read_index(args.index)
    inputs = {"index": args.index}
    if args.spec.source != "scattering" and args.weights_dir:
        inputs["weights"] = args.weights_dir / args.spec.weights
    extract_features(
        args.spec,
        {row.key: args.root / row.image for row in rows},
        args.features,
        digests={row.key: row.digest for row in rows},
        weights_dir=args.weights_dir,
        provenance=describe("extract_features", version=args.stage, spec=args.spec.canonical(), inputs=inputs),
    )


if __name__ == "__main__":
    run_script(main)
