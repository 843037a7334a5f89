"""One large category in many jobs, each within a given memory: peak memory and seconds of each rule.

usage: python benchmarks/sharding.py [--images 20000] [--shards 8] [--limit-mb 3000] [--size 192] [--vectors 2000]

Draws a category of textures in a temporary folder and runs a study of it by Snakemake, all stages up to the report, one
job at a time on each core. Each process has `RLIMIT_DATA` set to the limit: what it allocates, by the heap or by
private mappings, libraries' code left out (`RLIMIT_AS` would also count what torch merely reserves). A job that needs
more fails, and so does this benchmark. Peak memory is the resident set that each job reports itself (`log_level:
debug`): Snakemake's benchmark files look every half minute and miss peaks. With `--compare`, features are made and the
bank is fitted in one piece afterwards, without a limit; other features, or a covering radius more than four times as
large, are an error.
"""

import argparse
import csv
import filecmp
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
from PIL import Image
from workflow_copy import copy_workflow

CONFIG = """
study: sharding
question: Does a category of {images} images fit into jobs of {limit} MB?
data_dir: data
log_level: debug
add:
  datasets: {{made: {{adapter: mvtec_ad, folder: made, categories: [texture]}}}}
  backbones:
    waves_alone: &waves {{source: scattering, image_size: {size}, threads: 1}}
    waves: {{<<: *waves, shards: {shards}}}
  detectors:
    bank: &bank
      method: patchcore
      representation: {{logarithm: [first_order, second_order], normalise: whiten, shrinkage: 0.5}}
      sampler: {{count: {vectors}}}
      memory_mb: {memory}
      chunk_mb: 128
      threads: 1
      shards: {shards}
    bank_alone: {{<<: *bank, shards: 1, memory_mb: 100000}}
select: {{splits: [source_plan], backbones: [waves], detectors: [bank], thresholds: [f1_max]}}
experiments: {{clean: {{title: "One large category", train: [made]}}}}
"""

FACTOR = 4  # of the best covering radius, which no choice can undercut
BANK = "made/texture/clean/source_plan/{}/{}/seed0"
PEAK = re.compile(r"DEBUG done in \S+ s, peak memory (\d+) MB")


