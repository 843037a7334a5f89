"""Scores of images and patches, as a detector computes them and as they lie on disk.

Layout of a scores file: datasets `images` (keys), `image_scores` [n], `maps` [n, rows, columns], float32; group `parts`
with what maps were made from, of the same shape; attributes `input_size`, `facts`, `members`, `scoring` and
`provenance` (JSON).
Tested in tests/detectors/test_scores.py.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from patchshift.detectors.normality import Arrays
from patchshift.plan.score_specs import ScoringSpec
from patchshift.runtime.files import atomic_path
from patchshift.runtime.hdf5 import create_hdf5, open_hdf5
from patchshift.runtime.sealed import check_seal_if_any

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Scores:
    """How anomalous images and their patches are; larger is more anomalous.

    Attributes:
        image_scores: [n] float32.
        maps: [n, rows, columns] float32, at patch resolution; [n, 0, 0] where the detector gives none.
        parts: name -> [n, rows, columns]: what the maps were made from (`detectors.normality.Measured`).
        facts: name -> number: what tables say of the detector (`feature_dim`, `bank_vectors`, `bank_bytes`, ...).
        members: the categories that `parts["member"]` counts, of a pool.
        scoring: how image scores came from maps, and how maps are brought to pixels.
    """

    image_scores: Float32
    maps: Float32
    parts: Arrays = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)
    members: Sequence[str] = ()
    scoring: ScoringSpec = field(default_factory=ScoringSpec)


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
        parts = file.create_group("parts")
        for name, values in sorted(scores.parts.items()):
            parts.create_dataset(name, data=values, track_times=False)
        file.attrs["facts"] = json.dumps(dict(scores.facts), sort_keys=True)
        file.attrs["members"] = json.dumps(list(scores.members))
        file.attrs["scoring"] = scores.scoring.canonical()
        file.attrs["provenance"] = json.dumps(provenance, sort_keys=True)


def read_scores(path: Path) -> ScoresFile:
    """Read a scores file.

    Raises:
        UserError: if the file is missing or not whole.
    """
    with open_hdf5(path, "scores file", check=check_seal_if_any) as file:
        height, width = file.attrs["input_size"]
        return ScoresFile(
            Scores(
                file["image_scores"][:],
                file["maps"][:],
                {name: part[:] for name, part in file["parts"].items()},
                json.loads(file.attrs["facts"]),
                json.loads(file.attrs["members"]),
                ScoringSpec.model_validate_json(file.attrs["scoring"]),
            ),
            [str(name) for name in file["images"].asstr()[:]],
            (int(height), int(width)),
            json.loads(file.attrs["provenance"]),
        )
