"""Divide a category's images into train, val and test."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from patchshift.data.index import read_index
from patchshift.data.splits import count_images, identical_across_parts, split_images, write_split
from patchshift.plan.data_specs import SplitSpec
from patchshift.runtime.provenance import note_origin
from patchshift.runtime.script import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", type=Path, required=True, help="image index (CSV)")
    parser.add_argument("--spec", type=SplitSpec.model_validate_json, required=True, help="split spec (JSON)")
    parser.add_argument("--split", type=Path, required=True, help="split to write (CSV)")
    args = parser.parse_args(argv)

    rows = read_index(args.index)
    split = split_images(rows, args.spec)
    logging.info("%s", count_images(split))
    for group in identical_across_parts(rows, split):
        placed = ", ".join(f"{image} ({split.parts[image]})" for image in group)
        logging.warning("identical images in different parts of the split: %s", placed)
    note_origin(args.split, "split_images", spec=args.spec.canonical(), index=args.index)
    write_split(args.split, split)


if __name__ == "__main__":
    run_script(main)
