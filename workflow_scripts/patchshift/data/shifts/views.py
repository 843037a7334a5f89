"""Views: images as the published code of a method sees them, resized and cut at their centre.

As torchvision's `Resize` and `CenterCrop` treat a Pillow image: bilinear with antialiasing, the crop's place rounded to
even. The published code of PatchCore resizes masks in the same way, which makes greys of their edges; here a mask keeps
to the values that it has.
Tested in tests/data/test_views.py.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from patchshift.plan.domain_specs import ViewSpec

UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Size = tuple[int, int]


def cut_view(image: UInt8, masks: Sequence[Bool], spec: ViewSpec) -> tuple[UInt8, list[Bool]]:
    """One image, [H, W] or [H, W, 3], and any number of its masks, [H, W], in a view.

    Returns:
        The image, [C, C] or [C, C, 3], and the masks, [C, C]; C is `spec.centre_crop`.
    """
    size = _resized(image.shape[:2], spec.short_side)
    frame = _centre(size, spec.centre_crop)
    resized = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(resized)[frame].copy(), [_cut_mask(mask, size, frame) for mask in masks]


def _resized(size: Size, short_side: int) -> Size:
    """(height, width) with the shorter side as asked, the longer one rounded down."""
    height, width = size
    if height <= width:
        return short_side, int(short_side * width / height)
    return int(short_side * height / width), short_side


def _centre(size: Size, side: int) -> tuple[slice, slice]:
    """The square in the middle; Python and torchvision round halves to even."""
    top, left = (round((length - side) / 2) for length in size)
    return slice(top, top + side), slice(left, left + side)


def _cut_mask(mask: Bool, size: Size, frame: tuple[slice, slice]) -> Bool:
    """A mask by nearest neighbour; a defect in the frame that falls between all neighbours marks what it touches."""
    resized = Image.fromarray(mask.astype(np.uint8)).resize(size[::-1], Image.Resampling.NEAREST)
    cut = np.asarray(resized)[frame] > 0
    if cut.any() or not mask.any():
        return cut
    touched = np.zeros(size, bool)
    scale = np.divide(size, mask.shape)
    rows, columns = ((np.nonzero(mask)[axis] + 0.5) * scale[axis] for axis in (0, 1))
    touched[rows.astype(int), columns.astype(int)] = True
    return touched[frame]
