"""The feature store: raw layer maps of all images of one target, float16, one HDF5 array per layer.

Layout: dataset `layers/{layer}` of shape (image, row, column, channel), one uncompressed chunk per image; dataset
`images` with the image keys; attributes `input_size` and `provenance` (JSON).

All values are finite: writing refuses others. Whole chunks go past HDF5's cache and filters, two threads read and
widen them, and both the check and the widening work on the bits, because NumPy treats float16 value by value.
Tested in tests/features/test_store.py; measured in benchmarks/store.py.
"""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
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

log = logging.getLogger(__name__)

READERS = 2
"""Threads that read and widen; one alone falls behind HDF5. However many there are, they read the same."""

MADE = ("device", "precision")
"""What provenance says of how a store was made, beside its spec."""

# Bits of a float16 without its sign, from the first value that is not finite; how many places its exponent stands
# further left in a float32, the sign and those bits there, and what makes up for the exponents' different bias.
MAGNITUDE, INFINITY = np.uint16(0x7FFF), 0x7C00
SHIFT, SIGNED, REBIAS = 13, np.int32(0x8FFFE000 - (1 << 32)), np.float32(2.0**112)


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
            values = np.ascontiguousarray(values, np.float16)
            odd = [self._images[start + i] for i, image in enumerate(values) if not _is_finite(image)]
            if odd:
                raise UserError(
                    f"layer '{layer}' is not finite (NaN, or beyond float16) for {', '.join(odd)}: check these images, "
                    "and that the weight file belongs to this model and its preprocessing"
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
            chunks = group[layer].id
            for i, image in enumerate(values):
                chunks.write_direct_chunk((start + i, 0, 0, 0), image)

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
        self._readers = ThreadPoolExecutor(READERS)  # its threads start with the first use
        try:
            self._file = h5py.File(path, "r")
            self.images: list[str] = [str(name) for name in self._file["images"].asstr()[:]]
            height, width = self._file.attrs["input_size"]
            self.input_size: tuple[int, int] = (int(height), int(width))
            self.layer_shapes: dict[str, tuple[int, int, int]] = {
                layer: _map_shape(array) for layer, array in self._file["layers"].items()
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
        self._readers.shutdown()
        self._file.close()

    def read(self, layer: str, rows: npt.NDArray[np.int64]) -> Float32:
        """Maps of the given image rows, in that order: [n, rows, columns, channels] float32.

        Raises:
            UserError: if the file is damaged there.
        """
        chunks = self._file["layers"][layer].id
        maps = np.empty((len(rows), *self.layer_shapes[layer]), np.float32)

        def fill(part: slice) -> None:
            stored = np.empty(self.layer_shapes[layer], np.float16)
            content = stored.reshape(-1).view(np.uint8)
            for row, image in zip(rows[part].tolist(), maps[part], strict=True):
                chunks.read_direct_chunk((row, 0, 0, 0), out=content)
                _widen(stored, image)

        share = -(-len(rows) // READERS)
        try:
            list(self._readers.map(fill, [slice(start, start + share) for start in range(0, len(rows), share or 1)]))
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(f"{self.path} is damaged in layer '{layer}' ({error}): delete it and run again") from error
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

    def chunks(self, layers: Sequence[str], size: int) -> Iterator[LayerMaps]:
        """Yield the maps of at most `size` images at a time, float32, in order."""
        for store, rows in self.parts:
            for start in range(0, len(rows), size):
                yield {layer: store.read(layer, rows[start : start + size]) for layer in layers}


def pool(selections: Sequence[FeatureRows]) -> FeatureRows:
    """Several selections as one; a warning in the log where their features were made in different ways.

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
    together = FeatureRows([part for selection in selections for part in selection.parts])
    warn_of_differences([store for store, _ in together.parts])
    return together


def warn_of_differences(stores: Sequence[FeatureStore]) -> None:
    """Say in the log which stores were made on another device or in another precision than the first.

    Both change features by rounding alone, so it is no error; but a change of `device` makes no store anew.
    """
    for store in stores[1:]:
        made = [(key, *(each.provenance.get(key, "unknown") for each in (stores[0], store))) for key in MADE]
        differences = [f"{key} '{first}' and '{other}'" for key, first, other in made if first != other]
        if differences:
            log.warning(
                "%s and %s were made with different settings, which alone changes features a little: %s; delete one "
                "of them to have it made anew",
                *(stores[0].path, store.path, ", ".join(differences)),
            )


def _is_finite(values: Float16) -> bool:
    return bool(np.bitwise_and(values.view(np.uint16), MAGNITUDE).max(initial=0) < INFINITY)


def _widen(values: Float16, out: Float32) -> None:
    """Finite float16 values as float32: the same bits at their new places, then the other bias by an exact product."""
    bits = out.view(np.int32)
    np.copyto(bits, values.view(np.int16))  # the sign fills the bits on its left
    np.left_shift(bits, SHIFT, out=bits)
    np.bitwise_and(bits, SIGNED, out=bits)
    np.multiply(out, REBIAS, out=out)


def _map_shape(array: h5py.Dataset) -> tuple[int, int, int]:
    """(rows, columns, channels) of a layer; ValueError where it is not laid out as `FeatureWriter` does it."""
    rows, columns, channels = array.shape[1:]
    filters = array.id.get_create_plist().get_nfilters()
    if array.dtype != np.float16 or array.chunks != (1, rows, columns, channels) or filters:
        raise ValueError(f"layer '{array.name}' is not float16 with one uncompressed chunk per image")
    return rows, columns, channels
