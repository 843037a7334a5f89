"""The feature store: raw layer maps of all images of one target, float16, one HDF5 array per layer.

Layout: dataset `layers/{layer}` of shape (image, row, column, channel), one uncompressed chunk per image; dataset
`images` with the image keys; attributes `input_size` and `provenance` (JSON).

All values are finite: writing refuses others, by their bits, because NumPy treats float16 value by value. Chunks are
written past HDF5's cache and filters, and read by `features.stored_maps`.
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
from patchshift.features.stored_maps import Float16, Float32, StoredMaps
from patchshift.runtime.hdf5 import create_hdf5, explain_damage, open_hdf5
from patchshift.runtime.sealed import Check, check_seal_if_any

LayerMaps = dict[str, Float32]
"""Layer name -> [n, rows, columns, channels] of a few images, layers in the store's order."""

log = logging.getLogger(__name__)

READERS = 2
"""Threads that read; one alone falls behind HDF5. However many there are, they read the same."""

MADE = ("device", "precision")
"""What provenance says of how a store was made, beside its spec."""

# Bits of a float16 without its sign, and the first of them that is not finite.
MAGNITUDE, INFINITY = np.uint16(0x7FFF), 0x7C00


class FeatureWriter:
    """Fills a new feature store image by image; use inside `runtime.files.atomic_path`.

    Args:
        path: file to create.
        images: the key of each image, in row order.
        input_size: (height, width) of the network input in pixels.
        provenance: JSON-ready, from `runtime.provenance.describe`.
        shard: JSON-ready, where it is a part of a store: which one (`features.shards`).
    """

    def __init__(
        self,
        path: Path,
        images: Sequence[str],
        input_size: tuple[int, int],
        provenance: Mapping[str, Any],
        shard: Mapping[str, Any] | None = None,
    ) -> None:
        self._closing = ExitStack()
        self._file = self._closing.enter_context(create_hdf5(path))
        self._images = list(images)
        self._file.create_dataset("images", data=self._images, dtype=h5py.string_dtype(), track_times=False)
        self._file.create_group("layers", track_order=True)
        self._file.attrs["input_size"] = np.array(input_size, np.int64)
        self._file.attrs["provenance"] = json.dumps(provenance, sort_keys=True)
        if shard is not None:
            self._file.attrs["shard"] = json.dumps(shard, sort_keys=True)

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

    Args:
        path: of the file.
        check: what is done about its seal; comparing it reads the whole file once, before any map.

    Attributes:
        images: the key of each image, in row order.
        input_size: (height, width) of the network input in pixels.
        provenance: what `runtime.provenance.describe` recorded.
        shard: which part of a store it is; None: a whole one.

    Raises:
        UserError: if the file is missing, damaged, or no feature store.
    """

    def __init__(self, path: Path, *, check: Check = check_seal_if_any) -> None:
        with ExitStack() as opening:
            file = opening.enter_context(open_hdf5(path, "feature store", check=check))
            content = opening.enter_context(path.open("rb"))
            self._readers = opening.enter_context(ThreadPoolExecutor(READERS))  # they start with the first use
            self.images: list[str] = [str(name) for name in file["images"].asstr()[:]]
            height, width = file.attrs["input_size"]
            self.input_size: tuple[int, int] = (int(height), int(width))
            self.provenance: dict[str, Any] = json.loads(file.attrs["provenance"])
            self.shard: dict[str, Any] | None = json.loads(file.attrs.get("shard", "null"))
            self._maps = {layer: StoredMaps(array, content.fileno()) for layer, array in file["layers"].items()}
            self._closing = opening.pop_all()
        self.path = path

    @property
    def made(self) -> dict[str, str]:
        """Device and precision that the maps were computed with, where known."""
        return {key: self.provenance[key] for key in MADE if key in self.provenance}

    @property
    def layer_shapes(self) -> dict[str, tuple[int, int, int]]:
        """Layer name -> (rows, columns, channels)."""
        return {layer: maps.shape for layer, maps in self._maps.items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.close()  # alone: an error of the block is none of the file

    def read(self, layer: str, rows: npt.NDArray[np.int64]) -> Float32:
        """Maps of the given image rows, in that order: [n, rows, columns, channels] float32.

        Raises:
            UserError: if the file is damaged there.
        """
        with explain_damage(self.path, f"is damaged in layer '{layer}'"):
            return self._maps[layer].read(rows, self._readers)

    def copy(self, first: int, stop: int) -> dict[str, Float16]:
        """Maps of the images `first` .. `stop` as they are stored: layer -> [n, rows, columns, channels] float16.

        Raises:
            UserError: if the file is damaged there.
        """
        with explain_damage(self.path, "is damaged"):
            return {layer: maps.copy(first, stop) for layer, maps in self._maps.items()}

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

    @property
    def made(self) -> dict[str, str]:
        """Device and precision that the maps of the first store were computed with, where known."""
        return self.parts[0][0].made

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
    store, *others = (store for store, _ in together.parts)
    warn_of_differences(str(store.path), store.made, others)
    return together


def warn_of_differences(name: str, made: Mapping[str, str], stores: Sequence[FeatureStore]) -> None:
    """Say in the log which stores were made on another device or in another precision than others.

    Both change features by rounding alone, so it is no error; but a change of `device` makes no store anew.

    Args:
        name: what they are compared with, for the message.
        made: how that was made: those of `MADE` that are known.
        stores: the stores.
    """
    for store in stores:
        known = [key for key in MADE if key in made and key in store.made]
        differences = [f"{key} '{made[key]}' and '{store.made[key]}'" for key in known if made[key] != store.made[key]]
        if differences:
            log.warning(
                "%s and %s were made with different settings, which alone changes features a little: %s; delete one "
                "of them to have it made anew",
                *(name, store.path, ", ".join(differences)),
            )


def _is_finite(values: Float16) -> bool:
    return bool(np.bitwise_and(values.view(np.uint16), MAGNITUDE).max(initial=0) < INFINITY)
