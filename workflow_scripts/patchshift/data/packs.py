"""Packs: the masks (full size) and thumbnails of one target in one file.

After extraction nothing reads domain images again: evaluation and report take what they need from here.
Layout: `images`, `defects` (text), `labels`, `sizes` (height, width), `mask_bits` + `mask_offsets` (packed bits of all
masks, one after another; none for an image without mask), `thumbnails` + `thumbnail_offsets` (JPEG).
Tested in tests/data/test_packs.py.
"""

import io
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np
import numpy.typing as npt
from PIL import Image

from patchshift.data.images import map_files, read_image, read_mask
from patchshift.data.index import ImageRow, find_rows
from patchshift.errors import UserError
from patchshift.runtime.files import atomic_path
from patchshift.runtime.hdf5 import create_hdf5

Bool = npt.NDArray[np.bool_]
UInt8 = npt.NDArray[np.uint8]

THUMBNAIL_SIDE = 256  # longest side, pixels

log = logging.getLogger(__name__)


def write_pack(path: Path, rows: Sequence[ImageRow], root: Path, provenance: Mapping[str, Any]) -> None:
    """Pack the masks and thumbnails of all images of an index.

    Masks without any defect pixel are named in a warning, not refused: published sets have some (four images of MTD).

    Raises:
        UserError: listing every image or mask that cannot be read, and every mask whose size is not its image's.
    """

    def pack(row: ImageRow) -> tuple[tuple[int, int], UInt8, UInt8]:
        image = read_image(root / row.image, digest=row.digest)
        size = image.shape[:2]
        mask = read_mask(root / row.mask) if row.mask else np.zeros((0, 0), bool)
        if row.mask and mask.shape != size:
            raise UserError(f"mask {root / row.mask} is {mask.shape}, its image {row.image} is {size}: they must match")
        return size, np.packbits(mask), _thumbnail(image)

    packed = map_files(pack, rows)
    empty = [row.mask for row, (_, bits, _) in zip(rows, packed, strict=True) if row.mask and not bits.any()]
    if empty:
        log.warning(
            "%d masks under %s mark no pixel: %s. Their images count as anomalous, all their pixels as normal; draw "
            "the defects, or remove the images",
            len(empty),
            root,
            ", ".join(empty),
        )
    with atomic_path(path) as partial, create_hdf5(partial) as file:
        for name, texts in (("images", [row.key for row in rows]), ("defects", [row.defect for row in rows])):
            file.create_dataset(name, data=texts, dtype=h5py.string_dtype(), track_times=False)
        file.create_dataset("labels", data=np.array([row.label for row in rows], np.int8), track_times=False)
        file.create_dataset("sizes", data=np.array([size for size, _, _ in packed], np.int64), track_times=False)
        _write_pieces(file, "mask", "mask_bits", [bits for _, bits, _ in packed], compression="gzip")
        _write_pieces(file, "thumbnail", "thumbnails", [jpeg for _, _, jpeg in packed])
        file.attrs["provenance"] = json.dumps(provenance, sort_keys=True)


class Pack:
    """A pack opened for reading; a context manager.

    Attributes:
        images: image keys, in row order.
        labels: [n] int, 1 for anomalous images.
        defects: defect types, empty for normal images.
        has_masks: whether every anomalous image has a mask.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = h5py.File(path, "r")
            self.images: list[str] = list(self._file["images"].asstr()[:])
            self.defects: list[str] = list(self._file["defects"].asstr()[:])
            self.labels: npt.NDArray[np.int64] = self._file["labels"][:].astype(np.int64)
            self._sizes = self._file["sizes"][:]
            self._mask_offsets = self._file["mask_offsets"][:]
            self._thumbnail_offsets = self._file["thumbnail_offsets"][:]
        except (OSError, KeyError) as error:
            raise UserError(f"{path} is not a whole pack ({error}): delete it and run again") from error
        self._path = path
        self.has_masks = bool((np.diff(self._mask_offsets) > 0)[self.labels == 1].all())

    def rows(self, images: Sequence[str]) -> list[int]:
        """The row of each named image.

        Raises:
            UserError: if an image is not in the pack.
        """
        rows: list[int] = find_rows(images, self.images, path=self._path, lacks="lacks").tolist()
        return rows

    def mask(self, row: int) -> Bool:
        """[height, width] of the original image, True where defective."""
        height, width = map(int, self._sizes[row])
        bits = self._file["mask_bits"][self._mask_offsets[row] : self._mask_offsets[row + 1]]
        if not len(bits):
            return np.zeros((height, width), bool)
        return np.unpackbits(bits, count=height * width).astype(bool).reshape(height, width)

    def thumbnail(self, row: int) -> bytes:
        """A JPEG of the image, its longest side at most THUMBNAIL_SIDE pixels."""
        return bytes(self._file["thumbnails"][self._thumbnail_offsets[row] : self._thumbnail_offsets[row + 1]])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()


def _thumbnail(image: UInt8) -> UInt8:
    picture = Image.fromarray(image)
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def _write_pieces(file: h5py.File, prefix: str, name: str, pieces: Sequence[UInt8], **options: str) -> None:
    content = np.concatenate(pieces) if pieces else np.zeros(0, np.uint8)
    chunks = (min(1 << 20, len(content)),) if len(content) else None
    file.create_dataset(name, data=content, chunks=chunks, track_times=False, **(options if chunks else {}))
    file.create_dataset(f"{prefix}_offsets", data=np.cumsum([0, *map(len, pieces)]), track_times=False)
