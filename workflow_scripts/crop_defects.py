"""Cut the training defects of a split out of their images."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.data.defects.crops import crop_defects
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
    parser.add_argument("--split", type=Path, required=True, help="split whose training defects are cropped (CSV)")
    parser.add_argument("--root", type=Path, required=True, help="folder that the index is relative to")
    parser.add_argument("--data-dir", type=Path, help="folder that the domain's crops_path is relative to")
    parser.add_argument("--spec", type=DomainSpec.model_validate_json, required=True, help="domain spec (JSON)")
    parser.add_argument("--images", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)

    if args.spec.crops is None:
        raise UserError(f"--spec: a domain of kind '{args.spec.kind}' has no crops of defects")
    with atomic_directory(args.images) as folder:
        rows, split = read_index(args.index), read_split(args.split)
        crop_defects(rows, split, args.root, args.spec.crops, folder, args.data_dir)
        note_origin(folder, "crop_defects", spec=args.spec.canonical(), index=args.index, split=args.split)


if __name__ == "__main__":
    run_script(main)