def draw_category(folder: Path, images: int, size: int) -> None:
    """Smooth noise on a weave whose pitch and light differ; a tenth has a bright scratch, with its mask."""
    random = np.random.default_rng(0)
    defective = max(4, images // 10)
    test_good = max(4, images // 10)
    counts = {"train/good": images - defective - test_good, "test/good": test_good, "test/scratch": defective}
    place = np.arange(size, dtype=np.float32)
    for part, count in counts.items():
        (folder / part).mkdir(parents=True)
        for number in range(count):
            coarse = Image.fromarray(random.integers(90, 160, (size // 8, size // 8, 3), np.uint8))
            pixels = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)).astype(np.float32)
            pitch, phase = random.uniform(5, 7), random.uniform(0, 6)
            pixels += 20 * np.sin(2 * np.pi * place / pitch + phase)[:, None, None]
            pixels += 20 * np.sin(2 * np.pi * place / pitch - phase)[None, :, None]
            if part == "test/scratch":
                mask = np.zeros((size, size), np.uint8)
                row, column = random.integers(8, size - 12, 2)
                mask[row : row + 4, : column + 4] = 255
                pixels[mask > 0] += 60
                (folder / "ground_truth/scratch").mkdir(parents=True, exist_ok=True)
                Image.fromarray(mask).save(folder / f"ground_truth/scratch/{number:06}_mask.png", compress_level=1)
            image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
            image.save(folder / part / f"{number:06}.png", compress_level=1)


def read_costs(results: Path, *, alone: bool = False) -> dict[str, list[tuple[float, float]]]:
    """Rule -> seconds and peak memory in MB of each of its jobs; memory is NaN where a job does not tell.

    Of the study, or of what was made in one piece.
    """
    costs: dict[str, list[tuple[float, float]]] = {}
    for path in sorted((results / "benchmarks").rglob("*.tsv")):
        place = path.relative_to(results / "benchmarks")
        if ("waves_alone" in place.as_posix()) != alone:
            continue
        with path.open(encoding="utf-8") as file:
            (row,) = csv.DictReader(file, delimiter="\t")
        log = (results / "logs" / place).with_suffix(".log")
        told = PEAK.findall(log.read_text(encoding="utf-8")) if log.is_file() else []
        costs.setdefault(place.parts[0], []).append((float(row["s"]), float(told[-1]) if told else float("nan")))
    return costs


def run(folder: Path, *targets: str, limit_mb: int | None, cores: int) -> float:
    """Seconds that Snakemake takes."""

    def limit() -> None:
        if limit_mb:
            resource.setrlimit(resource.RLIMIT_DATA, (limit_mb * 1_000_000,) * 2)

    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    own = {"PATH": path, "PYTHONPATH": str(folder / "workflow_scripts")}
    program = str(Path(sys.executable).with_name("snakemake"))
    command = [program, *targets, "--cores", str(cores), "--quiet", "all"]
    start = time.monotonic()
    subprocess.run(command, cwd=folder, env=os.environ | own, check=True, preexec_fn=limit)
    return time.monotonic() - start


def read_radius(bank: Path) -> float:
    with h5py.File(bank) as file:
        return float(file["model/covering_radius"][()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--size", type=int, default=192, help="pixels of an image's side; a multiple of 16")
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--vectors", type=int, default=2000, help="of the memory bank")
    parser.add_argument("--memory-mb", type=int, default=1000, help="memory_mb of the detector")
    parser.add_argument("--limit-mb", type=int, default=3000, help="of each process")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where to work, and to leave all; default: a temporary folder")
    parser.add_argument("--compare", action="store_true", help="also in one piece, without a limit")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.folder or Path(temporary)) / "study"
        settings = {"images": args.images, "size": args.size, "shards": args.shards, "vectors": args.vectors}
        copy_workflow(folder, CONFIG.format(**settings, limit=args.limit_mb, memory=args.memory_mb))
        draw_category(folder / "data/made/texture", args.images, args.size)
        seconds = run(folder, "all", limit_mb=args.limit_mb, cores=args.cores)
        results = folder / "results"
        print(f"{args.images:,} images, {args.shards} shards, {args.limit_mb} MB for each process: {seconds:.0f} s\n")
        print("| rule | jobs | longest, s | all, s | peak memory, MB |\n|---|---|---|---|---|")
        for rule, jobs in sorted(read_costs(results).items(), key=lambda item: -max(peak for _, peak in item[1])):
            times, peaks = zip(*jobs, strict=True)
            print(f"| {rule} | {len(jobs)} | {max(times):.1f} | {sum(times):.0f} | {max(peaks):.0f} |")
        store, bank = results / "features/made/texture/clean/waves.h5", BANK.format("waves", "bank")
        radius = read_radius(results / f"banks/{bank}.h5")
        print(f"\nfeatures {store.stat().st_size / 1e9:.2f} GB, covering radius {radius:.4f}")
        if args.compare:
            alone = BANK.format("waves_alone", "bank_alone")
            seconds = run(folder, f"results/banks/{alone}.h5", limit_mb=None, cores=args.cores)
            equal = filecmp.cmp(store, store.with_name("waves_alone.h5"), shallow=False)
            alone_radius = read_radius(results / f"banks/{alone}.h5")
            features = "the same features" if equal else "OTHER FEATURES"
            print(f"in one piece: {features}, covering radius {alone_radius:.4f}, {seconds:.0f} s")
            for rule, jobs in read_costs(results, alone=True).items():
                print(f"{rule}: {jobs[0][0]:.0f} s, {jobs[0][1]:.0f} MB")
            if not equal or radius > FACTOR * alone_radius:
                sys.exit("shards changed features, or cover worse than they promise")


if __name__ == "__main__":
    main()
