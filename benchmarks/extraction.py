"""How fast images become features, and how much of that the forward pass alone would take.

usage: python benchmarks/extraction.py [--images FOLDER] [--weights-dir FOLDER] [--count 640] [--threads 2]

Prints two Markdown tables. In the first, `forward` is the backbone alone on random batches, by the way that threads are
used: `alone` gives each thread its own batch (as extraction does), `together` lets all threads work on one batch
(torch's default). `decode` reads and resizes images and does nothing else. `bound` is 1 / (1 / forward + 1 / decode),
what the same cores can reach at best, for either way of the forward pass; `workers` is extraction whose images are
decoded by processes. All kinds are timed in turn, several times, and the best time of each counts: other programs on
the machine only ever slow things down. Weights that are not there are random: that changes no time, and the table says
so.

The second is what `batch_categories` saves: the script of the stage for some small categories, in one process and in
one process each.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image

from patchshift.data.images import read_resized
from patchshift.data.index import ImageRow, add_digests, write_index
from patchshift.features.backbones import build_backbone
from patchshift.features.extraction import Extractor
from patchshift.plan.backbone_specs import RANDOM, PretrainedSpec, ScatteringSpec
from patchshift.runtime.memory import keep_freed_memory
from patchshift.runtime.threads import limit_threads

Item = TypeVar("Item")
Spec = ScatteringSpec | PretrainedSpec

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"}
NETWORKS = {"resnet18": "resnet18_layer3.safetensors", "wide_resnet50_2": "wide_resnet50_2.safetensors"}
SCRIPT = Path(__file__).parents[1] / "workflow_scripts" / "extract_features.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of images; default: generated, 512 x 512 JPEG")
    parser.add_argument("--weights-dir", type=Path, help="folder of weight files; default: random weights")
    parser.add_argument("--backbones", nargs="+", default=["scattering", *NETWORKS], help="which to measure")
    parser.add_argument("--count", type=int, default=640, help="how many images to use, repeated if there are fewer")
    parser.add_argument("--categories", type=int, default=5, help="how many small categories; 0: no second table")
    parser.add_argument("--category-count", type=int, default=32, help="images of a small category")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    keep_freed_memory()  # as the script of the stage does; it helps the forward pass alone as much
    limit_threads(args.threads)
    specs = {name: make_spec(name, args.weights_dir, args.threads) for name in args.backbones}
    with tempfile.TemporaryDirectory() as folder:
        source = args.images or generate_images(Path(folder))
        images = choose_images(source, args.count)
        paces = {
            name: measure(spec, images, Path(folder) / "store.h5", args.weights_dir, args.rounds)
            for name, spec in specs.items()
        }
        print_paces(paces, specs, args.threads)
        if args.categories:
            spec = make_spec("resnet18", args.weights_dir, args.threads)
            categories = make_categories(source, Path(folder), args.categories, args.category_count)
            print_batches(*time_batches(spec, categories, args.weights_dir, args.rounds), args)


def make_spec(name: str, weights_dir: Path | None, threads: int) -> Spec:
    if name == "scattering":
        return ScatteringSpec(source="scattering", threads=threads)
    there = weights_dir is not None and (weights_dir / NETWORKS[name]).is_file()
    return PretrainedSpec(
        source="torchvision",
        model=name,
        weights=NETWORKS[name] if there else RANDOM,
        layers=["layer2", "layer3"],
        threads=threads,
    )


def measure(
    spec: Spec, images: dict[str, Path], store: Path, weights_dir: Path | None, rounds: int
) -> dict[str, float]:
    """Images per second of each kind of work."""
    backbone = build_backbone(spec, weights_dir=weights_dir)
    batch = torch.rand(spec.batch_size, 3, *spec.input_size)
    batch = batch.contiguous(memory_format=torch.channels_last)  # as decoded images lie in memory

    def forward(_: int) -> None:
        with torch.inference_mode():
            backbone(batch)

    def decode(path: Path) -> None:
        read_resized(path, spec.input_size)

    def extract(workers: int) -> Callable[[], None]:
        extractor = Extractor(spec, weights_dir=weights_dir, device="cpu", num_workers=workers)
        return lambda: extractor.extract(images, store, provenance={})

    batches = range(-(-len(images) // spec.batch_size))
    computed = len(batches) * spec.batch_size
    kinds: dict[str, tuple[int, Callable[[], object]]] = {
        "together": (computed, lambda: [forward(i) for i in batches]),
        "alone": (computed, lambda: in_threads(forward, batches, spec.threads)),
        "decode": (len(images), lambda: in_threads(decode, images.values(), spec.threads)),
        "extraction": (len(images), extract(0)),
        "workers": (len(images), extract(spec.threads)),
    }
    best = dict.fromkeys(kinds, 0.0)
    for _ in range(rounds):
        for kind, (count, run) in kinds.items():
            start = time.perf_counter()
            run()
            best[kind] = max(best[kind], count / (time.perf_counter() - start))
    return best


def in_threads(function: Callable[[Item], object], items: Iterable[Item], threads: int) -> None:
    """Call a function on all items, with one torch thread per call."""
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(function, items))
    torch.set_num_threads(threads)


def choose_images(folder: Path, count: int) -> dict[str, Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    return {f"{i}": found[i % len(found)] for i in range(count)}


def generate_images(folder: Path) -> Path:
    generator = np.random.default_rng(0)
    for i in range(16):
        coarse = generator.integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(coarse).resize((512, 512), Image.Resampling.BICUBIC).save(folder / f"{i:02}.jpg", quality=90)
    return folder


def make_categories(source: Path, folder: Path, categories: int, count: int) -> list[tuple[Path, Path]]:
    """Index and root of each category; copies, so that an image is in an index once."""
    made = []
    for number in range(categories):
        root, index = folder / f"category{number}", folder / f"category{number}.csv"
        root.mkdir()
        rows = []
        for name, path in choose_images(source, count).items():
            (root / f"{name}{path.suffix}").write_bytes(path.read_bytes())
            rows.append(ImageRow(f"{name}{path.suffix}", "", "", 0, ""))
        write_index(index, add_digests(rows, root))
        made.append((index, root))
    return made


def time_batches(
    spec: Spec, categories: list[tuple[Path, Path]], weights_dir: Path | None, rounds: int
) -> tuple[float, float]:
    """Seconds of the stage's script: one process for each category, and one for all."""

    def run(*chosen: tuple[Path, Path]) -> None:
        given = ["--weights-dir", str(weights_dir)] if weights_dir else []
        for option, values in (
            ("--index", [index for index, _ in chosen]),
            ("--root", [root for _, root in chosen]),
            ("--features", [index.with_suffix(".h5") for index, _ in chosen]),
        ):
            given += [option, *map(str, values)]
        fixed = ["--spec", spec.canonical(), "--stage", "0", "--device", "cpu"]
        subprocess.run([sys.executable, SCRIPT, *given, *fixed], check=True, capture_output=True)

    each, together = float("inf"), float("inf")
    for _ in range(rounds):
        start = time.perf_counter()
        for category in categories:
            run(category)
        middle = time.perf_counter()
        run(*categories)
        each, together = min(each, middle - start), min(together, time.perf_counter() - middle)
    return each, together


