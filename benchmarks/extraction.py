"""How fast images become features, and how much of that the forward pass alone would take.

usage: python benchmarks/extraction.py [--images FOLDER] [--weights-dir FOLDER] [--count 640] [--threads 2]

Prints a Markdown table. `forward` is the backbone alone on random batches, by the way that threads are used: `alone`
gives each thread its own batch (as extraction does), `together` lets all threads work on one batch (torch's default).
`decode` reads and resizes images and does nothing else. `bound` is 1 / (1 / forward + 1 / decode), what the same cores
can reach at best, for either way of the forward pass; `extraction` also builds the backbone, which weighs on small
counts. All kinds are timed in turn, several times, and the best time of each counts: other programs on the machine only
ever slow things down.
"""

import argparse
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
from patchshift.features.backbones import build_backbone
from patchshift.features.extraction import extract_features
from patchshift.plan.backbone_specs import PretrainedSpec, ScatteringSpec
from patchshift.runtime.memory import keep_freed_memory
from patchshift.runtime.threads import limit_threads

Item = TypeVar("Item")

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="folder of images; default: generated, 512 x 512 JPEG")
    parser.add_argument("--weights-dir", type=Path, help="folder of resnet18_layer3.safetensors; default: no resnet18")
    parser.add_argument("--count", type=int, default=640, help="how many images to use, repeated if there are fewer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    keep_freed_memory()  # as the script of the stage does; it helps the forward pass alone as much
    limit_threads(args.threads)
    specs: dict[str, ScatteringSpec | PretrainedSpec] = {
        "scattering": ScatteringSpec(source="scattering", threads=args.threads)
    }
    if args.weights_dir:
        specs["resnet18"] = PretrainedSpec(
            source="torchvision",
            model="resnet18",
            weights="resnet18_layer3.safetensors",
            layers=["layer2", "layer3"],
            threads=args.threads,
        )
    with tempfile.TemporaryDirectory() as folder:
        images = choose_images(args.images or generate_images(Path(folder)), args.count)
        paces = {
            name: measure(spec, images, Path(folder) / "store.h5", args.weights_dir, args.rounds)
            for name, spec in specs.items()
        }
    print_table(paces, args.threads)


def measure(
    spec: ScatteringSpec | PretrainedSpec, images: dict[str, Path], store: Path, weights_dir: Path | None, rounds: int
) -> dict[str, float]:
    """Images per second of each kind of work."""
    backbone = build_backbone(spec, weights_dir=weights_dir)
    batch = torch.rand(spec.batch_size, 3, spec.image_size, spec.image_size)
    batch = batch.contiguous(memory_format=torch.channels_last)  # as decoded images lie in memory

    def forward(_: int) -> None:
        with torch.inference_mode():
            backbone(batch)

    def decode(path: Path) -> None:
        read_resized(path, spec.input_size)

    def extract() -> None:
        extract_features(spec, images, store, weights_dir=weights_dir, provenance={})

    batches = range(-(-len(images) // spec.batch_size))
    computed = len(batches) * spec.batch_size
    kinds: dict[str, tuple[int, Callable[[], object]]] = {
        "together": (computed, lambda: [forward(i) for i in batches]),
        "alone": (computed, lambda: in_threads(forward, batches, spec.threads)),
        "decode": (len(images), lambda: in_threads(decode, images.values(), spec.threads)),
        "extraction": (len(images), extract),
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


def print_table(paces: dict[str, dict[str, float]], threads: int) -> None:
    print(f"Images per second, {threads} threads, torch {torch.__version__}\n")
    kinds = ("together", "alone", "decode", "extraction")
    columns = [
        "forward together", "forward alone", "decode", "extraction",
        "of bound, together", "of bound, alone", "of forward together", "of forward alone",
    ]  # fmt: skip
    print("| backbone | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name, pace in paces.items():
        forwards = [pace["together"], pace["alone"]]
        bounds = [1 / (1 / forward + 1 / pace["decode"]) for forward in forwards]
        shares = [pace["extraction"] / reference for reference in bounds + forwards]
        cells = [f"{pace[kind]:.0f}" for kind in kinds]
        print(f"| {name} | " + " | ".join(cells + [f"{share:.0%}" for share in shares]) + " |")
    if len(paces) == 2:
        ratios = [f"{kind} {paces['scattering'][kind] / paces['resnet18'][kind]:.2f}" for kind in paces["scattering"]]
        print(f"\nscattering / resnet18: {', '.join(ratios)}")


if __name__ == "__main__":
    main()
