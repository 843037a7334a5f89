"""Measure how long it takes to list, index, split and digest many images, each step as a share of the first three.

usage: python benchmarks/indexing.py [--images 100000] [--kilobytes 4] [--folder DIR]

Images are files of random bytes in layout `folder`: indexing decodes none. They have just been written, so digests read
them from memory, not from the disk.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow_scripts"))

from patchshift.data import digests
from patchshift.data.adapters import list_images
from patchshift.data.index import add_digests, read_index, write_index
from patchshift.data.splits import split_images, write_split
from patchshift.plan.data_specs import SplitSpec

SPLIT = SplitSpec(protocol="source_plan", train_share=0.8, val_anomalous_share=0.3, seed=42)
DEFECTS = ("scratch", "dent", "hole", "stain")
DEFECTIVE_SHARE = 0.1

Result = TypeVar("Result")


def make_tree(root: Path, images: int, size: int) -> None:
    """Write `good`, `defect/{type}` and `masks/{type}`: a tenth of the images defective, each with a mask."""
    random = np.random.default_rng(0)
    defective = int(DEFECTIVE_SHARE * images)
    for number in range(images):
        kind = DEFECTS[number % len(DEFECTS)] if number < defective else ""
        folders = [root / "defect" / kind, root / "masks" / kind] if kind else [root / "good"]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number:06d}.png").write_bytes(random.bytes(size))


def measure(name: str, call: Callable[[], Result], seconds: dict[str, float]) -> Result:
    started = time.perf_counter()
    result = call()
    seconds[name] = time.perf_counter() - started
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--kilobytes", type=int, default=4, help="size of a file")
    parser.add_argument(
        "--folder", type=Path, help="where to write the files for the time being; default: the system's"
    )
    args = parser.parse_args()

    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder, root = Path(name), Path(name, "images")
        make_tree(root, args.images, 1024 * args.kilobytes)
        rows = measure("list", lambda: list_images(root, "folder"), seconds)
        measure("write index", lambda: write_index(folder / "index.csv", rows), seconds)
        rows = measure("read index", lambda: read_index(folder / "index.csv"), seconds)
        split = measure("split", lambda: split_images(rows, SPLIT), seconds)
        measure("write split", lambda: write_split(folder / "split.csv", split), seconds)
        together = sum(seconds.values())
        time.sleep(digests.SETTLED / 1e9)  # files written in the last seconds are never remembered
        plain = measure("digest, no cache", lambda: add_digests(rows, root), seconds)
        measure("digest, empty cache", lambda: add_digests(rows, root, folder / "digests.csv"), seconds)
        cached = measure("digest, full cache", lambda: add_digests(rows, root, folder / "digests.csv"), seconds)
        assert cached == plain

    print(f"{args.images:,} images of {args.kilobytes} KiB, {os.cpu_count()} cores\n")
    print("| step | seconds | relative to list, index and split |\n|---|---|---|")
    for step, duration in {"list, index and split": together, **seconds}.items():
        print(f"| {step} | {duration:.2f} | {duration / together:.2f} |")


if __name__ == "__main__":
    main()
