"""Keep masks and thumbnails of a domain's images in one file."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import scipy.ndimage  # noqa: F401 (measures defects; provenance names what is loaded)

from patchshift.data.index import read_index
from patchshift.data.packs import write_pack
from patchshift.runtime.provenance import describe
from patchshift.runtime.script import run_script


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", type=Path, required=True, help="image index (CSV)")
    parser.add_argument("--root", type=Path, required=True, help="folder that the index is relative to")
    parser.add_argument("--stage", required=True, help="stage version")
    parser.add_argument("--pack", type=Path, required=True, help="pack to write (HDF5)")
    args = parser.parse_args(argv)

    provenance = describe("pack_images", version=args.stage, inputs={"index": args.index})
    write_pack(args.pack, read_index(args.index), args.root, provenance)


if __name__ == "__main__":
    run_script(main)
