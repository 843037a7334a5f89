"""Make defects on the normal images of one part of a split."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.data.defects.synthesis import synthesize_defects
from patchshift.data.index import read_index
from patchshift.data.splits import read_split
from patchshift.errors import UserError
from patchshift.plan.domain_specs import DomainSpec
from patchshift.runtime.files import atomic_directory
from patchshift.runtime.provenance import note_origin
from patchshift.runtime.script import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", type=Path, required=True, help="image index of the clean domain (CSV)")
    parser.add_argument("--split", type=Path, required=True, help="split that the normal images come from (CSV)")
    parser.add_argument("--root", type=Path, required=True, help="folder that the index is relative to")
    parser.add_argument("--data-dir", type=Path, help="folder that the domain's augmented_path is relative to")
    parser.add_argument("--weights-dir", type=Path, help="folder of models, for type diffusion")
    parser.add_argument("--spec", type=DomainSpec.model_validate_json, required=True, help="domain spec (JSON)")
    parser.add_argument("--images", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)

    if args.spec.synthesis is None:
        raise UserError(f"--spec: a domain of kind '{args.spec.kind}' has no synthetic defects")
    with atomic_directory(args.images) as folder:
        rows, split = read_index(args.index), read_split(args.split)
        synthesize_defects(
            rows, split, args.root, args.spec.synthesis, folder, data_dir=args.data_dir, weights_dir=args.weights_dir
        )
        note_origin(folder, "synthesize_defects", spec=args.spec.canonical(), index=args.index, split=args.split)


if __name__ == "__main__":
    run_script(main)
