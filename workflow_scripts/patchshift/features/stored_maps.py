"""The maps of one layer, read past HDF5: its chunks lie uncompressed in the file, and HDF5 says where.

Threads that read through HDF5 wait for its lock and for Python's; `preadv` needs neither. Each thread reads and widens
a few images at a time: with many small steps one would wait for the other. Widening works on the bits, because NumPy
treats float16 value by value. Tested in tests/features/test_stored_maps.py; measured in benchmarks/store.py.
"""

import os
from concurrent.futures import Executor
from functools import cached_property

import h5py
import numpy as np
import numpy.typing as npt

Float16 = npt.NDArray[np.float16]
Float32 = npt.NDArray[np.float32]

STEP = 1_600_000
"""Bytes of float32 that a thread fills at a time, about what a core's cache holds; one image, if that has more."""

# How many places the exponent of a float16 stands further left in a float32, the sign and the other bits there, and
# what makes up for the exponents' different bias.
SHIFT, SIGNED, REBIAS = 13, np.int32(0x8FFFE000 - (1 << 32)), np.float32(2.0**112)


class StoredMaps:
    """The maps of one layer in an open feature store.

    Args:
        array: HDF5 array [image, row, column, channel] of finite float16, one uncompressed chunk per image.
        descriptor: the same file, open for reading.

    Attributes:
        shape: (rows, columns, channels).

    Raises:
        ValueError: if the array is laid out in another way.
    """

    def __init__(self, array: h5py.Dataset, descriptor: int) -> None:
        rows, columns, channels = array.shape[1:]
        filters = array.id.get_create_plist().get_nfilters()
        if array.dtype != np.float16 or array.chunks != (1, rows, columns, channels) or filters:
            raise ValueError(f"layer '{array.name}' is not float16 with one uncompressed chunk per image")
        self.shape: tuple[int, int, int] = (rows, columns, channels)
        self._array, self._descriptor = array, descriptor

    @cached_property
    def _offsets(self) -> list[int | None]:
        """Where the map of each image starts in the file, in bytes; None where none was written."""
        offsets: list[int | None] = [None] * len(self._array)

        def note(chunk: h5py.h5d.StoreInfo) -> None:
            offsets[chunk.chunk_offset[0]] = chunk.byte_offset

        self._array.id.chunk_iter(note)
        return offsets

    def copy(self, first: int, stop: int) -> Float16:
        """Maps of the images `first` .. `stop` as they are stored."""
        return np.asarray(self._array[first:stop])

    def read(self, rows: npt.NDArray[np.int64], readers: Executor) -> Float32:
        """Maps of the given image rows, in that order: [n, rows, columns, channels] float32.

        Raises:
            OSError, ValueError: if they cannot be read.
        """
        maps = np.empty((len(rows), *self.shape), np.float32)
        offsets = [self._offsets[row] for row in rows.tolist()]

        def fill(part: slice) -> None:
            stored = np.empty((len(offsets[part]), *self.shape), np.float16)
            for offset, image in zip(offsets[part], stored, strict=True):
                if offset is None:
                    raise ValueError("an image was never written")
                if os.preadv(self._descriptor, [image.data], offset) < image.nbytes:
                    raise ValueError("the file ends too early")
            widen(stored, maps[part])

        step = max(1, STEP // max(1, 4 * int(np.prod(self.shape))))
        list(readers.map(fill, [slice(start, start + step) for start in range(0, len(rows), step)]))
        return maps


def widen(values: Float16, out: Float32) -> None:
    """Finite float16 values as float32: the same bits at their new places, then the other bias by an exact product."""
    bits = out.view(np.int32)
    np.copyto(bits, values.view(np.int16))  # the sign fills the bits on its left
    np.left_shift(bits, SHIFT, out=bits)
    np.bitwise_and(bits, SIGNED, out=bits)
    np.multiply(out, REBIAS, out=out)
