"""What one more image costs each stage of a study: seconds, memory, bytes; and what that makes of many images.

usage: python benchmarks/scale.py [--images 500] [--factor 4] [--vectors 2000] [--weights-dir FOLDER] [--cores 1]

One study of two categories of made images, the second `factor` times as large as the first, is run by Snakemake in a
temporary folder. A stage's price is a start and a price per image, from its two jobs. With `--weights-dir` a ResNet18
of two layers (resnet18_layer3.safetensors) takes the place of the scattering transform.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image
from workflow_copy import copy_workflow

SIZE = 256  # pixels of a made image's side
SHARES = {"good": 0.9, "defect/scratch": 0.1}

CONFIG = """
study: scale
question: What does one more image cost?
data_dir: data
weights_dir: {weights_dir}
add:
  datasets: {{made: {{adapter: folder, folder: made, categories: [few, many]}}}}
  backbones:
    network:
      source: torchvision
      model: resnet18
      weights: resnet18_layer3.safetensors
      layers: [layer2, layer3]
      threads: 1
  detectors:
    bank: {{method: patchcore, sampler: {{count: {vectors}, projection: 128}}, threads: 1}}
select: {{splits: [source_plan], backbones: [{backbone}], detectors: [bank], thresholds: [f1_max]}}
experiments: {{clean: {{title: "Made images", train: [made]}}}}
"""


def draw_category(folder: Path, images: int, seed: int) -> None:
    """Smooth noise; a bright line in those with a scratch, whose masks lie where adapter `folder` looks for them."""
    random = np.random.default_rng(seed)
    for part, share in SHARES.items():
        (folder / part).mkdir(parents=True)
        for number in range(round(images * share)):
            coarse = Image.fromarray(random.integers(90, 160, (32, 32, 3), np.uint8))
            pixels = np.asarray(coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC)).copy()
            if part == "defect/scratch":
                row, column = random.integers(20, SIZE - 20, 2)
                mask = np.zeros((SIZE, SIZE), np.uint8)
                mask[row : row + 6, : column + 20] = 255
                pixels[mask > 0] = 230
                (folder / "masks/scratch").mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(folder / f"masks/scratch/{number:06}.png")
            Image.fromarray(pixels).save(folder / part / f"{number:06}.png")


def read_costs(study: Path) -> dict[str, dict[str, tuple[float, float]]]:
    """Rule -> category -> seconds and peak memory in MB, from Snakemake's benchmark files."""
    costs: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    for path in sorted((study / "results/benchmarks").rglob("*.tsv")):
        rule, *place = path.relative_to(study / "results/benchmarks").with_suffix("").parts
        category = next((name for name in ("few", "many") if name in place), None)
        if category:
            with path.open(encoding="utf-8") as file:
                (row,) = csv.DictReader(file, delimiter="\t")
            costs[rule][category] = float(row["s"]), float(row["max_rss"])
    return costs


def measure_sizes(study: Path, category: str) -> dict[str, int]:
    """Kind of artifact -> bytes of those of one category."""
    sizes: dict[str, int] = defaultdict(int)
    for path in (study / "results").rglob("*"):
        parts = path.relative_to(study / "results").parts
        if path.is_file() and (category in parts or path.stem == category) and parts[0] not in ("benchmarks", "logs"):
            sizes[parts[0]] += path.stat().st_size
    return sizes


def run_study(args: argparse.Namespace, study: Path) -> None:
    draw_category(study / "data/made/few", args.images, 1)
    draw_category(study / "data/made/many", args.images * args.factor, 2)
    weights_dir = args.weights_dir.resolve() if args.weights_dir else "weights"
    config = CONFIG.format(
        weights_dir=weights_dir, vectors=args.vectors, backbone="network" if args.weights_dir else "scattering"
    )
    copy_workflow(study, config)
    command = [sys.executable, "-m", "snakemake", "--cores", str(args.cores), "all"]
    environment = os.environ | {"PYTHONPATH": str(study / "workflow_scripts")}
    subprocess.run(command, cwd=study, env=environment, check=True, stdout=sys.stderr)


def print_costs(args: argparse.Namespace, study: Path) -> None:
    more = args.images * (args.factor - 1)
    print(f"{args.images:,} and {args.images * args.factor:,} images, {args.vectors:,} vectors, {args.cores} cores\n")
    print("| rule | start, s | ms per image | peak memory, MB, few | many | 1 million images, core hours |")
    print("|---|---|---|---|---|---|")
    for rule, costs in read_costs(study).items():
        if len(costs) == 2:
            (few, few_memory), (many, many_memory) = costs["few"], costs["many"]
            each = (many - few) / more
            print(
                f"| `{rule}` | {max(0, few - each * args.images):.1f} | {1000 * each:.2f} | {few_memory:,.0f} | "
                f"{many_memory:,.0f} | {each * 1e6 / 3600:,.1f} |"
            )
    few_sizes, many_sizes = measure_sizes(study, "few"), measure_sizes(study, "many")
    print("\n| results/ | bytes per image | beside that, kB | 1 million images, GB |")
    print("|---|---|---|---|")
    for kind, size in sorted(many_sizes.items(), key=lambda item: -item[1]):
        each = (size - few_sizes[kind]) / more
        print(f"| `{kind}` | {each:,.0f} | {(few_sizes[kind] - each * args.images) / 1e3:,.0f} | {each / 1e3:,.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--factor", type=int, default=4)
    parser.add_argument("--vectors", type=int, default=2000)
    parser.add_argument("--weights-dir", type=Path)
    parser.add_argument("--cores", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run_study(args, Path(folder))
        print_costs(args, Path(folder))


if __name__ == "__main__":
    main()