def print_paces(paces: dict[str, dict[str, float]], specs: dict[str, Spec], threads: int) -> None:
    print(f"Images per second, {threads} threads, torch {torch.__version__}\n")
    kinds = ("together", "alone", "decode", "extraction", "workers")
    columns = [
        "forward together", "forward alone", "decode", "extraction", "extraction, workers",
        "of bound, together", "of bound, alone", "of forward together", "of forward alone",
    ]  # fmt: skip
    print("| backbone | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name, pace in paces.items():
        forwards = [pace["together"], pace["alone"]]
        bounds = [1 / (1 / forward + 1 / pace["decode"]) for forward in forwards]
        shares = [pace["extraction"] / reference for reference in bounds + forwards]
        cells = [f"{pace[kind]:.3g}" for kind in kinds] + [f"{share:.0%}" for share in shares]
        label = f"{name} (random weights)" if specs[name].weights == RANDOM else name
        print(f"| {label} | " + " | ".join(cells) + " |")
    if {"scattering", "resnet18"} <= set(paces):
        ratios = [f"{kind} {paces['scattering'][kind] / paces['resnet18'][kind]:.2f}" for kind in kinds]
        print(f"\nscattering / resnet18: {', '.join(ratios)}")


def print_batches(each: float, together: float, args: argparse.Namespace) -> None:
    print(f"\nOne job for {args.categories} categories of {args.category_count} images, resnet18\n")
    print("| jobs | seconds | saved |\n|---|---|---|")
    print(f"| one for each | {each:.1f} | - |")
    print(f"| one for all | {together:.1f} | {1 - together / each:.0%} |")


if __name__ == "__main__":
    main()
