"""How long the Gaussians of PaDiM take to fit, beside the loop over positions that published code runs.

usage: python benchmarks/padim.py [--images 300] [--positions 784] [--dimension 100] [--repeats 3]

`loop` is what PaDiM's own code and anomalib do, written anew: all embeddings in memory, for each position the sample
covariance plus 0.01 I, then the inverse of all. Ours reads chunks of 128 images once and keeps inverse Cholesky
factors. Both in one run, in turn, best time of each; vectors are drawn at random.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow_scripts"))

from patchshift.detectors.gaussians import REGULARISATION, NormalGaussians, add_to_diagonals, estimate, invert
from patchshift.runtime.threads import limit_threads

Float32 = npt.NDArray[np.float32]
CHUNK = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--positions", type=int, default=784)
    parser.add_argument("--dimension", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    limit_threads(args.threads)
    shape = (args.images, args.positions, args.dimension)
    vectors = np.random.default_rng(0).gamma(1, 0.5, shape).astype(np.float32)
    seconds = {"loop": np.inf, "ours": np.inf}
    for _ in range(args.repeats):
        for name, run in (("loop", fit_in_a_loop), ("ours", fit)):
            start = time.perf_counter()
            run(vectors)
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    mean, inverse = fit_in_a_loop(vectors)
    centred = vectors[:8] - mean
    expected = np.sqrt(np.einsum("npd,pde,npe->np", centred, inverse, centred))
    difference = np.abs(fit(vectors).distances(vectors[:8]) / expected - 1).max()
    print("| images | positions | numbers | loop, s | ours, s | ratio | largest relative difference of a distance |")
    print("|---|---|---|---|---|---|---|")
    sizes = " | ".join(str(size) for size in shape)
    ratio = seconds["loop"] / seconds["ours"]
    print(f"| {sizes} | {seconds['loop']:.2f} | {seconds['ours']:.2f} | {ratio:.1f} | {difference:.1e} |")


def fit(vectors: Float32) -> NormalGaussians:
    chunks = (vectors[first : first + CHUNK] for first in range(0, len(vectors), CHUNK))
    mean, covariance = estimate(chunks, ledoit_wolf=False)
    add_to_diagonals(covariance, REGULARISATION)
    return NormalGaussians(mean.astype(np.float32), invert(covariance))


def fit_in_a_loop(vectors: Float32) -> tuple[Float32, Float32]:
    identity = REGULARISATION * np.eye(vectors.shape[2], dtype=np.float32)
    covariance = np.empty((*vectors.shape[1:], vectors.shape[2]), np.float32)
    for position in range(vectors.shape[1]):
        covariance[position] = np.cov(vectors[:, position], rowvar=False) + identity
    return vectors.mean(axis=0), np.linalg.inv(covariance)


if __name__ == "__main__":
    main()
