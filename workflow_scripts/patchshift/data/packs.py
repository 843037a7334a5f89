"""Packs: the masks and ignore masks (full size), the thumbnails and the facts of one target's images in one file.

After extraction nothing reads domain images again: evaluation and report take what they need from here.
Layout: `images`, `defects` (text), `labels`, `sizes` (height, width), `mask_bits` + `mask_offsets` (packed bits of all
masks, one after another; none for an image without mask), `ignore_bits` + `ignore_offsets` (likewise of the distinct
ignore masks), `ignore_pieces` (which of these each image has; -1: none), `thumbnails` + `thumbnail_offsets` (JPEG),
`facts/{name}` (float32, one number per image: `data.image_facts`).
Tested in tests/data/test_packs.py.
"""

import io
import json
import logging
from array import array
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import h5py
import numpy as np
import numpy.typing as npt
from PIL import Image

from patchshift.data.image_facts import FACTS, measure_facts
from patchshift.data.images import map_files, read_image, read_mask, stream_files
from patchshift.data.index import ImageRow, find_rows
from patchshift.errors import UserError
from patchshift.runtime.files import atomic_path
from patchshift.runtime.hdf5 import create_hdf5, explain_damage, open_hdf5
from patchshift.runtime.sealed import check_seal_if_any

Bool = npt.NDArray[np.bool_]
UInt8 = npt.NDArray[np.uint8]
Float64 = npt.NDArray[np.float64]

THUMBNAIL_SIDE = 256  # longest side, pixels
NO_BITS = np.zeros(0, np.uint8)
CHUNK = 1 << 16  # bytes of masks or thumbnails that are stored together

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Packed:
    """What is told of an image that is packed; `hidden`: its mask marks pixels, and all of them are ignored."""

    size: tuple[int, int]
    facts: dict[str, float]
    marked: bool
    hidden: bool


def write_pack(path: Path, rows: Sequence[ImageRow], root: Path, provenance: Mapping[str, Any]) -> None:
    """Pack the masks, ignore masks, thumbnails and facts of all images of an index.

    Labels follow what can be seen: an anomalous image whose mask lies wholly inside its ignored region counts as
    normal. Such images are named in a warning. So are masks without any defect pixel, which are not refused: published
    sets have some (four images of MTD), and their images stay anomalous.

    Raises:
        UserError: listing every image or mask that cannot be read, and every mask or ignore mask whose size is not its
            image's.
    """
    paths = list(dict.fromkeys(row.ignore for row in rows if row.ignore))  # one mask may serve a whole category
    ignored = dict(zip(paths, map_files(lambda name: _read_bits(root / name), paths), strict=True))

    def pack(row: ImageRow) -> tuple[_Packed, UInt8, UInt8]:
        image = read_image(root / row.image, digest=row.digest)
        size = image.shape[:2]
        marked = read_mask(root / row.mask) if row.mask else None
        mask_size, mask = (size, NO_BITS) if marked is None else (marked.shape, np.packbits(marked))
        ignore_size, ignore = ignored[row.ignore] if row.ignore else (size, NO_BITS)
        for kind, name, found in (("mask", row.mask, mask_size), ("ignore mask", row.ignore, ignore_size)):
            if found != size:
                raise UserError(f"{kind} {root / name} is {found}, its image {row.image} is {size}: they must match")
        hidden = bool(len(ignore) and mask.any() and not (mask & ~ignore).any())
        facts = measure_facts(image, marked, _unpack_bits(ignore, size) if len(ignore) else None)
        return _Packed(size, facts, bool(mask.any()), hidden), mask, _thumbnail(image)

    number = {name: piece for piece, name in enumerate(ignored)}
    sizes, facts = array("q"), array("f")
    nonempty: list[bool] = []
    hidden: list[bool] = []
    with atomic_path(path) as partial, create_hdf5(partial) as file:
        masks, thumbnails = _Pieces(file, "mask", "mask_bits"), _Pieces(file, "thumbnail", "thumbnails")
        for one, mask, thumbnail in stream_files(pack, rows):
            sizes.extend(one.size)
            facts.extend(one.facts[name] for name in FACTS)
            nonempty.append(one.marked)
            hidden.append(one.hidden)
            masks.add(mask)
            thumbnails.add(thumbnail)
        ignores = _Pieces(file, "ignore", "ignore_bits")
        for _, bits in ignored.values():
            ignores.add(bits)
        for pieces in (masks, thumbnails, ignores):
            pieces.close()
        seen = [replace(row, label=0, defect="") if gone else row for row, gone in zip(rows, hidden, strict=True)]
        measured = np.array(facts, np.float32).reshape(len(rows), len(FACTS))
        for name, texts in (("images", [row.key for row in seen]), ("defects", [row.defect for row in seen])):
            file.create_dataset(name, data=texts, dtype=h5py.string_dtype(), track_times=False)
        columns = {
            "labels": np.array([row.label for row in seen], np.int8),
            "sizes": np.array(sizes, np.int64).reshape(len(rows), 2),
            "ignore_pieces": np.array([number.get(row.ignore, -1) for row in seen], np.int64),
            **{f"facts/{name}": measured[:, column] for column, name in enumerate(FACTS)},
        }
        for name, values in columns.items():
            file.create_dataset(name, data=values, track_times=False)
        file.attrs["provenance"] = json.dumps(provenance, sort_keys=True)
    _warn_of_empty_masks([row.mask for row, has in zip(rows, nonempty, strict=True) if row.mask and not has], root)
    _warn_of_hidden_defects([row.key for row, gone in zip(rows, hidden, strict=True) if gone and row.label], root)


