"""Which images defects may be made from, and how one is read, drawn for and saved.

Nothing is ever made from a test image: `select_rows` leaves them out, with all images of the same content, and
`require_part` looks again at each image just before it is read.

Tested in tests/data/test_crops.py and tests/data/test_synthesis.py.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from patchshift.data.images import read_image, read_mask
from patchshift.data.index import ImageRow
from patchshift.data.splits import Split
from patchshift.errors import UserError
from patchshift.runtime.files import digest_file

UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Picture:
    """An image and what is known of its pixels.

    Attributes:
        image: [H, W, 3] RGB.
        mask: [H, W], True where defective.
        ignore: [H, W], True where left out of scores and metrics; None: nowhere.
    """

    image: UInt8
    mask: Bool
    ignore: Bool | None = None


def select_rows(rows: Sequence[ImageRow], split: Split, part: str, *, positive: bool) -> list[ImageRow]:
    """The images of a part that are known to be defective (`positive`), or normal; in index order.

    A contaminant is neither. An image whose content is also that of a test image is left out, with a warning.

    Raises:
        UserError: if an image is not in the split.
    """
    tested, role = digests_of_test(rows, split), "positive" if positive else "normal"
    chosen = []
    for row in rows:
        if part_of(row, split) != part or split.role(row.key) != role or bool(row.label) != positive:
            continue
        if row.digest in tested:
            log.warning("%s is left out: an image of test has the same content", row.key)
        else:
            chosen.append(row)
    return chosen


def digests_of_test(rows: Sequence[ImageRow], split: Split) -> frozenset[str]:
    """The digests of the test images."""
    return frozenset(row.digest for row in rows if row.digest and part_of(row, split) == "test")


def part_of(row: ImageRow, split: Split) -> str:
    """The part of the split that an image is in.

    Raises:
        UserError: if the split does not have the image.
    """
    if row.key not in split.parts:
        raise UserError(
            f"{row.key} is not in the split: the images changed since it was drawn; delete it and run again"
        )
    return split.parts[row.key]


def require_part(row: ImageRow, split: Split, part: str) -> None:
    """Refuse to make anything from an image of another part.

    Raises:
        UserError: if the image is in another part of the split, or in none.
    """
    if part_of(row, split) != part:
        raise UserError(
            f"{row.key} is in part '{part_of(row, split)}' of the split, so no defect of '{part}' is made from it"
        )


def read_picture(row: ImageRow, root: Path) -> Picture:
    """Read an image of the index with its masks.

    Raises:
        UserError: if a file cannot be read, changed since it was indexed, or has another size than the image.
    """
    image = read_image(root / row.image, digest=row.digest or None)
    mask = read_mask_of(root / row.mask, image) if row.mask else np.zeros(image.shape[:2], bool)
    return Picture(image, mask, read_mask_of(root / row.ignore, image) if row.ignore else None)


def read_mask_of(path: Path, image: UInt8) -> Bool:
    """Read a mask: [H, W] bool, of the image's size.

    Raises:
        UserError: if it cannot be read, or has another size.
    """
    mask = read_mask(path)
    if mask.shape != image.shape[:2]:
        sizes = [f"{width} x {height}" for height, width in (mask.shape, image.shape[:2])]
        raise UserError(f"{path}: is {sizes[0]} pixels, its image {sizes[1]}: bring a mask of the image's size")
    return mask


def save_picture(
    picture: Picture, folder: Path, *, origin: str, tag: str, official_split: str, defect: str
) -> ImageRow:
    """Write a made image with its masks as PNG below `folder`.

    Args:
        picture: what was made.
        folder: the domain's folder.
        origin: the key of the image that it was made from.
        tag: what was made of it, e.g. "crop0"; with the origin it makes the new key.
        official_split: for the index.
        defect: defect type, for the index.

    Returns:
        Its row in the domain's index.
    """
    name = f"{origin}_{tag}.png"
    image, mask = f"images/{name}", f"masks/{name}"
    ignore = "" if picture.ignore is None else f"ignore/{name}"
    _save(picture.image, folder / image)
    _save(picture.mask.astype(np.uint8) * 255, folder / mask)
    if picture.ignore is not None:
        _save(picture.ignore.astype(np.uint8) * 255, folder / ignore)
    return ImageRow(
        image=image,
        mask=mask,
        official_split=official_split,
        label=1,
        defect=defect,
        source=f"{origin}#{tag}",
        digest=digest_file(folder / image),
        ignore=ignore,
    )


def _save(pixels: UInt8, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=1)
