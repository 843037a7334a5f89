"""A fitted detector: how layer maps become embeddings, what is normal among those, scoring, and its file.

Layout of a bank file: groups `model` and `representation` with the fitted arrays of each; group `layers` (track order)
with the shape of each chosen layer; attributes `spec` (JSON), `input_size`, `made` (JSON) and `provenance` (JSON).
Tested in tests/detectors/test_bank.py.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from patchshift.detectors.gaussians import NormalGaussians
from patchshift.detectors.image_scores import score_images
from patchshift.detectors.neighbours import NearestNeighbours
from patchshift.detectors.normality import NormalModel
from patchshift.detectors.pace import ScoringPace
from patchshift.detectors.scores import Scores
from patchshift.detectors.subspace import NormalSubspace
from patchshift.errors import UserError
from patchshift.features.representations import CHUNK_MB, Representation
from patchshift.features.store import FeatureRows, warn_of_differences
from patchshift.plan.detector_specs import DETECTOR, FittedSpec, ImageScoreSpec, PatchCoreSpec
from patchshift.runtime.files import atomic_path
from patchshift.runtime.hdf5 import create_hdf5

Bool = npt.NDArray[np.bool_]

MODELS: dict[str, type[NearestNeighbours | NormalGaussians | NormalSubspace]] = {
    "patchcore": NearestNeighbours,
    "padim": NormalGaussians,
    "pca": NormalSubspace,
}
"""Method -> what its banks keep of normal patches."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bank:
    """A fitted detector.

    Attributes:
        spec: what was fitted.
        model: what normal patches are like.
        representation: how layer maps become embeddings.
        input_size: (height, width) of the network input in pixels.
        made: device and precision that the training features were computed with, where known.
    """

    spec: FittedSpec
    model: NormalModel
    representation: Representation
    input_size: tuple[int, int]
    made: Mapping[str, str] = field(default_factory=dict)

    def score(
        self,
        features: FeatureRows,
        image_score: ImageScoreSpec,
        ignore: Bool | None = None,
        *,
        chunk_mb: int = CHUNK_MB,
    ) -> Scores:
        """Score images by how far their patches are from normal ones.

        Args:
            features: n images, from the backbone that the bank was fitted on.
            image_score: how patch distances become one score per image.
            ignore: [n, rows, columns] patches that image scores do not look at; None: none. Maps have all distances.
            chunk_mb: memory for the images embedded at a time, in MB.

        The log ends with what it took (`detectors.pace`).

        Raises:
            UserError: if the features have other layers, channels or input size than the bank, or if all patches of an
                image are ignored.
        """
        self._check_same_backbone(features)
        warn_of_differences("the features of the bank", self.made, [store for store, _ in features.parts])
        if ignore is not None:
            _check_something_is_left(ignore, features.images)
        representation = self.representation
        image_scores = np.empty(len(features), np.float32)
        all_maps = np.empty((len(features), *representation.grid), np.float32)
        embedding = searching = 0.0
        first = 0
        clock = time.perf_counter()
        for patches in representation.embed(features, chunk_mb=chunk_mb, held=self.model.held):
            embedding += time.perf_counter() - clock
            clock = time.perf_counter()
            distances = self.model.distances(patches)
            chunk = slice(first, first + len(patches))
            all_maps[chunk] = distances.reshape(-1, *representation.grid)
            looked_past = None if ignore is None else ignore[chunk].reshape(len(patches), -1)
            image_scores[chunk] = score_images(image_score, distances, patches, self.model, looked_past)
            first += len(patches)
            del patches, distances  # before the next are read: memory holds one chunk
            searching += time.perf_counter() - clock
            clock = time.perf_counter()
        log.info(ScoringPace(len(features), embedding, searching).describe())
        return Scores(image_scores, all_maps, representation.dimension)

    def save(self, path: Path, provenance: Mapping[str, Any]) -> None:
        """Write the bank atomically; equal banks give equal bytes."""
        with atomic_path(path) as partial, create_hdf5(partial) as file:
            for group, arrays in (("model", self.model.arrays()), ("representation", self.representation.state)):
                fitted = file.create_group(group)
                for name, values in sorted(arrays.items()):
                    fitted.create_dataset(name, data=values, track_times=False)
            layers = file.create_group("layers", track_order=True)
            for layer, shape in self.representation.layer_shapes.items():
                layers.create_dataset(layer, data=np.array(shape, np.int64), track_times=False)
            file.attrs["spec"] = self.spec.fit_spec()
            file.attrs["input_size"] = np.array(self.input_size, np.int64)
            file.attrs["made"] = json.dumps(dict(self.made), sort_keys=True)
            file.attrs["provenance"] = json.dumps(provenance, sort_keys=True)

    @classmethod
    def load(cls, path: Path) -> "Bank":
        """Read a bank.

        Raises:
            UserError: if the file is missing, not whole, or of another version's spec.
        """
        try:
            with h5py.File(path, "r") as file:
                spec = DETECTOR.validate_json(file.attrs["spec"])
                height, width = file.attrs["input_size"]
                shapes = {layer: tuple(int(size) for size in shape[:]) for layer, shape in file["layers"].items()}
                state = _read_arrays(file["representation"])
                representation = Representation(spec.representation, shapes, state)  # type: ignore[arg-type]
                model = MODELS[spec.method].from_arrays(_read_arrays(file["model"]))
                rows, columns = representation.grid
                if not model.fits(rows * columns, representation.dimension):
                    raise ValueError("its model is of other embeddings")
                if isinstance(model, NearestNeighbours) and not _is_searched_as(spec, model):
                    raise ValueError("it has another index than its spec says")
                return cls(spec, model, representation, (int(height), int(width)), dict(json.loads(file.attrs["made"])))
        except (OSError, KeyError, ValueError, TypeError, AttributeError, ValidationError) as error:
            raise UserError(f"{path} is not a whole bank ({error}): delete it and run again") from error

    def _check_same_backbone(self, features: FeatureRows) -> None:
        given = {layer: features.layer_shapes.get(layer) for layer in self.representation.layers}
        if (given, features.input_size) != (self.representation.layer_shapes, self.input_size):
            raise UserError(
                f"{features.parts[0][0].path} holds {_describe(features.layer_shapes, features.input_size)}, but the "
                f"bank was fitted on {_describe(self.representation.layer_shapes, self.input_size)}: score it on "
                "features of the backbone it was fitted with"
            )


def _is_searched_as(spec: FittedSpec, model: NearestNeighbours) -> bool:
    return isinstance(spec, PatchCoreSpec) and (model.index is None) == (spec.index.method == "flat")


def _read_arrays(group: h5py.Group) -> dict[str, npt.NDArray[Any]]:
    """Every array below a group, by its path there."""
    arrays: dict[str, npt.NDArray[Any]] = {}

    def collect(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item[()]

    group.visititems(collect)
    return arrays


def _check_something_is_left(ignore: Bool, images: Sequence[str]) -> None:
    blind = [image for image, patches in zip(images, ignore, strict=True) if patches.all()]
    if blind:
        raise UserError(
            f"the ignore mask covers every patch of {', '.join(blind[:5])} ({len(blind)} in all), so nothing is left "
            "to score: shrink the mask, or remove the images"
        )


def _describe(layer_shapes: Mapping[str, tuple[int, int, int]], input_size: tuple[int, int]) -> str:
    layers = ", ".join(f"{layer} {'x'.join(map(str, shape))}" for layer, shape in layer_shapes.items())
    return f"layers {layers} of a {input_size[0]}x{input_size[1]} input"
