"""Write all images and masks of a category as a declared shift or view shows them."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from patchshift.data.index import read_index
from patchshift.data.shifts import synthesize_shift
from patchshift.errors import UserError
from patchshift.plan.domain_specs import DomainSpec
from patchshift.runtime.files import atomic_directory
from patchshift.runtime.memory import keep_freed_memory
from patchshift.runtime.provenance import note_origin
from patchshift.runtime.script import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", type=Path, required=True, help="image index of the clean domain (CSV)")
    parser.add_argument("--root", type=Path, required=True, help="folder that the index is relative to")
    parser.add_argument("--spec", type=DomainSpec.model_validate_json, required=True, help="domain spec (JSON)")
    parser.add_argument("--images", type=Path, required=True, help="folder to write")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the work")
    args = parser.parse_args(argv)

    if args.spec.kind not in ("shift", "view"):
        raise UserError(f"--spec: a domain of kind '{args.spec.kind}' is neither a shift nor a view")
    keep_freed_memory()
    with atomic_directory(args.images) as folder:
        synthesize_shift(read_index(args.index), args.root, args.spec, folder, workers=args.workers)
        note_origin(folder, "synthesize_shift", spec=args.spec.canonical(), index=args.index)


if __name__ == "__main__":
    run_script(main)
