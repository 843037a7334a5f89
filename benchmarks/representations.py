"""Measure how long representations take per image, as ratios to a single layer without neighbourhood, from one run.

usage: python benchmarks/representations.py [--images 16] [--repeats 3] [--threads 2] [--memory]

Maps are random, of the sizes that the networks have at 224 x 224; reading is not measured. `--memory` measures instead
how much memory fitting takes for few and for four times as many images, each in a process of its own.
"""

import argparse
import itertools
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow_scripts"))

from patchshift.features.representations import Representation, fit_representation
from patchshift.features.store import FeatureRows, FeatureStore, FeatureWriter, LayerMaps
from patchshift.plan.representation_specs import RepresentationSpec
from patchshift.runtime.threads import limit_threads

NETWORKS = {
    "ResNet18": {"layer2": (28, 28, 128), "layer3": (14, 14, 256)},
    "WideResNet50": {"layer2": (28, 28, 512), "layer3": (14, 14, 1024)},
}
FUSIONS: dict[str, dict[str, Any]] = {
    "single": {"fusion": "single", "layers": ["layer2"]},
    "concat": {"fusion": "concat"},
    "weighted": {"fusion": "weighted", "weights": {"layer2": 1, "layer3": 1}},
    "adaptive": {"fusion": "adaptive"},
}
REDUCTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "pca 128": {"reduction": {"method": "pca", "dimension": 128}},
    "random projection 128": {"reduction": {"method": "random_projection", "dimension": 128}},
    "channel subset 100": {"reduction": {"method": "channel_subset", "dimension": 100}},
    "channel pooling 128": {"reduction": {"method": "channel_pooling", "dimension": 128}},
}
NEIGHBOURHOODS = ("none", "average", "adaptive")
MEMORY_SPEC = {"fusion": "adaptive", "normalise": "standardise", **REDUCTIONS["pca 128"]}


def write_store(path: Path, shapes: dict[str, tuple[int, int, int]], images: int) -> None:
    random = np.random.default_rng(0)
    with FeatureWriter(path, [str(image) for image in range(images)], (224, 224), {}) as writer:
        for start in range(images):
            writer.write(start, {k: random.gamma(1, 0.5, (1, *v)).astype(np.float16) for k, v in shapes.items()})


def fit_all(features: FeatureRows) -> Iterator[tuple[str, str, str, float, Representation]]:
    for (fusion, one), neighbourhood, (reduction, other) in itertools.product(
        FUSIONS.items(), NEIGHBOURHOODS, REDUCTIONS.items()
    ):
        spec = RepresentationSpec.model_validate({**one, **other, "neighbourhood": neighbourhood})
        started = time.perf_counter()
        representation = fit_representation(spec, features)
        yield fusion, neighbourhood, reduction, time.perf_counter() - started, representation


def transform_seconds(representation: Representation, maps: LayerMaps) -> float:
    started = time.perf_counter()
    representation.transform(maps)
    return (time.perf_counter() - started) / len(maps["layer2"])


def measure_times(images: int, repeats: int) -> None:
    print("| network | fusion | neighbourhood | reduction | numbers | ms per image | relative | fit, ms per image |")
    print("|---|---|---|---|---|---|---|---|")
    for network, shapes in NETWORKS.items():
        with tempfile.TemporaryDirectory() as folder:
            write_store(Path(folder) / "store.h5", shapes, images)
            with FeatureStore(Path(folder) / "store.h5") as store:
                rows = store.select(store.images)
                (maps,) = rows.chunks(list(shapes), images)
                fitted = list(fit_all(rows))
        seconds = np.full(len(fitted), np.inf)
        for _ in range(repeats):  # in turn, so that all meet the same load of the machine
            times = [transform_seconds(representation, maps) for *_, representation in fitted]
            seconds = np.minimum(seconds, times)
        for (*names, fit, representation), best in zip(fitted, seconds, strict=True):
            cells = [network, *names, str(representation.dimension), f"{best * 1e3:.2f}", f"{best / seconds[0]:.1f}"]
            print("| " + " | ".join([*cells, f"{fit / images * 1e3:.1f}"]) + " |")


def peak_memory() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def measure_fit(path: Path, threads: int, chunk_mb: int, answer: "multiprocessing.Queue[float]") -> None:
    limit_threads(threads)
    with FeatureStore(path) as store:
        spec = RepresentationSpec.model_validate(MEMORY_SPEC)
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is now what is in use
        before = peak_memory()
        fit_representation(spec, store.select(store.images), chunk_mb=chunk_mb)
        answer.put((peak_memory() - before) / 1e6)


def measure_memory(images: int, threads: int) -> None:
    context = multiprocessing.get_context("spawn")
    print("| network | chunk_mb | images | peak of fitting, MB |")
    print("|---|---|---|---|")
    for (network, shapes), chunk_mb, factor in itertools.product(NETWORKS.items(), (16, 64), (1, 4)):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "store.h5"
            write_store(path, shapes, images * factor)
            answer: multiprocessing.Queue[float] = context.Queue()
            process = context.Process(target=measure_fit, args=(path, threads, chunk_mb, answer))
            process.start()
            print(f"| {network} | {chunk_mb} | {images * factor} | {answer.get():.0f} |", flush=True)
            process.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16, help="embedded at a time; with --memory: the few")
    parser.add_argument("--repeats", type=int, default=3, help="the fastest of so many runs counts")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", action="store_true", help="measure the memory of fitting instead")
    args = parser.parse_args()
    limit_threads(args.threads)
    if args.memory:
        measure_memory(args.images, args.threads)
    else:
        measure_times(args.images, args.repeats)


if __name__ == "__main__":
    main()
