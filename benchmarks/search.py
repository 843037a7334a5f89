"""How fast patches are scored against a memory bank, beside faiss's own flat search of the same blocks.

usage: python benchmarks/search.py [--patches 1000000] [--vectors 24000] [--dimension 384]

Both sides take each block in turn. Ours also takes the bank's mean off the patches and computes each distance from the
difference of two vectors, which faiss's expansion |x|^2 - 2xy + |y|^2 rounds.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow_scripts"))

from patchshift.detectors.neighbours import make_neighbours
from patchshift.runtime.threads import limit_threads

Float32 = npt.NDArray[np.float32]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, default=1_000_000)
    parser.add_argument("--vectors", type=int, default=24_000)
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--block", type=int, default=50_000, help="patches scored at a time: 64 images of 28 x 28")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    limit_threads(args.threads)
    random = np.random.default_rng(0)
    bank = random.standard_normal((args.vectors, args.dimension), np.float32)
    model = make_neighbours(bank, 0.0)
    flat = faiss.IndexFlatL2(args.dimension)
    flat.add(bank)
    sides: dict[str, Callable[[Float32], Float32]] = {
        "faiss": lambda block: np.sqrt(flat.search(block, 1)[0][:, 0]),
        "ours": lambda block: model.distances(block[None])[0],
    }
    for search in sides.values():  # libraries and the index get ready on first use
        search(bank[:1000])
    seconds, farthest = dict.fromkeys(sides, 0.0), 0.0
    for number, first in enumerate(range(0, args.patches, args.block)):
        block = random.standard_normal((min(args.block, args.patches - first), args.dimension), np.float32)
        found = {}
        for name in list(sides)[:: 1 if number % 2 else -1]:  # neither always first
            start = time.perf_counter()
            found[name] = sides[name](block)
            seconds[name] += time.perf_counter() - start
        farthest = max(farthest, float(np.abs(found["ours"] / found["faiss"] - 1).max()))
    print("| patches | vectors | numbers | faiss, s | ours, s | of faiss's speed | largest relative difference |")
    print("|---|---|---|---|---|---|---|")
    print(
        f"| {args.patches:,} | {args.vectors:,} | {args.dimension} | {seconds['faiss']:.1f} | {seconds['ours']:.1f} "
        f"| {seconds['faiss'] / seconds['ours']:.0%} | {farthest:.1e} |"
    )


if __name__ == "__main__":
    main()
