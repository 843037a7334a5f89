"""A fitted detector: how layer maps become embeddings, what is normal among those, scoring, and its file.

Layout of a bank file: groups `model` and `representation` with the fitted arrays of each; group `layers` (track order)
with the shape of each chosen layer; attributes `spec` (JSON), `input_size`, `made`, `members` and `provenance` (JSON).
Tested in tests/detectors/test_bank.py.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from patchshift.detectors.combination import combine_measured
from patchshift.detectors.dual import DualBank
from patchshift.detectors.gaussians import NormalGaussians
from patchshift.detectors.image_scores import score_images
from patchshift.detectors.neighbours import NearestNeighbours
from patchshift.detectors.normality import NormalModel
from patchshift.detectors.pace import ScoringPace
from patchshift.detectors.scores import Scores
from patchshift.detectors.subspace import NormalSubspace
from patchshift.errors import UserError
from patchshift.features.representations import Representation
from patchshift.features.store import FeatureRows, warn_of_differences
from patchshift.plan.detector_specs import DETECTOR, FittedSpec, PatchCoreDualSpec, PatchCoreSpec
from patchshift.plan.score_specs import ScoringSpec
from patchshift.runtime.files import atomic_path
from patchshift.runtime.hdf5 import create_hdf5, open_hdf5
from patchshift.runtime.sealed import check_seal

Bool = npt.NDArray[np.bool_]

MODELS: dict[str, type[NormalModel]] = {
    "patchcore": NearestNeighbours,
    "patchcore_dual": DualBank,
    "padim": NormalGaussians,
    "pca": NormalSubspace,
}
"""Method -> what its banks keep of normal patches."""


@dataclass(frozen=True)
class Bank:
    """A fitted detector.

    Attributes:
        spec: what was fitted.
        model: what normal patches are like.
        representation: how layer maps become embeddings.
        input_size: (height, width) of the network input in pixels.
        made: device and precision that the training features were computed with, where known.
        members: the categories it was fitted on, `dataset/category`, where they were named.
    """

    spec: FittedSpec
    model: NormalModel
    representation: Representation
    input_size: tuple[int, int]
    made: Mapping[str, str] = field(default_factory=dict)
    members: Sequence[str] = ()

    @property
    def facts(self) -> dict[str, float]:
        """Name -> number: what tables say of it; of a pool `bank_vectors/{dataset}/{category}`, too."""
        arrays = self.model.arrays()
        members = arrays.get("members", arrays.get("negative/members"))
        numbered = enumerate(self.members) if members is not None else ()
        return {
            "feature_dim": self.representation.dimension,
            "bank_vectors": self.model.size,
            **{f"bank_vectors/{name}": int(np.count_nonzero(members == number)) for number, name in numbered},
            "bank_bytes": sum(array.nbytes for array in [*arrays.values(), *self.representation.state.values()]),
            **self.model.facts,
        }

    def score(
        self,
        features: FeatureRows,
        scoring: ScoringSpec,
        ignore: Bool | None = None,
    ) -> Scores:
        """Score images by how far their patches are from normal ones.

        Args:
            features: n images, from the backbone that the bank was fitted on.
            scoring: how patch distances become one score per image; memory for the images embedded at a time.
            ignore: [n, rows, columns] patches that image scores do not look at; None: none. Maps have all distances.

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
        all_parts: dict[str, npt.NDArray[Any]] = {}
        embedding = searching = 0.0
        first = 0
        clock = time.perf_counter()
        for patches in representation.embed(features, chunk_mb=scoring.chunk_mb, held=self.model.held):
            embedding += time.perf_counter() - clock
            clock = time.perf_counter()
            measured = self.model.measure(patches)
            distances = combine_measured(scoring.combination, measured)
            chunk = slice(first, first + len(patches))
            all_maps[chunk] = distances.reshape(-1, *representation.grid)
            for name, part in measured.parts.items():
                all_parts.setdefault(name, np.empty(all_maps.shape, part.dtype))
                all_parts[name][chunk] = part.reshape(-1, *representation.grid)
            looked_past = None if ignore is None else ignore[chunk].reshape(len(patches), -1)
            image_scores[chunk] = score_images(scoring.image_score, distances, patches, self.model, looked_past)
            first += len(patches)
            del patches, measured, distances  # before the next are read: memory holds one chunk
            searching += time.perf_counter() - clock
            clock = time.perf_counter()
        ScoringPace(len(features), embedding, searching).report()
        return Scores(image_scores, all_maps, all_parts, self.facts, self.members, scoring)

    def save(self, path: Path, provenance: Mapping[str, Any]) -> None:
        """Write the bank atomically, sealed by a digest; equal banks give equal bytes."""
        with atomic_path(path) as partial, create_hdf5(partial) as file:
            self.write(file, provenance)

    def write(self, group: h5py.Group, provenance: Mapping[str, Any]) -> None:
        """Write the bank into an open, empty group."""
        for name, arrays in (("model", self.model.arrays()), ("representation", self.representation.state)):
            fitted = group.create_group(name)
            for key, values in sorted(arrays.items()):
                fitted.create_dataset(key, data=values, track_times=False)
        layers = group.create_group("layers", track_order=True)
        for layer, shape in self.representation.layer_shapes.items():
            layers.create_dataset(layer, data=np.array(shape, np.int64), track_times=False)
        group.attrs["spec"] = self.spec.fit_spec()
        group.attrs["input_size"] = np.array(self.input_size, np.int64)
        group.attrs["members"] = json.dumps(list(self.members))
        group.attrs["made"] = json.dumps(dict(self.made), sort_keys=True)
        group.attrs["provenance"] = json.dumps(provenance, sort_keys=True)

    @classmethod
    def load(cls, path: Path) -> "Bank":
        """Read a bank.

        Raises:
            UserError: if the file is missing, not whole, edited, or of another version's spec.
        """
        with open_hdf5(path, "bank", check=check_seal) as file:
            return cls.read(file)

    @classmethod
    def read(cls, group: h5py.Group) -> "Bank":
        """The bank that was written into a group.

        Raises:
            runtime.hdf5.UNREADABLE: if it is not whole, or of another version's spec.
        """
        spec = DETECTOR.validate_json(group.attrs["spec"])
        height, width = group.attrs["input_size"]
        shapes = {layer: tuple(int(size) for size in shape[:]) for layer, shape in group["layers"].items()}
        state = _read_arrays(group["representation"])
        representation = Representation(spec.representation, shapes, state)  # type: ignore[arg-type]
        model = MODELS[spec.method].from_arrays(_read_arrays(group["model"]))
        rows, columns = representation.grid
        if not model.fits(rows * columns, representation.dimension):
            raise ValueError("its model is of other embeddings")
        if not _is_searched_as(spec, model):
            raise ValueError("it is searched otherwise than its spec says")
        made, members = (json.loads(group.attrs[name]) for name in ("made", "members"))
        numbers = model.arrays().get("members")
        if numbers is not None and not ((numbers >= 0) & (numbers < len(members))).all():
            raise ValueError("its vectors come from categories that it does not name")
        return cls(spec, model, representation, (int(height), int(width)), dict(made), list(members))

    def _check_same_backbone(self, features: FeatureRows) -> None:
        given = {layer: features.layer_shapes.get(layer) for layer in self.representation.layers}
        if (given, features.input_size) != (self.representation.layer_shapes, self.input_size):
            raise UserError(
                f"{features.parts[0][0].path} holds {_describe(features.layer_shapes, features.input_size)}, but the "
                f"bank was fitted on {_describe(self.representation.layer_shapes, self.input_size)}: score it on "
                "features of the backbone it was fitted with"
            )


def _is_searched_as(spec: FittedSpec, model: NormalModel) -> bool:
    """Whether the memory banks of a model are searched as the spec says."""
    if not isinstance(spec, PatchCoreSpec | PatchCoreDualSpec):
        return True
    banks = (model.negative, model.positive) if isinstance(model, DualBank) else (model,)
    expected = spec.index.method == "flat", spec.distance, isinstance(spec, PatchCoreSpec) and spec.foreground
    return all(
        (bank.index is None, bank.distance, bank.foreground is not None) == expected
        for bank in banks
        if isinstance(bank, NearestNeighbours)
    )


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
