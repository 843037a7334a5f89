"""How fast domains are shifted, and how much of the bare work's pace that is.

usage: python benchmarks/shifts.py [--images FOLDER] [--count 64] [--workers 1 2] [--rounds 3]

Prints a Markdown table. `decode`, `transform` and `encode` are one thread's milliseconds for an image, each done alone:
reading the file into RGB, `shift_image`, and PNG as `synthesize_shift` writes it, without reading or writing anything
else. `bare` is what that amounts to in images per second, times the number of workers. All kinds are timed in turn,
several times, and the best time of each counts: other programs on the machine only ever slow things down.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from threadpoolctl import threadpool_limits

from patchshift.data.images import read_image
from patchshift.data.index import ImageRow
from patchshift.data.shifts import encode_png, shift_image, synthesize_shift
from patchshift.plan.domain_specs import DomainSpec
from patchshift.runtime.files import digest_file
from patchshift.runtime.memory import keep_freed_memory

Result = TypeVar("Result")

SHIFTS = ("photometric", "geometric", "mixed")
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"}
SIDE = 1024
BARE = 8  # images that the bare work is timed on


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help=f"folder of images; default: generated, {SIDE} x {SIDE}")
    parser.add_argument(
        "--count", type=int, default=64, help="images to shift, at least 8; repeated if there are fewer"
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    keep_freed_memory()  # as the script of the stage does; it helps the bare work as much
    print("| input | shift | decode, ms | transform, ms | encode, ms | workers | images/s | bare | of bare |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        inputs = {"own": args.images} if args.images else generate_images(Path(folder))
        for name, root in inputs.items():
            rows = choose_rows(root, args.count)
            for shift in SHIFTS:
                spec = DomainSpec.model_validate({"shift": shift, "severity": "moderate", "seed": 0})
                for line in measure(rows, root, spec, args.workers, args.rounds):
                    print(f"| {name} | {shift} {line}", flush=True)


def measure(rows: list[ImageRow], root: Path, spec: DomainSpec, workers: list[int], rounds: int) -> Iterator[str]:
    """A table row for each number of workers."""
    seconds: dict[str, float] = {}
    for _ in range(rounds):
        time_once(seconds, rows, root, spec, workers)
    parts = [np.mean([seconds[f"{part} {n}"] for n in range(BARE)]) for part in ("decode", "transform", "encode")]
    times = " | ".join(f"{1000 * part:.0f}" for part in parts)
    for count in workers:
        pace, bare = 1 / seconds[f"{count}"], count / sum(parts)
        yield f"| {times} | {count} | {pace:.1f} | {bare:.1f} | {pace / bare:.0%} |"


def time_once(
    seconds: dict[str, float], rows: list[ImageRow], root: Path, spec: DomainSpec, workers: list[int]
) -> None:
    """Time each kind of work, per image, and keep the shortest time of each."""

    def keep_best(kind: str, items: int, run: Callable[[], Result]) -> Result:
        start = time.perf_counter()
        result = run()
        seconds[kind] = min(seconds.get(kind, np.inf), (time.perf_counter() - start) / items)
        return result

    with threadpool_limits(1):
        for n, row in enumerate(rows[:BARE]):
            image = keep_best(f"decode {n}", 1, partial(read_image, root / row.image))
            shifted, _ = keep_best(f"transform {n}", 1, partial(shift_image, image, [], row.digest, spec))
            keep_best(f"encode {n}", 1, partial(encode_png, shifted))
    for count in workers:
        with tempfile.TemporaryDirectory() as folder:
            keep_best(f"{count}", len(rows), partial(synthesize_shift, rows, root, spec, Path(folder), workers=count))


def choose_rows(root: Path, count: int) -> list[ImageRow]:
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
    rows = [ImageRow(path.relative_to(root).as_posix(), "", "", 0, "", digest=digest_file(path)) for path in found]
    return [rows[number % len(rows)] for number in range(count)]


def generate_images(folder: Path) -> dict[str, Path]:
    """Colour photographs as far as files can tell: soft shapes, fine texture and sensor noise."""
    generator = np.random.default_rng(0)
    for number in range(16):
        layers = [
            np.asarray(
                Image.fromarray(generator.integers(0, 256, (side, side, 3), np.uint8)).resize(
                    (SIDE, SIDE), Image.Resampling.BICUBIC
                ),
                np.float32,
            )
            for side in (24, 256)
        ]
        values = 0.7 * layers[0] + 0.1 * layers[1] + generator.normal(20, 3, layers[0].shape)
        picture = Image.fromarray(values.clip(0, 255).astype(np.uint8))
        for suffix, options in (("png", {}), ("jpg", {"quality": 92})):
            path = folder / suffix / f"{number:02}.{suffix}"
            path.parent.mkdir(exist_ok=True)
            picture.save(path, **options)
    return {"PNG": folder / "png", "JPEG": folder / "jpg"}


if __name__ == "__main__":
    main()
