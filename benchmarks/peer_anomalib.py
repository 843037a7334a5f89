"""What anomalib does, timed: run by `peers.py` with the Python of an environment that has anomalib.

usage: python benchmarks/peer_anomalib.py {coreset,patchcore,padim} ... > JSON

Only anomalib's own classes are called, without its training engine: its time is that of the work alone.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow_scripts"))

from patchshift.runtime.torchvision_guard import make_torchvision_importable

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 32  # anomalib's default


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["coreset", "patchcore", "padim"])
    parser.add_argument("input", type=Path, help="points or vectors (.npy), or JSON with lists of images")
    parser.add_argument("--share", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()
    make_torchvision_importable()  # beside a CPU build of torch; anomalib, imported below, needs it
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    np.random.seed(args.seed)  # noqa: NPY002 - what anomalib's projection draws from
    run = {"coreset": choose_coreset, "patchcore": fit_and_score, "padim": fit_gaussians}[args.what]
    print(json.dumps(run(args)))


def choose_coreset(args: argparse.Namespace) -> dict[str, object]:
    from anomalib.models.components import KCenterGreedy

    points = torch.from_numpy(np.load(args.input))
    start = time.perf_counter()
    picks = KCenterGreedy(points, args.share).select_coreset_idxs()
    return {"seconds": time.perf_counter() - start, "picks": [int(pick) for pick in picks]}


def fit_gaussians(args: argparse.Namespace) -> dict[str, object]:
    from anomalib.models.components.stats import MultiVariateGaussian

    vectors = torch.from_numpy(np.load(args.input))  # [N, D, rows, columns]
    seconds = []
    for _ in range(args.repeats):
        model = MultiVariateGaussian()
        start = time.perf_counter()
        model.fit(vectors)
        seconds.append(time.perf_counter() - start)
    return {"seconds": min(seconds)}


def fit_and_score(args: argparse.Namespace) -> dict[str, object]:
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    plan = json.loads(args.input.read_text())
    start = time.perf_counter()
    model = PatchcoreModel(layers=("layer2", "layer3"), backbone="resnet18", pre_trained=False, num_neighbors=9)
    model.feature_extractor.feature_extractor.load_state_dict(load_file(plan["weights"]))
    model.train()
    model.feature_extractor.eval()
    for batch in read_batches(plan["train"]):
        model(batch)
    model.subsample_embedding(args.share)
    fitted = time.perf_counter() - start
    model.eval()
    scores = [float(score) for batch in read_batches(plan["test"]) for score in model(batch).pred_score]
    return {"seconds": time.perf_counter() - start, "fit_seconds": fitted, "scores": scores}


def read_batches(paths: list[str]):
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (MEAN, STD))
    for first in range(0, len(paths), BATCH):
        images = []
        for path in paths[first : first + BATCH]:
            with Image.open(path) as image:
                resized = np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
            images.append((torch.from_numpy(resized.copy()).permute(2, 0, 1) / 255 - mean) / std)
        yield torch.stack(images)


if __name__ == "__main__":
    main()
