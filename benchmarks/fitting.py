"""Choose a coreset of more patches than memory holds: peak memory, time and covering radius.

usage: python benchmarks/fitting.py [--patches 10000000] [--count 10000] [--memory-mb 4000]

Patches come block by block from a seeded generator and are drawn anew in each pass; drawing, which stands for
embedding, is part of the time; the table says how much. With `--whole` memory has no limit, to compare the radius.
"""

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow_scripts"))

from patchshift.detectors.patches import PatchSource
from patchshift.detectors.samplers import sample
from patchshift.plan.sampling_specs import SamplerSpec
from patchshift.runtime.threads import limit_threads

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

BLOCK = 10_000  # patches of an "image"
CLUSTERS = 300


class DrawnPatches:
    """Clusters whose spread differs from patch to patch; a block's seed is its number.

    Attributes:
        seconds: spent drawing so far.
    """

    def __init__(self, dimension: int) -> None:
        self._centres = 2 * np.random.default_rng(5).standard_normal((CLUSTERS, dimension), np.float32)
        self.seconds = 0.0

    def read(self, blocks: Int64) -> Float32:
        start = time.perf_counter()
        patches = np.empty((len(blocks) * BLOCK, self._centres.shape[1]), np.float32)
        for block, rows in zip(blocks.tolist(), patches.reshape(len(blocks), BLOCK, -1), strict=True):
            random = np.random.default_rng([7, block])
            random.standard_normal(dtype=np.float32, out=rows)
            rows *= random.uniform(0.1, 1, (BLOCK, 1)).astype(np.float32)
            rows += self._centres[random.integers(0, CLUSTERS, BLOCK)]
        self.seconds += time.perf_counter() - start
        return patches


def peak_memory() -> float:
    """In GB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patches", type=int, default=10_000_000)
    parser.add_argument("--dimension", type=int, default=128)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--memory-mb", type=float, default=4000, help="the default of method patchcore")
    parser.add_argument("--whole", action="store_true", help="without a limit: all patches in memory")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    limit_threads(args.threads)
    drawn = DrawnPatches(args.dimension)
    present = np.ones((-(-args.patches // BLOCK), BLOCK), np.bool_)
    before, start = peak_memory(), time.perf_counter()
    kept = sample(
        SamplerSpec(count=args.count),
        PatchSource(present, args.dimension, drawn.read),
        memory_mb=math.inf if args.whole else args.memory_mb,
        seed=0,
    )
    seconds = time.perf_counter() - start
    print(f"{present.size:,} x {args.dimension} float32 are {4 * present.size * args.dimension / 1e9:.2f} GB\n")
    print("| memory_mb | vectors | peak memory, GB | libraries, GB | seconds | drawing, s | covering radius |")
    print("|---|---|---|---|---|---|---|")
    limit = "-" if args.whole else f"{args.memory_mb:g}"
    print(
        f"| {limit} | {len(kept.vectors):,} | {peak_memory():.2f} | {before:.2f} | {seconds:.0f} "
        f"| {drawn.seconds:.0f} | {kept.radius:.4f} |"
    )


if __name__ == "__main__":
    main()
