"""List all images of a category, with masks, labels and digests."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from patchshift.data.adapters import index_images
from patchshift.data.index import write_index
from patchshift.plan.base import canonical_json
from patchshift.runtime.provenance import note_origin
from patchshift.runtime.script import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the category's folder")
    parser.add_argument("--spec", type=json.loads, required=True, help="part of the dataset's settings (JSON)")
    parser.add_argument("--index", type=Path, required=True, help="image index to write (CSV)")
    args = parser.parse_args(argv)

    cache = args.index.with_name(f".{args.index.stem}.digests.csv")
    rows = index_images(args.root, cache=cache, **args.spec)
    note_origin(args.index, "index_images", spec=canonical_json(args.spec))
    write_index(args.index, rows)


if __name__ == "__main__":
    run_script(main)
