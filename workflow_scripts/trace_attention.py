"""Trace the attention of a vision transformer's class token on a few test images."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.data.index import read_index
from patchshift.data.inspected import choose_inspected
from patchshift.data.packs import Pack
from patchshift.data.splits import read_split
from patchshift.features.attention import trace_attention
from patchshift.plan.backbone_specs import BACKBONE
from patchshift.plan.inspections import UNTRACED, ChoiceSpec
from patchshift.runtime.provenance import describe
from patchshift.runtime.script import run_script
from patchshift.runtime.seeds import set_seed
from patchshift.runtime.threads import limit_threads


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", type=Path, required=True, help="image index (CSV)")
    parser.add_argument("--root", type=Path, required=True, help="folder that the index is relative to")
    parser.add_argument("--pack", type=Path, required=True, help="pack of the same images (HDF5)")
    parser.add_argument("--split", type=Path, required=True, help="split of the category (CSV)")
    parser.add_argument("--weights-dir", type=Path, help="folder of weight files, unless weights are random")
    parser.add_argument("--spec", type=BACKBONE.validate_json, required=True, help="backbone spec (JSON)")
    parser.add_argument("--choice", type=ChoiceSpec.model_validate_json, required=True, help="images to show (JSON)")
    parser.add_argument("--stage", required=True, help="stage version")
    parser.add_argument("--attention", type=Path, required=True, help="attention to write (HDF5)")
    args = parser.parse_args(argv)

    limit_threads(args.spec.threads)  # part of the spec: floating-point sums depend on it
    set_seed(0)  # whatever draws
    with Pack(args.pack) as pack:
        images = choose_inspected(pack, read_split(args.split), count=args.choice.images, seed=args.choice.seed)
    rows = {row.key: row for row in read_index(args.index)}
    traced = trace_attention(
        args.spec,
        {image: args.root / rows[image].image for image in images},
        digests={image: rows[image].digest for image in images},
        weights_dir=args.weights_dir,
        name=str(args.attention),
    )
    inputs = {"index": args.index, "pack": args.pack, "split": args.split}
    if args.weights_dir:
        inputs["weights"] = args.weights_dir / args.spec.weights
    spec, choice = args.spec.canonical(exclude=UNTRACED), args.choice.model_dump()
    traced.save(
        args.attention, describe("trace_attention", version=args.stage, spec=spec, inputs=inputs, choice=choice)
    )


if __name__ == "__main__":
    run_script(main)
