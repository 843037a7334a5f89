"""Ignored regions and defects of images on the grid of their patches.

Tested in tests/data/test_regions.py.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from patchshift.data.packs import Pack

Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]


def ignore_patches(ignore: Bool, grid: tuple[int, int]) -> Bool:
    """Which patches are ignored: those with more than half of their area in the ignored region.

    Backbones see images squashed to the input size, so the grid divides the whole image into equal rectangles. A pixel
    that lies in several patches counts in each by the area that they share.

    Args:
        ignore: [H, W] of the image, True where ignored.
        grid: (rows, columns) of patches.

    Returns:
        [rows, columns].
    """
    halved: Bool = 2 * _covered_areas(ignore, grid) > ignore.size  # all are whole numbers, so half is exactly half
    return halved


def defective_patches(mask: Bool, grid: tuple[int, int]) -> Bool:
    """Which patches are defective: those with more than half of their area in the mask.

    A defect that fills no patch that far has its most covered patch, the first of equals; an empty mask has none.

    Args:
        mask: [H, W] of the image, True where defective.
        grid: (rows, columns) of patches, which lie as in `ignore_patches`.

    Returns:
        [rows, columns].
    """
    areas = _covered_areas(mask, grid)
    defective: Bool = 2 * areas > mask.size
    if not defective.any() and areas.any():
        defective.flat[areas.argmax()] = True
    return defective


def measure_patch_shares(mask: Bool, grid: tuple[int, int]) -> Float64:
    """Which share of each patch's area a mask covers: [rows, columns] in [0, 1]; patches lie as in `ignore_patches`.

    Args:
        mask: [H, W] of the image.
        grid: (rows, columns) of patches.
    """
    return _covered_areas(mask, grid) / mask.size


def read_ignored_patches(pack: Path, images: Sequence[str], grid: tuple[int, int]) -> Bool | None:
    """The ignored patches of images: [n, rows, columns] bool; None if no image of the pack has an ignore mask.

    Args:
        pack: the pack of the images' domain.
        images: the n image keys.
        grid: (rows, columns) of patches.

    Raises:
        UserError: if an image is not in the pack.
    """
    with Pack(pack) as opened:
        rows = opened.rows(images)
        if not opened.has_ignore:
            return None
        return _stack((ignore_patches(opened.ignore(row), grid) for row in rows), len(rows), grid)


def read_defective_patches(pack: Path, images: Sequence[str], grid: tuple[int, int]) -> Bool:
    """The defective patches of images: [n, rows, columns] bool. What of a mask lies in an ignored region is no defect.

    Args:
        pack: the pack of the images' domain.
        images: the n image keys.
        grid: (rows, columns) of patches.

    Raises:
        UserError: if an image is not in the pack.
    """
    with Pack(pack) as opened:
        rows = opened.rows(images)
        masks = (opened.mask(row) & ~opened.ignore(row) for row in rows)
        return _stack((defective_patches(mask, grid) for mask in masks), len(rows), grid)


def _stack(patches: Iterable[Bool], count: int, grid: tuple[int, int]) -> Bool:
    """[count, rows, columns] of [rows, columns] each."""
    stacked = np.zeros((count, *grid), np.bool_)
    for image, each in enumerate(patches):
        stacked[image] = each
    return stacked


def _covered_areas(mask: Bool, grid: tuple[int, int]) -> Float64:
    """[rows, columns] the area of each patch that a mask covers, whole numbers; a whole patch's is the mask's size."""
    down, across = (_overlaps(length, patches) for length, patches in zip(mask.shape, grid, strict=True))
    covered: Float64 = down @ mask.astype(np.float64) @ across.T
    return covered


def _overlaps(pixels: int, patches: int) -> Float64:
    """[patches, pixels] the length that a patch and a pixel share, a pixel being as long as there are patches."""
    patch = np.arange(patches)[:, None] * pixels
    pixel = np.arange(pixels) * patches
    shared = np.minimum(patch + pixels, pixel + patches) - np.maximum(patch, pixel)
    overlaps: Float64 = np.maximum(shared, 0).astype(np.float64)
    return overlaps
