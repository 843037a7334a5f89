"""How far features, scores and AUROC differ between a CPU and CUDA, and between two libraries on one CPU.

usage: python benchmarks/devices.py --data MTD --weights-dir FOLDER [--train 200] [--test 400] [--threads 2]

Each way computes the features of the same images. `onednn` is torch's usual one on a CPU, and what the others are
compared with. `native` is the same CPU without oneDNN: other algorithms that sum in another order, all in float32.
`cuda` needs a card, and `cuda, float16` is that card under autocast.

Printed for each way: the largest difference of a feature, relative to the largest feature of its layer, and the root of
the mean square of all differences, relative to that of the features; both beside 2^-11, half a step of the float16 that
stores keep. Then the largest relative difference of an image score, with the bank fitted on the reference's features,
and image AUROC, once with that bank and once with a bank fitted on the way's own features, whose coreset may be
another. Images per second are of the whole extraction, one run each.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow_scripts"))

from patchshift.detectors.bank import Bank
from patchshift.detectors.fit import fit_detector
from patchshift.evaluation.image_metrics import image_auroc
from patchshift.features.extraction import Extractor
from patchshift.features.store import FeatureStore
from patchshift.plan.backbone_specs import PretrainedSpec
from patchshift.plan.detector_specs import PatchCoreSpec
from patchshift.plan.sampling_specs import SamplerSpec
from patchshift.plan.score_specs import ScoringSpec
from patchshift.runtime.threads import limit_threads

Float32 = npt.NDArray[np.float32]

BACKBONES = {
    "resnet18": ("resnet18_layer3.safetensors", ["layer2", "layer3"]),
    "squeezenet1_1": ("squeezenet1_1.safetensors", ["features.7", "features.12"]),
}
REFERENCE = "onednn"
WAYS = {REFERENCE: ("cpu", "float32"), "native": ("cpu", "float32")}
CARDS = {"cuda": ("cuda", "float32"), "cuda, float16": ("cuda", "float16")}
DETECTOR = PatchCoreSpec(method="patchcore", sampler=SamplerSpec(share=0.02))
CHUNK = 32  # images compared at a time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of Magnetic Tile Defects")
    parser.add_argument("--weights-dir", type=Path, required=True, help="folder of the weights of both backbones")
    parser.add_argument("--train", type=int, default=200, help="tiles without a defect that banks are fitted on")
    parser.add_argument("--test", type=int, default=400, help="tiles scored, half of them with a defect")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    limit_threads(args.threads)
    card = torch.cuda.is_available()
    ways = WAYS | (CARDS if card else {})
    train, test = choose_images(args.data, args.train, args.test)
    print(f"torch {torch.__version__}; {torch.cuda.get_device_name() if card else 'no CUDA device: CPU alone'}\n")
    print("| backbone | way | largest | root mean square | score | AUROC | own bank | images/s |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for model in BACKBONES:
            compare(model, ways, train, test, Path(folder), args)
    print(f"\n2^-11 = {2**-11:.1e}; {len(train)} tiles fitted, {len(test)} scored")


def choose_images(data: Path, train: int, test: int) -> tuple[dict[str, Path], dict[str, Path]]:
    """Images to fit on, and images to score, by their keys."""
    good = sorted((data / "MT_Free/Imgs").glob("*.jpg"))[: train + test // 2]
    defective = sorted(data.glob("MT_[!F]*/Imgs/*.jpg"))
    defective = defective[:: max(1, len(defective) // (test // 2))][: test // 2]
    keys = {f"good/{path.name}": path for path in good} | {f"defect/{path.name}": path for path in defective}
    names = list(keys)
    return {name: keys[name] for name in names[:train]}, {name: keys[name] for name in names[train:]}


def compare(
    model: str,
    ways: Mapping[str, tuple[str, str]],
    train: dict[str, Path],
    test: dict[str, Path],
    folder: Path,
    args: argparse.Namespace,
) -> None:
    """Print a row for each way that a backbone can go."""
    labels = np.array([name.startswith("defect/") for name in test])
    stores, paces = {}, {}
    for way, (device, precision) in ways.items():
        stores[way] = folder / f"{model}.{len(stores)}.h5"
        start = time.perf_counter()
        extract(model, way, device, precision, train | test, stores[way], args)
        paces[way] = len(train | test) / (time.perf_counter() - start)
    reference_bank = fit(stores[REFERENCE], list(train))
    expected = score(reference_bank, stores[REFERENCE], list(test))
    for way, store in stores.items():
        scores = score(reference_bank, store, list(test))
        own = score(fit(store, list(train)), store, list(test))
        largest, typical = differ(stores[REFERENCE], store)
        print(
            f"| {model} | {way} | {largest:.1e} | {typical:.1e} | {np.abs(scores / expected - 1).max():.1e} | "
            f"{image_auroc(labels, scores):.5f} | {image_auroc(labels, own):.5f} | {paces[way]:.0f} |",
            flush=True,
        )


def extract(
    model: str,
    way: str,
    device: str,
    precision: str,
    images: dict[str, Path],
    store: Path,
    args: argparse.Namespace,
) -> None:
    weights, layers = BACKBONES[model]
    spec = PretrainedSpec.model_validate(
        {
            "source": "torchvision",
            "model": model,
            "weights": weights,
            "layers": layers,
            "precision": precision,
            "threads": args.threads,
        }
    )
    onednn: AbstractContextManager[object] = nullcontext()
    if way == "native":
        onednn = torch.backends.mkldnn.flags(enabled=False)
    with onednn:
        Extractor(spec, weights_dir=args.weights_dir, device=device).extract(images, store, provenance={})


def fit(store: Path, images: list[str]) -> Bank:
    with FeatureStore(store) as features:
        return fit_detector(DETECTOR, features.select(images), seed=0)


def score(bank: Bank, store: Path, images: list[str]) -> Float32:
    with FeatureStore(store) as features:
        return bank.score(features.select(images), ScoringSpec(), None).image_scores


def differ(reference: Path, other: Path) -> tuple[float, float]:
    """The largest difference, relative to the layer's largest feature, and the root mean square one; of all layers."""
    most, typical = [], []
    with FeatureStore(reference) as first, FeatureStore(other) as second:
        for layer in first.layer_shapes:
            largest, height, squares, energy = 0.0, 0.0, 0.0, 0.0
            chunks = (store.select(store.images).chunks([layer], CHUNK) for store in (first, second))
            for expected, values in zip(*chunks, strict=True):
                difference = np.abs(values[layer] - expected[layer])
                largest, height = max(largest, difference.max()), max(height, np.abs(expected[layer]).max())
                squares += float(np.square(difference, dtype=np.float64).sum())
                energy += float(np.square(expected[layer], dtype=np.float64).sum())
            most.append(float(largest / height))
            typical.append((squares / energy) ** 0.5)
    return max(most), max(typical)


if __name__ == "__main__":
    main()
