"""Measure the exact greedy coreset against the textbook loop and the bare matrix product, as ratios from one run.

usage: python benchmarks/coreset.py [--points patches.npy] [--threads 2]

Without --points it draws clusters whose spread differs from point to point, as it does in patch embeddings. The last
columns say what the speed costs: extra memory beside the points, and picks that differ from the textbook loop's in
float64.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow_scripts"))

from patchshift.detectors.coreset import greedy_coreset
from patchshift.runtime.threads import limit_threads

Int64 = npt.NDArray[np.int64]
Points = npt.NDArray[np.floating]

BLOCK_ROWS = 2048


def draw_clusters(rows: int, dimension: int) -> npt.NDArray[np.float32]:
    random = np.random.default_rng(5)
    points = random.standard_normal((rows, dimension), np.float32)
    points *= random.uniform(0.1, 1, (rows, 1)).astype(np.float32)
    points += 2 * random.standard_normal((300, dimension), np.float32)[random.integers(0, 300, rows)]
    return points


def textbook_loop(points: Points, size: int, start: int) -> Int64:
    squares = np.einsum("nd,nd->n", points, points)
    nearest = np.full(len(points), np.inf, points.dtype)
    picks = [start]
    while len(picks) < size:
        distances = squares - 2 * (points @ points[picks[-1]]) + squares[picks[-1]]
        np.minimum(nearest, distances, out=nearest)
        picks.append(int(nearest.argmax()))
    return np.array(picks)


def bare_product(points: Points, picks: Int64) -> None:
    centres = np.ascontiguousarray(points[picks].T)
    for first in range(0, len(points), BLOCK_ROWS):
        points[first : first + BLOCK_ROWS] @ centres


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def peak_memory() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def measure_memory(path: Path, size: int, threads: int, answer: "multiprocessing.Queue[float]") -> None:
    """Peak memory of one coreset beyond the points and the libraries, as a share of the points."""
    limit_threads(threads)
    points = np.load(path)
    greedy_coreset(points[:2000], 100, start=0)  # libraries allocate their own buffers on first use
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is now what is in use
    before = peak_memory()
    greedy_coreset(points, size, start=0)
    answer.put((peak_memory() - before) / points.nbytes)


def extra_memory(points: Points, size: int, threads: int) -> float:
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "points.npy"
        np.save(path, points)
        answer: multiprocessing.Queue[float] = context.Queue()
        process = context.Process(target=measure_memory, args=(path, size, threads, answer))
        process.start()
        share = answer.get()
        process.join()
    return share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=Path, help="[N, D] float32 array (.npy) to use in place of drawn clusters")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--repeats", type=int, default=3, help="the fastest of so many runs counts, except for the loop"
    )
    args = parser.parse_args()

    limit_threads(args.threads)
    points = draw_clusters(235_200, 128) if args.points is None else np.load(args.points)
    small, large = len(points) // 100, len(points) // 10
    picks = greedy_coreset(points, small, start=0)

    product, ours = np.inf, np.inf
    for _ in range(args.repeats):  # alternating, so that both meet the same load of the machine
        product = min(product, seconds(lambda: bare_product(points, picks)))
        ours = min(ours, seconds(lambda: greedy_coreset(points, small, start=0)))
    started = time.perf_counter()
    rounded = textbook_loop(points, small, 0)
    loop = time.perf_counter() - started
    tenth = seconds(lambda: greedy_coreset(points, large, start=0))
    exact = textbook_loop(points.astype(np.float64), small, 0)

    def row(name: str, size: int, time_taken: float, memory: str, differing: str) -> str:
        return f"| {name} | {size:,} | {time_taken:.2f} | {time_taken / ours:.2f} | {memory} | {differing} |"

    memory = {size: f"{extra_memory(points, size, args.threads):.0%}" for size in (small, large)}
    print(f"{len(points):,} x {points.shape[1]} float32, {args.threads} threads\n")
    print("| method | picks | seconds | relative to ours at 1 % | extra memory | picks that differ from float64 |")
    print("|---|---|---|---|---|---|")
    print(row("bare matrix product", small, product, "-", "-"))
    print(row("greedy_coreset", small, ours, memory[small], str((picks != exact).sum())))
    print(row("textbook loop, float32", small, loop, "-", str((rounded != exact).sum())))
    print(row("greedy_coreset", large, tenth, memory[large], "-"))
    identical = "identical" if np.array_equal(picks, exact) else "NOT identical"
    print(
        f"\nours / product {ours / product:.2f} (at most 2), loop / ours {loop / ours:.1f} (at least 6), "
        f"10 % / 1 % {tenth / ours:.1f} (at most 15), picks {identical} to the loop's in float64"
    )


if __name__ == "__main__":
    main()