class Pack:
    """A pack opened for reading; a context manager.

    Attributes:
        images: image keys, in row order.
        labels: [n] int, 1 for anomalous images whose defect is not wholly ignored.
        defects: defect types, empty for normal images.
        has_masks: whether every anomalous image has a mask.
        has_ignore: whether any image has an ignore mask.
        facts: name in `image_facts.FACTS` -> [n] float64, NaN where there is nothing to measure.
    """

    def __init__(self, path: Path) -> None:
        with ExitStack() as opening:
            self._file = opening.enter_context(open_hdf5(path, "pack", check=check_seal_if_any))
            self.images: list[str] = list(self._file["images"].asstr()[:])
            self.defects: list[str] = list(self._file["defects"].asstr()[:])
            self.labels: npt.NDArray[np.int64] = self._file["labels"][:].astype(np.int64)
            self._sizes = self._file["sizes"][:]
            self._mask_offsets = self._file["mask_offsets"][:]
            self._ignore_offsets = self._file["ignore_offsets"][:]
            self._ignore_pieces = self._file["ignore_pieces"][:]
            self._thumbnail_offsets = self._file["thumbnail_offsets"][:]
            self.facts: dict[str, Float64] = {name: self._file["facts"][name][:].astype(np.float64) for name in FACTS}
            self._closing = opening.pop_all()
        self._path = path
        self.has_masks = bool((np.diff(self._mask_offsets) > 0)[self.labels == 1].all())
        self.has_ignore = bool((self._ignore_pieces >= 0).any())

    def rows(self, images: Sequence[str]) -> list[int]:
        """The row of each named image.

        Raises:
            UserError: if an image is not in the pack.
        """
        rows: list[int] = find_rows(images, self.images, path=self._path, lacks="lacks").tolist()
        return rows

    def mask(self, row: int) -> Bool:
        """[height, width] of the original image, True where defective, ignored or not."""
        return self._unpack("mask", row, row)

    def ignore(self, row: int) -> Bool:
        """[height, width] of the original image, True where scores and pixel metrics look away."""
        return self._unpack("ignore", row, int(self._ignore_pieces[row]))

    def thumbnail(self, row: int) -> bytes:
        """A JPEG of the image, its longest side at most THUMBNAIL_SIDE pixels."""
        return bytes(self._piece("thumbnails", self._thumbnail_offsets, row))

    def _unpack(self, kind: Literal["mask", "ignore"], row: int, piece: int) -> Bool:
        height, width = map(int, self._sizes[row])
        offsets = self._mask_offsets if kind == "mask" else self._ignore_offsets
        bits = self._piece(f"{kind}_bits", offsets, piece) if piece >= 0 else NO_BITS
        return _unpack_bits(bits, (height, width)) if len(bits) else np.zeros((height, width), bool)

    def _piece(self, name: str, offsets: npt.NDArray[np.int64], piece: int) -> UInt8:
        with explain_damage(self._path, f"is damaged in '{name}'"):
            content: UInt8 = self._file[name][offsets[piece] : offsets[piece + 1]]
        return content

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.close()  # alone: an error of the block is none of the file


def _read_bits(path: Path) -> tuple[tuple[int, ...], UInt8]:
    """The size and the packed bits of a mask."""
    mask = read_mask(path)
    return mask.shape, np.packbits(mask)


def _unpack_bits(bits: UInt8, size: tuple[int, ...]) -> Bool:
    """A mask of (height, width) from its packed bits."""
    height, width = size
    return np.unpackbits(bits, count=height * width).astype(bool).reshape(height, width)


def _warn_of_empty_masks(masks: Sequence[str], root: Path) -> None:
    if masks:
        log.warning(
            "%d masks under %s mark no pixel: %s. Their images count as anomalous, all their pixels as normal; draw "
            "the defects, or remove the images",
            len(masks),
            root,
            ", ".join(masks),
        )


def _warn_of_hidden_defects(images: Sequence[str], root: Path) -> None:
    if images:
        log.warning(
            "%d anomalous images under %s count as normal, because their defects lie wholly inside ignored regions: %s",
            len(images),
            root,
            ", ".join(images),
        )


def _thumbnail(image: UInt8) -> UInt8:
    picture = Image.fromarray(image)
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return np.frombuffer(buffer.getvalue(), np.uint8)


class _Pieces:
    """Bytes of one image after the other, written as they come; `{prefix}_offsets` says where each begins."""

    def __init__(self, file: h5py.File, prefix: str, name: str) -> None:
        self._file, self._prefix = file, prefix
        self._written = file.create_dataset(
            name,
            shape=(0,),
            maxshape=(None,),
            chunks=(CHUNK,),
            dtype=np.uint8,
            compression="gzip" if name.endswith("_bits") else None,
            track_times=False,
        )
        self._offsets, self._waiting = [0], bytearray()

    def add(self, piece: UInt8) -> None:
        self._offsets.append(self._offsets[-1] + len(piece))
        self._waiting += piece.tobytes()
        if len(self._waiting) >= CHUNK:  # whole chunks: none is packed twice
            self._write(len(self._waiting) // CHUNK * CHUNK)

    def close(self) -> None:
        self._write(len(self._waiting))
        self._file.create_dataset(f"{self._prefix}_offsets", data=np.array(self._offsets), track_times=False)

    def _write(self, count: int) -> None:
        start = len(self._written)
        self._written.resize((start + count,))
        self._written[start:] = np.frombuffer(self._waiting[:count], np.uint8)
        del self._waiting[:count]
