"""Ours beside anomalib and the loop of patchcore-inspection: seconds, ratios and covering radii from one run.

usage: python benchmarks/peers.py --data MTD --weights-dir FOLDER --peer PYTHON [--parts coreset end_to_end padim]

PYTHON is that of an environment of its own with `pip install anomalib==2.7.0`: it is optional, and nothing else here
needs it. MTD is the folder of Magnetic Tile Defects, FOLDER holds the ImageNet weights of ResNet18.

- `coreset`: 1 % of the patches of 300 images (ResNet18, layers 2 and 3: 235,200 x 384). Ours projects to 128
  and to 192 dimensions, anomalib by its own rule to 305, patchcore-inspection to 128 with ten starts (written anew
  from its published code, in torch). Radii are measured in the space that is not projected; of the time the fastest
  seed counts, because other programs only ever slow things down.
- `end_to_end`: 300 images are fitted, 200 scored, from image files to scores. Ours is the workflow itself, from
  listing images on, with every start of Python; anomalib is its model alone, without its training engine.
- `padim`: Gaussians at 28 x 28 positions of 100 numbers from 300 images, float32 in memory.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from padim import fit
from workflow_copy import copy_workflow

from patchshift.detectors.coreset import covering_radius
from patchshift.detectors.patches import embed
from patchshift.detectors.samplers import choose
from patchshift.features.extraction import Extractor
from patchshift.features.representations import fit_representation
from patchshift.features.store import FeatureStore
from patchshift.plan.backbone_specs import PretrainedSpec
from patchshift.plan.representation_specs import RepresentationSpec
from patchshift.plan.sampling_specs import SamplerSpec
from patchshift.runtime.threads import limit_threads

ROOT = Path(__file__).parents[1]

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

WEIGHTS = "resnet18_layer3.safetensors"
TRAIN, TEST_GOOD, TEST_DEFECT = 300, 80, 120
PROJECTIONS = (128, 192)
PUBLISHED_STARTS, PUBLISHED_PROJECTION = 10, 128

CONFIG = """
study: peers
question: How long does it take?
add:
  datasets: {{tiles: {{adapter: mvtec_ad, categories: [tiles], folder: ., masks: optional}}}}
  backbones: {{network: {{source: torchvision, model: resnet18, weights: {weights}, layers: [layer2, layer3]}}}}
  detectors: {{bank: {{method: patchcore, sampler: {{share: 0.01, projection: {projection}}}}}}}
select: {{splits: [published], backbones: [network], detectors: [bank], thresholds: [f1_max]}}
experiments: {{all: {{title: All, train: [tiles]}}}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of Magnetic Tile Defects")
    parser.add_argument("--weights-dir", type=Path, required=True, help="folder of ResNet18's weights")
    parser.add_argument("--peer", type=Path, required=True, help="Python of an environment with anomalib")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=5, help="of the coresets")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    limit_threads(args.threads)
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        for part in args.parts:
            print(f"\n## {part}\n", flush=True)
            PARTS[part](args, Path(folder))


def compare_coresets(args: argparse.Namespace, folder: Path) -> None:
    points = embed_images(args, folder)
    path = folder / "points.npy"
    np.save(path, points)
    ours = {f"ours, projected to {dimension}": dimension for dimension in PROJECTIONS}
    rows: dict[str, list[tuple[float, float]]] = {name: [] for name in (*ours, "patchcore-inspection", "anomalib")}
    for seed in range(args.seeds):
        for name, dimension in ours.items():
            spec = SamplerSpec(share=0.01, projection=dimension)
            (vectors, _), seconds = timed(lambda: choose(spec, points, images=TRAIN, seed=seed))  # noqa: B023
            rows[name].append((seconds, radius_of(points, vectors)))
        if seed == 0:
            picks, seconds = timed(lambda: published_loop(points, len(vectors), seed))  # noqa: B023
            rows["patchcore-inspection"].append((seconds, covering_radius(points, picks)))
        answer = ask_peer(args, "coreset", path, "--seed", str(seed))
        rows["anomalib"].append((answer["seconds"], covering_radius(points, np.array(answer["picks"]))))
        print({name: measured[-1] for name, measured in rows.items()}, file=sys.stderr, flush=True)
    fastest = {name: min(seconds for seconds, _ in measured) for name, measured in rows.items()}
    least = min(fastest.values())
    reference = np.mean([radius for _, radius in rows["anomalib"]])
    print(f"{len(points):,} x {points.shape[1]} float32, {args.threads} threads, 1 %\n")
    print("| method | seeds | seconds, the fastest | relative to the first | mean covering radius | of anomalib's |")
    print("|---|---|---|---|---|---|")
    for name, measured in rows.items():
        radius = np.mean([radius for _, radius in measured])
        print(
            f"| {name} | {len(measured)} | {fastest[name]:.2f} | {fastest[name] / least:.1f} | {radius:.4f} | "
            f"{radius / reference:.4f} |"
        )


