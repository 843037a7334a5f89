"""What a look inside the features of one category has measured, as one file.

Layout: group `map` with one dataset per method, [n, 2] float32, and `images`, `defects` of the n patches (text; empty
defect: a good image); group `separability` with one dataset per column of `Separation`; group `energy` with one dataset
[m, rows, columns] float32 per layer (track order); dataset `shown` with the keys of the m images; attributes `located`,
`variance` and `provenance` (JSON).
Tested in tests/evaluation/test_inspection_store.py.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt

from patchshift.evaluation.separability import Separation, as_columns
from patchshift.runtime.files import atomic_path
from patchshift.runtime.hdf5 import create_hdf5, open_hdf5
from patchshift.runtime.sealed import check_seal_if_any

Float32 = npt.NDArray[np.float32]

FEWEST = 20  # patches that make a map


@dataclass(frozen=True)
class PatchMap:
    """Patches in the plane.

    Attributes:
        images: the image of each of the n patches.
        defects: its defect type; empty for patches of good images.
        coordinates: method -> [n, 2]; empty if there are too few patches.
        located: whether the coloured patches are defective; without masks they are any patches of defective images.
        variance: share of the variance that the principal components kept.
    """

    images: list[str]
    defects: list[str]
    coordinates: dict[str, Float32]
    located: bool
    variance: float


@dataclass(frozen=True)
class Inspection:
    """What was measured.

    Attributes:
        patches: a sample of patches in the plane.
        separations: each defect type in each layer.
        shown: keys of the m images whose energy is shown.
        energies: layer -> [m, rows, columns], 1 being the mean of the training images.
    """

    patches: PatchMap
    separations: list[Separation]
    shown: list[str]
    energies: dict[str, Float32]

    def save(self, path: Path, provenance: Mapping[str, Any]) -> None:
        """Write the measurements atomically."""
        with atomic_path(path) as partial, create_hdf5(partial) as file:
            _write(file.create_group("map", track_order=True), self.patches.coordinates)
            _write(file["map"], {"images": self.patches.images, "defects": self.patches.defects})
            _write(file.create_group("separability"), as_columns(self.separations))
            _write(file.create_group("energy", track_order=True), self.energies)
            _write(file, {"shown": self.shown})
            file.attrs["located"] = self.patches.located
            file.attrs["variance"] = self.patches.variance
            file.attrs["provenance"] = json.dumps(provenance, sort_keys=True)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read saved measurements.

        Raises:
            UserError: if the file is damaged.
        """
        with open_hdf5(path, "inspection", check=check_seal_if_any) as file:
            points, table, energy = (_read(file[name]) for name in ("map", "separability", "energy"))
            rows = zip(*(table[field.name] for field in fields(Separation)), strict=True)
            return cls(
                PatchMap(
                    points.pop("images"), points.pop("defects"), points,
                    bool(file.attrs["located"]), float(file.attrs["variance"]),
                ),
                [Separation(*row) for row in rows],
                [str(image) for image in file["shown"].asstr()[:]],
                energy,
            )  # fmt: skip


def _write(group: h5py.Group, columns: Mapping[str, Any]) -> None:
    for name, values in columns.items():
        text = isinstance(values, list) and all(isinstance(value, str) for value in values)
        options = {"dtype": h5py.string_dtype()} if text else {}
        group.create_dataset(name, data=values, track_times=False, **options)


def _read(group: h5py.Group) -> dict[str, Any]:
    """Name -> an array, or a list of text or of numbers of one column."""
    columns: dict[str, Any] = {}
    for name, dataset in group.items():
        if h5py.check_string_dtype(dataset.dtype):
            columns[name] = [str(value) for value in dataset.asstr()[:]]
        else:
            columns[name] = dataset[:].tolist() if dataset.ndim == 1 else dataset[:]
    return columns
