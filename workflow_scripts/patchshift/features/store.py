"""The feature store: raw layer maps of all images of one target, float16, one HDF5 array per layer.

Layout: dataset `layers/{layer}` of shape (image, row, column, channel), one chunk per image; dataset `images` with
the image keys; attributes `input_size` and `provenance` (JSON).
Tested in tests/features/test_store.py.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt

from patchshift.data.index import find_rows
from patchshift.errors import UserError
from patchshift.runtime.hdf5 import create_hdf5

Float16 = npt.NDArray[np.float16]
Float32 = npt.NDArray[np.float32]
LayerMaps = dict[str, Float32]
"""Layer name -> [n, rows, columns, channels] of a few images, layers in the store's order."""


class FeatureWriter:
    """Fills a new feature store image by image; use inside `runtime.files.atomic_path`.

    Args:
        path: file to create.
        images: the key of each image, in row order.
        input_size: (height, width) of the network input in pixels.
        provenance: JSON-ready, from `runtime.provenance.describe`.
    """

    def __init__(
        self, path: Path, images: Sequence[str], input_size: tuple[int, int], provenance: Mapping[str, Any]
    ) -> None:
        self._closing = ExitStack()
        self._file = self._closing.enter_context(create_hdf5(path))
        self._images = list(images)
        self._file.create_dataset("images", data=self._images, dtype=h5py.string_dtype(), track_times=False)
        self._file.create_group("layers", track_order=True)
        self._file.attrs["input_size"] = np.array(input_size, np.int64)
        self._file.attrs["provenance"] = json.dumps(provenance, sort_keys=True)

    def write(self, start: int, maps: Mapping[str, Float16]) -> None:
        """Store the maps of images `start` .. `start + n`.

        Args:
            start: row of the first image.
            maps: layer name -> [n, rows, columns, channels].

        Raises:
            UserError: if a value is not finite; it names the images and layers.
        """
        for layer, values in maps.items():
            finite = np.isfinite(values).all(axis=(1, 2, 3))
            if not finite.all():
                names = ", ".join(self._images[start + i] for i in np.flatnonzero(~finite))
                raise UserError(
                    f"layer '{layer}' is not finite (NaN, or beyond float16) for {names}: check these images, and that "
                    "the weight file belongs to this model and its preprocessing"
                )
            group = self._file["layers"]
            if layer not in group:
                group.create_dataset(
                    layer,
                    shape=(len(self._images), *values.shape[1:]),
                    chunks=(1, *values.shape[1:]),
                    dtype=np.float16,
                    track_times=False,
                )
            group[layer][start : start + len(values)] = values

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.__exit__(kind, error, traceback)


class FeatureStore:
    """A feature store opened for reading; a context manager.

    Attributes:
        images: the key of each image, in row order.
        input_size: (height, width) of the network input in pixels.
        layer_shapes: layer name -> (rows, columns, channels).
        provenance: what `runtime.provenance.describe` recorded.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = h5py.File(path, "r")
            self.images: list[str] = [str(name) for name in self._file["images"].asstr()[:]]
            height, width = self._file.attrs["input_size"]
            self.input_size: tuple[int, int] = (int(height), int(width))
            self.layer_shapes: dict[str, tuple[int, int, int]] = {
                layer: tuple(array.shape[1:]) for layer, array in self._file["layers"].items()
            }
            self.provenance: dict[str, Any] = json.loads(self._file.attrs["provenance"])
        except (OSError, KeyError, ValueError) as error:
            raise UserError(f"{path} is not a whole feature store ({error}): delete it and run again") from error
        self.path = path

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def read(self, layer: str, rows: npt.NDArray[np.int64]) -> Float32:
        """Maps of the given image rows, in that order: [n, rows, columns, channels] float32."""
        array = self._file["layers"][layer]
        maps = np.empty((len(rows), *array.shape[1:]), np.float32)
        runs = np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1)  # one read per run of rows
        for run in runs:
            if len(run):
                maps[run[0] : run[-1] + 1] = array[rows[run[0]] : rows[run[-1]] + 1]
        return maps

    def select(self, images: Sequence[str]) -> "FeatureRows":
        """The features of the named images, in that order.

        Raises:
            UserError: if an image is not in the store.
        """
        return FeatureRows([(self, find_rows(images, self.images, path=self.path, lacks="has no features of"))])


@dataclass(frozen=True)
class FeatureRows:
    """Chosen images of one store, or of several (a pool), read in chunks."""

    parts: list[tuple[FeatureStore, npt.NDArray[np.int64]]]

    def __len__(self) -> int:
        return sum(len(rows) for _, rows in self.parts)

    @property
    def images(self) -> list[str]:
        """The image keys, in reading order."""
        return [store.images[row] for store, rows in self.parts for row in rows]

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the network input in pixels."""
        return self.parts[0][0].input_size

    @property
    def layer_shapes(self) -> dict[str, tuple[int, int, int]]:
        """Layer name -> (rows, columns, channels)."""
        return self.parts[0][0].layer_shapes

    def chunks(self, layers: Sequence[str], size: int = 32) -> Iterator[LayerMaps]:
        """Yield the maps of at most `size` images at a time, float32, in order."""
        for store, rows in self.parts:
            for start in range(0, len(rows), size):
                yield {layer: store.read(layer, rows[start : start + size]) for layer in layers}


def pool(selections: Sequence[FeatureRows]) -> FeatureRows:
    """Several selections as one.

    Raises:
        UserError: if their layers or input sizes differ.
    """
    first = selections[0]
    for other in selections[1:]:
        if (other.layer_shapes, other.input_size) != (first.layer_shapes, first.input_size):
            raise UserError(
                f"{first.parts[0][0].path} and {other.parts[0][0].path} have different layers or sizes: "
                "a pool needs features of one backbone"
            )
    return FeatureRows([part for selection in selections for part in selection.parts])
