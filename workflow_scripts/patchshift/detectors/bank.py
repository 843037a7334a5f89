"""A memory bank of patch embeddings: fitted state, scoring, and its file.

Layout of a bank file: dataset `vectors` [M, D] float32; group `layers` (track order) with the shape of each chosen
layer; group `representation` with its fitted arrays; attributes `spec` (JSON), `input_size`, `covering_radius`, `made`
(JSON) and `provenance` (JSON).
Tested in tests/detectors/test_bank.py.
"""

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import h5py
import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from patchshift.detectors.image_scores import score_images
from patchshift.detectors.pace import ScoringPace
from patchshift.detectors.scores import Scores
from patchshift.errors import UserError
from patchshift.features.representations import CHUNK_MB, Representation
from patchshift.features.store import FeatureRows, warn_of_differences
from patchshift.plan.specs import FitSpec, ImageScoreSpec
from patchshift.runtime.files import atomic_path
from patchshift.runtime.hdf5 import create_hdf5

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

EMBEDDINGS_HELD = 3  # arrays of their size in `nearest`: the patches, the nearest vectors and the difference

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bank:
    """A fitted detector that scores a patch by its distance to the nearest of the vectors it keeps.

    Attributes:
        spec: what was fitted.
        vectors: [M, D] float32 patch embeddings.
        representation: how layer maps become embeddings.
        input_size: (height, width) of the network input in pixels.
        covering_radius: largest distance of a training patch to the nearest kept one, in the space where the sampler
            chose (the projected one, if it projects).
        made: device and precision that the training features were computed with, where known.
    """

    spec: FitSpec
    vectors: Float32
    representation: Representation
    input_size: tuple[int, int]
    covering_radius: float
    made: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _centre(self) -> Float32:
        # faiss expands |x - y|^2: far from the origin rounding would choose the neighbour.
        centre: Float32 = self.vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        return centre

    @cached_property
    def _index(self) -> Any:
        index = faiss.IndexFlatL2(self.vectors.shape[1])
        index.add(self.vectors - self._centre)
        return index

    def score(
        self,
        features: FeatureRows,
        image_score: ImageScoreSpec,
        ignore: Bool | None = None,
        *,
        chunk_mb: int = CHUNK_MB,
    ) -> Scores:
        """Score images by the Euclidean distance of their patches to the nearest bank vector.

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
        size = representation.images_within(chunk_mb, held=EMBEDDINGS_HELD)
        embedding = searching = 0.0
        first, _ = 0, self._index  # made before the clock starts
        clock = time.perf_counter()
        for maps in features.chunks(representation.layers, size):
            patches = representation.transform(maps)
            embedding += time.perf_counter() - clock
            clock = time.perf_counter()
            images, rows, columns, dimension = patches.shape
            patches = patches.reshape(images, rows * columns, dimension)
            distances, nearest = self.nearest(patches.reshape(-1, dimension))
            distances, nearest = distances.reshape(images, -1), nearest.reshape(images, -1)
            chunk = slice(first, first + images)
            all_maps[chunk] = distances.reshape(images, rows, columns)
            looked_past = None if ignore is None else ignore[chunk].reshape(images, -1)
            image_scores[chunk] = score_images(image_score, distances, nearest, patches, self, looked_past)
            first += images
            del maps, patches, nearest  # before the next are read: memory holds one chunk
            searching += time.perf_counter() - clock
            clock = time.perf_counter()
        log.info(ScoringPace(len(features), embedding, searching).describe())
        return Scores(image_scores, all_maps, representation.dimension)

    def nearest(self, patches: Float32) -> tuple[Float32, Int64]:
        """Euclidean distance of each patch to its nearest vector, and that vector's row.

        Args:
            patches: [n, D] float32 embeddings.

        Returns:
            [n] float32 distances and [n] int64 rows.
        """
        rows = self.neighbours(patches, 1)[:, 0]
        # The expansion also loses small distances to rounding; the difference does not.
        difference = patches - self.vectors[rows]
        return np.sqrt(np.einsum("nd,nd->n", difference, difference)), rows

    def neighbours(self, vectors: Float32, count: int) -> Int64:
        """Rows of the `count` bank vectors nearest to each of `vectors` [n, D], nearest first: [n, count] int64."""
        return np.asarray(self._index.search(vectors - self._centre, count)[1])

    def save(self, path: Path, provenance: Mapping[str, Any]) -> None:
        """Write the bank atomically; equal banks give equal bytes."""
        with atomic_path(path) as partial, create_hdf5(partial) as file:
            file.create_dataset("vectors", data=self.vectors, track_times=False)
            layers = file.create_group("layers", track_order=True)
            for layer, shape in self.representation.layer_shapes.items():
                layers.create_dataset(layer, data=np.array(shape, np.int64), track_times=False)
            fitted = file.create_group("representation")
            for name, values in sorted(self.representation.state.items()):
                fitted.create_dataset(name, data=values, track_times=False)
            file.attrs["spec"] = self.spec.canonical()
            file.attrs["input_size"] = np.array(self.input_size, np.int64)
            file.attrs["covering_radius"] = self.covering_radius
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
                spec = FitSpec.model_validate_json(file.attrs["spec"])
                height, width = file.attrs["input_size"]
                shapes = {layer: tuple(int(size) for size in shape[:]) for layer, shape in file["layers"].items()}
                state: dict[str, npt.NDArray[Any]] = {}

                def collect(name: str, item: Any) -> None:
                    if isinstance(item, h5py.Dataset):
                        state[name] = item[:]

                file["representation"].visititems(collect)
                return cls(
                    spec,
                    file["vectors"][:],
                    Representation(spec.representation, shapes, state),  # type: ignore[arg-type]
                    (int(height), int(width)),
                    float(file.attrs["covering_radius"]),
                    json.loads(file.attrs["made"]),
                )
        except (OSError, KeyError, ValueError, ValidationError) as error:
            raise UserError(f"{path} is not a whole bank ({error}): delete it and run again") from error

    def _check_same_backbone(self, features: FeatureRows) -> None:
        given = {layer: features.layer_shapes.get(layer) for layer in self.representation.layers}
        if (given, features.input_size) != (self.representation.layer_shapes, self.input_size):
            raise UserError(
                f"{features.parts[0][0].path} holds {_describe(features.layer_shapes, features.input_size)}, but the "
                f"bank was fitted on {_describe(self.representation.layer_shapes, self.input_size)}: score it on "
                "features of the backbone it was fitted with"
            )


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
