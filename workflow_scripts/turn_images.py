"""Turn the good training images of a split by each of some angles."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.data.index import read_index
from patchshift.data.splits import read_split
from patchshift.data.turns import turn_images
from patchshift.errors import UserError
from patchshift.plan.domain_specs import DomainSpec
from patchshift.runtime.files import atomic_directory
from patchshift.runtime.memory import keep_freed_memory
from patchshift.runtime.provenance import note_origin
from patchshift.runtime.script import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", type=Path, required=True, help="image index of the clean domain (CSV)")
    parser.add_argument("--split", type=Path, required=True, help="split whose training images are turned (CSV)")
    parser.add_argument("--root", type=Path, required=True, help="folder that the index is relative to")
    parser.add_argument("--spec", type=DomainSpec.model_validate_json, required=True, help="domain spec (JSON)")
    parser.add_argument("--images", type=Path, required=True, help="folder to write")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the work")
    args = parser.parse_args(argv)

    if args.spec.turns is None:
        raise UserError(f"--spec: a domain of kind '{args.spec.kind}' has no turned images")
    keep_freed_memory()
    with atomic_directory(args.images) as folder:
        rows, split = read_index(args.index), read_split(args.split)
        turn_images(rows, split, args.root, args.spec.turns, folder, workers=args.workers)
        note_origin(folder, "turn_images", spec=args.spec.canonical(), index=args.index, split=args.split)


if __name__ == "__main__":
    run_script(main)
