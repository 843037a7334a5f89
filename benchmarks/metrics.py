"""How long the metrics of one large target take, and how much memory, beside scikit-learn's functions.

usage: python benchmarks/metrics.py [--images 200] [--size 1024] [--sklearn-images 20] [--blot 0.1] [--threads 1]

Prints a Markdown table. `evaluate_target` gives all image and pixel metrics with their intervals (1000 resamples),
from patch maps: upsampling and smoothing are part of it. `scikit-learn` gives pixel AUROC and average precision alone,
without intervals, of maps that it finds ready in memory, and of fewer images by default, since it needs several copies
of all pixels; the row above it is `evaluate_target` on those images, and `difference` the larger of the two metrics'.
Half of the images have up to three blots of defect; patch maps are noise that blots raise. Each row is a process of its
own, peak memory all that it ever held.
"""

import argparse
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow_scripts"))

from patchshift.evaluation.anomaly_maps import upsample_map
from patchshift.evaluation.evaluate import evaluate_target
from patchshift.plan.specs import EvaluationSpec
from patchshift.runtime.threads import limit_threads

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
Result = tuple[float, float, float, float, float]  # seconds, peak GB, pixel AUROC, pixel AP, share of defect pixels

GRID = 28
INPUT = 224


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--size", type=int, default=1024, help="height and width of masks")
    parser.add_argument("--sklearn-images", type=int, default=20, help="images that scikit-learn is given")
    parser.add_argument("--blot", type=float, default=0.1, help="largest radius of a blot, as a share of the size")
    parser.add_argument("--threads", type=int, default=1, help="numerical threads; the stage takes 1")
    args = parser.parse_args()
    print("| what | images | size | defect pixels | seconds | peak memory, GB | difference |")
    print("|---|---|---|---|---|---|---|")
    few = min(args.sklearn_images, args.images)
    rows = [("evaluate_target", evaluate, args.images), ("evaluate_target", evaluate, few), ("scikit-learn", rank, few)]
    results: list[Result] = []
    for name, run, images in rows:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
            results.append(process.submit(run, images, args.size, args.blot, args.threads).result())
        seconds, memory, auroc, precision, defects = results[-1]
        same = len(results) == len(rows)
        difference = max(abs(auroc - results[1][2]), abs(precision - results[1][3])) if same else None
        told = "-" if difference is None else f"{difference:.0e}"
        cells = (name, images, f"{args.size} x {args.size}", f"{defects:.1%}", f"{seconds:.1f}", f"{memory:.2f}", told)
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


def evaluate(images: int, size: int, blot: float, threads: int) -> Result:
    limit_threads(threads)
    labels, maps = draw_maps(images, size, blot)
    start = time.perf_counter()
    result = evaluate_target(
        labels,
        maps.max(axis=(1, 2)),
        maps,
        (draw_mask(image, size, blot) for image in range(images)),
        input_size=(INPUT, INPUT),
        spec=EvaluationSpec(),
    )
    seconds, memory = time.perf_counter() - start, peak()
    auroc, precision = (result["metrics"][name]["value"] for name in ("pixel_auroc", "pixel_ap"))
    defects = np.mean([draw_mask(image, size, blot).mean() for image in range(images)])
    return seconds, memory, auroc, precision, float(defects)


def rank(images: int, size: int, blot: float, threads: int) -> Result:
    limit_threads(threads)
    maps = draw_maps(images, size, blot)[1]
    defect, scores = np.empty((images, size, size), np.bool_), np.empty((images, size, size), np.float32)
    for image, patches in enumerate(maps):
        defect[image] = draw_mask(image, size, blot)
        scores[image] = upsample_map(patches, (INPUT, INPUT), (size, size), EvaluationSpec().smoothing_sigma)
    start = time.perf_counter()
    auroc = float(roc_auc_score(defect.ravel(), scores.ravel()))
    precision = float(average_precision_score(defect.ravel(), scores.ravel()))
    return time.perf_counter() - start, peak(), auroc, precision, float(defect.mean())


def draw_mask(image: int, size: int, blot: float) -> Bool:
    """[size, size]; images of odd number have one to three discs."""
    mask = np.zeros((size, size), np.bool_)
    generator = np.random.default_rng([0, image])
    rows, columns = np.ogrid[:size, :size]
    for _ in range(generator.integers(1, 4) if image % 2 else 0):
        row, column = generator.uniform(0, size, 2)
        radius = size * generator.uniform(blot / 5, blot)
        mask |= (rows - row) ** 2 + (columns - column) ** 2 < radius**2
    return mask


def draw_maps(images: int, size: int, blot: float) -> tuple[npt.NDArray[np.int64], Float32]:
    """Labels, and patch maps that are half a deviation to two higher where most of a patch is defect."""
    generator = np.random.default_rng(1)
    maps = generator.normal(size=(images, GRID, GRID)).astype(np.float32)
    centres = ((np.arange(GRID) + 0.5) * size / GRID).astype(int)
    for image in range(1, images, 2):
        maps[image] += generator.uniform(0.5, 2) * draw_mask(image, size, blot)[np.ix_(centres, centres)]
    return np.arange(images) % 2, maps


def peak() -> float:
    """The largest resident memory of this process so far, GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
