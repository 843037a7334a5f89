"""How fast each backbone of the catalog turns pixels into layer maps, as extraction does it on a CPU.

usage: python benchmarks/backbones.py [ID ...] [--catalog configs/catalog.yaml] [--threads 2] [--batches 4] [--rounds 2]

Prints a Markdown table, a row as soon as it is measured: the layers' strides and dimensions, and images per second of
the forward pass alone (decoding and writing are in benchmarks/extraction.py). Weights are random, since speed does not
depend on them. Each thread takes a batch of its own, of the spec's batch size, at the spec's input size; the best round
counts, after one that does not.
"""

import argparse
import math
import time
from pathlib import Path

import torch
import yaml

from patchshift.features.backbones import build_backbone
from patchshift.features.forward import compute_maps, map_batches
from patchshift.plan.backbone_specs import BACKBONE, RANDOM, PretrainedSpec, ScatteringSpec
from patchshift.runtime.memory import keep_freed_memory
from patchshift.runtime.threads import limit_threads

CATALOG = Path(__file__).parents[1] / "configs" / "catalog.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ids", nargs="*", metavar="ID", help="default: all ids of the catalog but modules from files")
    parser.add_argument("--catalog", type=Path, default=CATALOG)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batches", type=int, default=4, help="a round's batches, shared out among the threads")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()

    keep_freed_memory()  # as the script of the stage does
    limit_threads(args.threads)
    entries = yaml.safe_load(args.catalog.read_text(encoding="utf-8"))["backbones"]
    specs = {name: BACKBONE.validate_python(entry) for name, entry in entries.items()}
    print(f"Images per second, {args.threads} threads, torch {torch.__version__}\n")
    print("| id | stride | dims | img/s |")
    print("|---|---|---|---|")
    for name in args.ids or specs:
        spec = specs[name]
        if not isinstance(spec, PretrainedSpec | ScatteringSpec):
            continue
        if isinstance(spec, PretrainedSpec):
            spec = spec.model_copy(update={"weights": RANDOM, "address": None, "checksum": None, "mirrors": []})
        shapes, pace = measure(spec, args.threads, args.batches, args.rounds)
        strides = ", ".join(str(stride(spec.input_size[0], rows)) for _, rows, _ in shapes)
        dims = ", ".join(" x ".join(map(str, shape)) for shape in shapes)
        print(f"| {name} | {strides} | {dims} | {pace:.1f} |", flush=True)


def measure(
    spec: PretrainedSpec | ScatteringSpec, threads: int, batches: int, rounds: int
) -> tuple[list[tuple[int, int, int]], float]:
    """The layers' (channels, rows, columns), and images per second."""
    backbone = build_backbone(spec)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (spec.batch_size, *spec.input_size, 3), dtype=torch.uint8, generator=generator)
    best = 0.0
    for number in range(rounds + 1):
        start = time.perf_counter()
        with map_batches(lambda _: compute_maps(backbone, pixels), range(batches), threads) as results:
            maps = list(results)
        if number:  # the first round finds its memory and its algorithms
            best = max(best, batches * spec.batch_size / (time.perf_counter() - start))
    shapes = [(channels, rows, columns) for _, rows, columns, channels in (values.shape for values in maps[0].values())]
    return shapes, best


def stride(side: int, rows: int) -> int:
    """Pixels from one place of a layer to the next; a layer that loses its rim has fewer places than fit the image."""
    return side // rows if side % rows == 0 else 2 ** round(math.log2(side / rows))


if __name__ == "__main__":
    main()
