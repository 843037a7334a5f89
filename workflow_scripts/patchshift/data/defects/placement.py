"""Where on an image a defect may be placed, and whether it can be seen.

Tested in tests/data/test_synthesis.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_fill_holes, binary_opening, gaussian_filter
from skimage.filters import threshold_otsu

from patchshift.data.defects.sources import Picture

UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]

VISIBLE = 7.0  # levels of 255: mean change within the mask, fine grain apart
GRAIN = 2.0  # pixels: sigma of the blur that takes away fine grain, which the eye does not follow
NOTICEABLE = 3.0  # levels of 255: change of one pixel, above what a camera's noise hides
NOTICEABLE_SHARE = 0.6  # of the mask's pixels
SMALLEST_MASK = 12  # pixels
BORDER_SHARE = 0.95  # of the frame's pixels that a background takes
SEPARATION = 3.0  # spreads of the background that the object lies away from it


@dataclass(frozen=True)
class Materials:
    """What defects are made of, of the same part of the split; each is read when asked for.

    Attributes:
        texture: a random image [H', W', 3] uint8: another normal one, or the image itself where there is no other.
        shape: a random mask [H', W'] bool of a real defect.
    """

    texture: Callable[[np.random.Generator], UInt8]
    shape: Callable[[np.random.Generator], Bool]


Maker = Callable[[UInt8, Bool, Materials, np.random.Generator], tuple[UInt8, Bool]]
"""Makes a defect on an image [H, W, 3], within the pixels [H, W] where one may be: the changed image, and its mask.
The two images differ within the mask only."""


def find_places(picture: Picture) -> Bool:
    """[H, W] where a defect may be placed: on the object, outside the ignored region."""
    foreground = find_foreground(picture.image)
    return foreground if picture.ignore is None else foreground & ~picture.ignore


def find_foreground(image: UInt8) -> Bool:
    """[H, W] where the object is; all True unless it clearly lies on a background.

    There is a background where one side of Otsu's threshold takes nearly all of the image's frame and is even: the
    object's mean lies `SEPARATION` of its standard deviations away.
    """
    grey = image.mean(axis=2)
    everywhere = np.ones(grey.shape, bool)
    if grey.min() == grey.max():
        return everywhere
    bright = grey > threshold_otsu(grey)
    frame = np.concatenate([bright[0], bright[-1], bright[:, 0], bright[:, -1]])
    if 1 - BORDER_SHARE < frame.mean() < BORDER_SHARE:
        return everywhere
    background = bright if frame.mean() > 0.5 else ~bright
    distance = abs(grey[~background].mean() - grey[background].mean())
    if distance < SEPARATION * grey[background].std():
        return everywhere
    foreground: Bool = binary_fill_holes(binary_opening(~background, np.ones((3, 3))))
    return foreground if foreground.sum() >= SMALLEST_MASK else everywhere


def is_visible(before: UInt8, after: UInt8, mask: Bool) -> bool:
    """Whether a change within a mask would strike someone who looks at the image."""
    if np.count_nonzero(mask) < SMALLEST_MASK:
        return False
    rows, columns = (slice(axis.min(), axis.max() + 1) for axis in np.nonzero(mask))
    inside = mask[rows, columns]
    change = after[rows, columns].astype(np.float32) - before[rows, columns]
    blurred = gaussian_filter(change, (GRAIN, GRAIN, 0), mode="constant")
    noticed = (np.abs(change[inside]).mean(axis=1) >= NOTICEABLE).mean()
    return bool(np.abs(blurred[inside]).mean() >= VISIBLE and noticed >= NOTICEABLE_SHARE)


def pick_pixel(places: Bool, stream: np.random.Generator) -> tuple[int, int]:
    """A random (row, column) where `places` [H, W] is True."""
    chosen = np.flatnonzero(places)
    row, column = np.unravel_index(chosen[stream.integers(len(chosen))], places.shape)
    return int(row), int(column)
