"""Scores of images and patches, as a detector computes them and as they lie on disk.

Layout of a scores file: datasets `images` (keys), `image_scores` [n], `maps` [n, rows, columns], float32; attributes
`input_size`, `feature_dim` (where it is known) and `provenance` (JSON).
Tested in tests/detectors/test_scores.py.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from patchshift.errors import UserError
from patchshift.runtime.files import atomic_path
from patchshift.runtime.hdf5 import create_hdf5

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scores:
    """How anomalous images and their patches are; larger is more anomalous.

    Attributes:
        image_scores: [n] float32.
        maps: [n, rows, columns] float32, at patch resolution.
        feature_dim: length of the patch embeddings that were compared; None: not known.
    """

    image_scores: Float32
    maps: Float32
    feature_dim: int | None = None


@dataclass(frozen=True)
class ScoresFile:
    """What a scores file holds.

    Attributes:
        scores: one row per image.
        images: the image keys, in row order.
        input_size: (height, width) of the network input in pixels, on which the maps lie.
        provenance: what `runtime.provenance.describe` recorded.
    """

    scores: Scores
    images: list[str]
    input_size: tuple[int, int]
    provenance: dict[str, Any]


def write_scores(
    path: Path, scores: Scores, images: Sequence[str], input_size: tuple[int, int], provenance: Mapping[str, Any]
) -> None:
    """Write scores atomically; equal arguments give equal bytes.

    Args:
        path: file to write.
        scores: one row per image.
        images: the image keys, in row order.
        input_size: (height, width) of the network input in pixels.
        provenance: JSON-ready, from `runtime.provenance.describe`.
    """
    with atomic_path(path) as partial, create_hdf5(partial) as file:
        file.create_dataset("images", data=list(images), dtype=h5py.string_dtype(), track_times=False)
        file.create_dataset("image_scores", data=scores.image_scores, track_times=False)
        file.create_dataset("maps", data=scores.maps, track_times=False)
        file.attrs["input_size"] = np.array(input_size, np.int64)
        if scores.feature_dim is not None:
            file.attrs["feature_dim"] = scores.feature_dim
        file.attrs["provenance"] = json.dumps(provenance, sort_keys=True)


def read_scores(path: Path) -> ScoresFile:
    """Read a scores file.

    Raises:
        UserError: if the file is missing or not whole.
    """
    try:
        with h5py.File(path, "r") as file:
            height, width = file.attrs["input_size"]
            feature_dim = file.attrs.get("feature_dim")
            return ScoresFile(
                Scores(
                    file["image_scores"][:], file["maps"][:], feature_dim if feature_dim is None else int(feature_dim)
                ),
                [str(name) for name in file["images"].asstr()[:]],
                (int(height), int(width)),
                json.loads(file.attrs["provenance"]),
            )
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} is not a whole scores file ({error}): delete it and run again") from error
