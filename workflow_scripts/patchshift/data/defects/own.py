"""Crops and synthetic defects that the user brings, as a folder of images.

Tested in tests/data/test_crops.py and tests/data/test_synthesis.py.
"""

from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np

from patchshift.data.adapters.tree import IMAGE_SUFFIXES
from patchshift.data.defects.sources import Picture, read_mask_of
from patchshift.data.images import raise_all, read_image
from patchshift.errors import UserError
from patchshift.runtime.files import digest_file

MASKS = "masks"


def find_crops(folder: Path) -> dict[Path, Path | None]:
    """All images below a folder and their masks: of the same name, any suffix, below its `masks/`; None: no mask.

    Raises:
        UserError: if there is no such folder, it has no image, or an image has several masks.
    """
    masks = folder / MASKS
    images = [path for path in _required(folder) if masks not in path.parents]
    if not images:
        raise UserError(f"{folder} has no image beside its masks: bring some there")
    return _pair(images, folder, masks)


def find_augmented(folder: Path) -> dict[Path, Path | None]:
    """All images below a folder's `images/` and their masks: of the same name, any suffix, below its `masks/`.

    Raises:
        UserError: if there is no such folder, it has no image, or images have no mask.
    """
    images, masks = folder / "images", folder / MASKS
    found = _pair(_required(images), images, masks)
    raise_all([f"{path}: has no mask of its name in {masks}" for path, mask in found.items() if mask is None])
    return found


def read_own(image_path: Path, mask_path: Path | None, tested: Set[str]) -> Picture:
    """Read an image that the user brought; without a mask all of it is defect.

    Args:
        image_path: the image.
        mask_path: its mask, if it has one.
        tested: digests of the test images, none of which it may be.

    Raises:
        UserError: if a file cannot be read, the mask has another size or marks nothing, or it is a test image.
    """
    if digest_file(image_path) in tested:
        raise UserError(
            f"{image_path}: is an image of test: remove it, positives and calibration never see test images"
        )
    image = read_image(image_path)
    mask = np.ones(image.shape[:2], bool) if mask_path is None else read_mask_of(mask_path, image)
    if not mask.any():
        raise UserError(f"{mask_path}: marks no defect: mend it, or remove it and its image")
    return Picture(image, mask)


def _required(folder: Path) -> list[Path]:
    images = _images(folder)
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist: bring the images there, or correct the path in the domain")
    if not images:
        raise UserError(f"{folder} has no image ({', '.join(sorted(IMAGE_SUFFIXES))}): bring some there")
    return images


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def _pair(images: Sequence[Path], folder: Path, masks: Path) -> dict[Path, Path | None]:
    """Image -> the mask at the same place below `masks`, whatever its suffix."""
    named: dict[Path, Path] = {}
    for mask in _images(masks):
        name = mask.relative_to(masks).with_suffix("")
        if name in named:
            raise UserError(f"{named[name]} and {mask.name} are masks of the same image: remove one")
        named[name] = mask
    return {path: named.get(path.relative_to(folder).with_suffix("")) for path in images}