def compare_end_to_end(args: argparse.Namespace, folder: Path) -> None:
    images = sorted((args.data / "MT_Free/Imgs").glob("*.jpg"))
    defects = sorted(args.data.glob("MT_[!F]*/Imgs/*.jpg"))
    parts = {"train/good": images[:TRAIN], "test/good": images[TRAIN : TRAIN + TEST_GOOD]}
    parts["test/defect"] = defects[:: len(defects) // TEST_DEFECT][:TEST_DEFECT]
    for part, paths in parts.items():
        (folder / "data/tiles" / part).mkdir(parents=True)
        for path in paths:
            (folder / "data/tiles" / part / path.name).symlink_to(path.resolve())
    copy_workflow(folder, CONFIG.format(weights=WEIGHTS, projection=PROJECTIONS[0]))
    target = "results/scores/tiles/tiles/clean/published/network/bank/seed0/on/tiles/tiles/clean.h5"
    snakemake = [sys.executable, "-m", "snakemake", "--cores", str(args.threads), target, "--config"]
    snakemake += [f"weights_dir={args.weights_dir.resolve()}", f"data_dir={folder / 'data'}"]
    environment = os.environ | {"PYTHONPATH": str(folder / "workflow_scripts")}  # what is copied, not what is installed
    _, ours = timed(lambda: subprocess.run(snakemake, cwd=folder, env=environment, check=True, capture_output=True))
    lists = folder / "images.json"
    tested = [*parts["test/good"], *parts["test/defect"]]
    plan = {"weights": args.weights_dir / WEIGHTS, "train": parts["train/good"], "test": tested}
    lists.write_text(json.dumps(plan, default=lambda path: str(path.resolve())), encoding="utf-8")
    answer = ask_peer(args, "patchcore", lists)
    print("| method | seconds | relative to ours |")
    print("|---|---|---|")
    print(f"| ours, the workflow | {ours:.1f} | 1.0 |")
    print(f"| anomalib, its model alone | {answer['seconds']:.1f} | {answer['seconds'] / ours:.1f} |")


def compare_gaussians(args: argparse.Namespace, folder: Path) -> None:
    vectors = np.random.default_rng(0).gamma(1, 0.5, (300, 784, 100)).astype(np.float32)
    path = folder / "vectors.npy"
    np.save(path, np.ascontiguousarray(vectors.transpose(0, 2, 1)).reshape(300, 100, 28, 28))
    ours = min(timed(lambda: fit(vectors))[1] for _ in range(7))
    theirs = ask_peer(args, "padim", path, "--repeats", "5")["seconds"]
    ours = min(ours, *(timed(lambda: fit(vectors))[1] for _ in range(7)))  # before and after: the same load for both
    print("| method | seconds | relative to ours |")
    print("|---|---|---|")
    print(f"| ours | {ours:.3f} | 1.0 |")
    print(f"| anomalib | {theirs:.3f} | {theirs / ours:.1f} |")


PARTS: dict[str, Callable[[argparse.Namespace, Path], None]] = {
    "coreset": compare_coresets,
    "end_to_end": compare_end_to_end,
    "padim": compare_gaussians,
}


def embed_images(args: argparse.Namespace, folder: Path) -> Float32:
    spec = PretrainedSpec(source="torchvision", model="resnet18", weights=WEIGHTS, layers=["layer2", "layer3"])
    images = sorted((args.data / "MT_Free/Imgs").glob("*.jpg"))[:TRAIN]
    features = folder / "features.h5"
    Extractor(spec, weights_dir=args.weights_dir).extract({path.name: path for path in images}, features, provenance={})
    with FeatureStore(features) as store:
        rows = store.select(store.images)
        return embed(fit_representation(RepresentationSpec(), rows), rows)


def published_loop(points: Float32, size: int, seed: int) -> Int64:
    """Greedy k-centre as patchcore-inspection publishes it: a pass over all points for each pick."""
    generator = torch.Generator().manual_seed(seed)
    all_points = torch.from_numpy(points)
    directions = torch.rand(points.shape[1], PUBLISHED_PROJECTION, generator=generator) * 2 - 1
    projected = all_points @ (directions / points.shape[1] ** 0.5)

    def distances(others: torch.Tensor) -> torch.Tensor:
        squares = projected.square().sum(1, keepdim=True) + others.square().sum(1) - 2 * projected @ others.T
        return squares.clamp(0).sqrt()

    starts = torch.randperm(len(points), generator=generator)[:PUBLISHED_STARTS]
    nearest = distances(projected[starts]).mean(1, keepdim=True)
    picks = []
    for _ in range(size):
        pick = int(nearest.argmax())
        picks.append(pick)
        nearest = torch.cat([nearest, distances(projected[pick : pick + 1])], 1).min(1, keepdim=True).values
    return np.array(picks)


def radius_of(points: Float32, vectors: Float32) -> float:
    """Covering radius of vectors that are points, in the space that is not projected."""
    chosen = {vector.tobytes() for vector in vectors}
    return covering_radius(points, np.array([row for row, point in enumerate(points) if point.tobytes() in chosen]))


def ask_peer(args: argparse.Namespace, what: str, path: Path, *options: str) -> dict[str, Any]:
    script = [str(args.peer), str(ROOT / "benchmarks/peer_anomalib.py"), what, str(path), *options]
    run = subprocess.run([*script, "--threads", str(args.threads)], check=True, capture_output=True, text=True)
    return dict(json.loads(run.stdout.splitlines()[-1]))


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


if __name__ == "__main__":
    main()
