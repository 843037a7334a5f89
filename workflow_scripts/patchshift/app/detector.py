"""Scores, decisions and anomaly maps of new images, by an exported model: the Python interface.

    detector = Detector.load(Path("model.h5"))
    for prediction in detector.predict(["a.png", "b.png"]):
        print(prediction.score, prediction.decision)

Tested in tests/app/test_detector.py.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from patchshift.app.calibrations import judge_images
from patchshift.app.latency import Latency, Stopwatch
from patchshift.app.models import ExportedModel, needs_weights
from patchshift.data.images import read_image
from patchshift.data.shifts.views import cut_view
from patchshift.errors import UserError
from patchshift.evaluation.anomaly_maps import upsample_map
from patchshift.evaluation.calibrated import weigh_patches
from patchshift.features.backbones import build_backbone
from patchshift.features.decoding import Batch
from patchshift.features.devices import Maps, choose_device, describe_device
from patchshift.features.forward import ForwardPass
from patchshift.features.held_maps import hold_maps
from patchshift.features.store import FeatureRows
from patchshift.plan.backbone_specs import BackboneSpec, NetworkSpec
from patchshift.runtime.files import digest_file

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OpenedImage:
    """An image as the detector sees it.

    Attributes:
        name: what messages and predictions call it.
        pixels: [H, W, 3] uint8; of a view, what the view shows.
        resized: [h, w, 3] uint8 at the network's input size.
        milliseconds: what reading and resizing took.
    """

    name: str
    pixels: UInt8
    resized: UInt8
    milliseconds: float


@dataclass(frozen=True)
class Prediction:
    """What the detector says of one image.

    Attributes:
        image: its name: the path as it was given, or its number in the list.
        score: the image score, as the workflow computes it; higher is more anomalous.
        normalised_score: how many standard deviations of the normal validation scores it lies above their mean; None
            where they have none.
        threshold: scores at or above it are called defective; None: the model has no threshold, or zones decide.
        decision: whether it is called defective; None: the model has no threshold.
        undefined: why there is no decision; None if there is one.
        anomaly_map: [H, W] float32 at the image's size, smoothed as the protocol says; of a view, at the view's size.
        patch_scores: [rows, columns] float32, what the map was made from.
        latency: what it took.
        zone: names of the zones at or above their thresholds, separated by spaces (`r1c2`: first row, second column);
            empty: none, or the model has no zones.
        probability: that it is defective, by Platt's sigmoid; None: the model has no probabilities.
        probability_isotonic: the same by isotonic regression.
    """

    image: str
    score: float
    normalised_score: float | None
    threshold: float | None
    decision: bool | None
    undefined: str | None
    anomaly_map: Float32
    patch_scores: Float32
    latency: Latency
    zone: str = ""
    probability: float | None = None
    probability_isotonic: float | None = None


class Detector:
    """An exported model with its backbone, ready for images.

    Args:
        model: the model.
        digest: SHA-256 of its file.
        backbone: its backbone on a device.
        batch_size: images per forward pass; fewer are filled up with black ones.
    """

    def __init__(self, model: ExportedModel, digest: str, backbone: ForwardPass, batch_size: int) -> None:
        self.model = model
        self.digest = digest
        self.backbone = backbone
        self.batch_size = batch_size

    @classmethod
    def load(
        cls, path: Path | str, *, weights_dir: Path | str = "weights", device: str = "auto", batch_size: int = 1
    ) -> Self:
        """Read a model and build its backbone.

        Args:
            path: file that rule `export_model` wrote.
            weights_dir: folder of weight files.
            device: `auto`, `cpu` or `cuda`.
            batch_size: images per forward pass. The backbone's own (its spec says) gives the workflow's scores to the
                last bit on the same machine; others differ by rounding.

        Raises:
            UserError: if the file is no exported model, the weight file is missing or another one, or the device is not
                there.
        """
        model = ExportedModel.load(Path(path))
        spec, chosen = model.backbone, choose_device(device)
        if needs_weights(spec):
            _check_weights(spec, Path(weights_dir), str(model.weights_digest))
        backbone = ForwardPass(build_backbone(spec, weights_dir=Path(weights_dir)), chosen, spec.precision, batch_size)
        made = model.bank.made.get("device", describe_device(chosen))
        if made != describe_device(chosen):
            now = describe_device(chosen)
            log.warning("the bank was made on %s, images are scored on %s: scores differ by rounding", made, now)
        if model.calibrated_before_extension:
            log.warning("the model was extended after its threshold was chosen: recalibrate (docs/detectors.md)")
        return cls(model, digest_file(Path(path)), backbone, batch_size)

    def open(self, image: Path | str | UInt8, name: str | None = None) -> OpenedImage:
        """Read an image, or take its pixels, [H, W, 3] uint8 in RGB.

        Raises:
            UserError: if it cannot be read, or is another array.
        """
        name = name or (str(image) if isinstance(image, Path | str) else "array")
        watch = Stopwatch()
        with watch.time("decode"):
            pixels = read_image(Path(image)) if isinstance(image, Path | str) else _check_pixels(image, name)
            if self.model.view:
                pixels, _ = cut_view(pixels, [], self.model.view)
            height, width = self.model.backbone.input_size
            resized = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
        return OpenedImage(name, pixels, resized, watch.times["decode"])

    def predict(
        self, images: Path | str | UInt8 | OpenedImage | Sequence[Path | str | UInt8 | OpenedImage]
    ) -> list[Prediction]:
        """Score images, in their order.

        Args:
            images: paths, arrays [H, W, 3] uint8 in RGB, or what `open` gave; one alone is a list of one.

        Raises:
            UserError: if an image cannot be read, or its features are not finite.
        """
        if isinstance(images, Path | str | OpenedImage) or (isinstance(images, np.ndarray) and images.ndim == 3):
            images = [images]
        predictions: list[Prediction] = []
        for start in range(0, len(images), self.batch_size):
            opened = [
                image if isinstance(image, OpenedImage) else self.open(image, _name(image, start + number))
                for number, image in enumerate(images[start : start + self.batch_size])
            ]
            predictions += self._predict_batch(opened)
        return predictions

    def _predict_batch(self, images: Sequence[OpenedImage]) -> list[Prediction]:
        model, watch = self.model, Stopwatch()
        with watch.time("forward"):
            features = self._extract(images)
        with watch.time("search"):
            ignore = None if model.ignore is None else np.broadcast_to(model.ignore, (len(images), *model.ignore.shape))
            scores = model.bank.score(features, model.scoring, ignore)
            if model.combination:
                maps, image_scores = weigh_patches(model.combination, scores.parts, scores.scoring.image_score, ignore)
                scores = replace(scores, maps=maps, image_scores=image_scores)
        finished = []
        for image, score, patch_scores in zip(images, scores.image_scores, scores.maps, strict=True):
            with watch.time("map"):
                anomaly_map = upsample_map(
                    patch_scores,
                    model.backbone.input_size,
                    image.pixels.shape[:2],
                    model.smoothing_sigma,
                    model.scoring.anomaly_map,
                )
            finished.append((image, score, patch_scores, anomaly_map))
        share = watch.share(len(images))
        verdicts = judge_images(model.calibration, scores.image_scores, scores.maps, ignore)
        return [
            Prediction(
                image=image.name,
                score=float(score),
                anomaly_map=anomaly_map,
                patch_scores=patch_scores,
                latency=Latency(image.milliseconds, share.forward, share.search, share.map),
                **vars(verdict),
            )
            for (image, score, patch_scores, anomaly_map), verdict in zip(finished, verdicts, strict=True)
        ]

    def _extract(self, images: Sequence[OpenedImage]) -> FeatureRows:
        """What a feature store would hold of them."""
        pixels = torch.zeros((self.batch_size, *self.model.backbone.input_size, 3), dtype=torch.uint8)
        for row, image in enumerate(images):
            pixels[row] = torch.from_numpy(image.resized.copy())
        batch = Batch(pixels, len(images), [])
        maps: Maps
        if self.backbone.device.type == "cpu":
            maps = self.backbone.on_cpu(batch)
        else:
            parts = [part for _, part in self.backbone.on_device([batch])]  # several where memory is short
            maps = {layer: np.concatenate([part[layer] for part in parts]) for layer in parts[0]}
        return hold_maps([image.name for image in images], self.model.backbone.input_size, maps)


def _name(image: Path | str | UInt8 | OpenedImage, number: int) -> str:
    return str(image) if isinstance(image, Path | str) else f"image {number}"


def _check_pixels(image: UInt8, name: str) -> UInt8:
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise UserError(f"{name} is {pixels.dtype} {list(pixels.shape)}: give [H, W, 3] uint8 in RGB, or a path")
    return pixels


def _check_weights(spec: BackboneSpec, weights_dir: Path, wanted: str) -> None:
    """Compare the weight file with the one that the bank's features were made with.

    Raises:
        UserError: if it is missing, or another one.
    """
    assert isinstance(spec, NetworkSpec)
    path = weights_dir / spec.weights
    if not path.is_file():
        raise UserError(f"the model needs weight file {path}, which does not exist: {_remedy(spec, path, wanted)}")
    found = digest_file(path)
    if found != wanted:
        raise UserError(
            f"{path} is not the weight file of this model: its SHA-256 is {found}, but the bank's features were made "
            f"with {wanted}: {_remedy(spec, path, wanted)}"
        )


def _remedy(spec: NetworkSpec, path: Path, wanted: str) -> str:
    where = f"bring the file with SHA-256 {wanted} there, or name its folder by --weights-dir"
    if not spec.places:
        return where
    return (
        f"{where}; it can be had from {spec.places[0].address}, or by `snakemake --cores 1 {path}.receipt.json "
        "--config accept_licence=true` (rule fetch_weights) with a study that names this backbone"
    )
