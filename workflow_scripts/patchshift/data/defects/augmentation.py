"""Varied copies of crops: mirrored, turned, in other light.

Tested in tests/data/test_crops.py.
"""

import numpy as np
import numpy.typing as npt
from skimage.transform import AffineTransform, warp

from patchshift.data.defects.boxes import Box
from patchshift.data.defects.sources import Picture
from patchshift.plan.domain_specs import AugmentationSpec

Bool = npt.NDArray[np.bool_]


def vary_crop(picture: Picture, box: Box, spec: AugmentationSpec, stream: np.random.Generator) -> Picture:
    """A varied copy of the crop of an image at a box, of the crop's size.

    The crop is cut from the turned image, so its corners show what lies beside it; only beyond the image's own border
    it is reflected. All moves are one warp: bilinear, masks by nearest neighbour. A turn that would bring the whole
    defect out of the crop is left out.

    Args:
        picture: the whole image.
        box: where the crop lies.
        spec: which variations, and how strong.
        stream: random numbers for this copy alone.
    """
    flips = np.where(stream.random(2) < 0.5, -1.0, 1.0) if spec.flips else np.ones(2)
    turn = np.deg2rad(stream.uniform(-spec.rotation, spec.rotation))
    brightness, contrast = stream.uniform(1 - spec.jitter, 1 + spec.jitter, 2)
    mask = _move(picture.mask, box, flips, turn)
    if not mask.any():
        turn = 0.0
        mask = _move(picture.mask, box, flips, turn)
    values = _warp(picture.image, box, flips, turn, order=1)
    mean = values.mean()
    values = (values - mean) * contrast + mean * brightness
    ignore = None if picture.ignore is None else _move(picture.ignore, box, flips, turn)
    return Picture((values.clip(0, 255) + 0.5).astype(np.uint8), mask, ignore)


def _move(mask: Bool, box: Box, flips: npt.NDArray[np.float64], turn: float) -> Bool:
    moved: Bool = _warp(mask, box, flips, turn, order=0) > 0.5
    return moved


def _warp(
    pixels: npt.NDArray[np.generic], box: Box, flips: npt.NDArray[np.float64], turn: float, *, order: int
) -> npt.NDArray[np.float32]:
    """The crop [h, w, ...] of an image [H, W, ...] that is mirrored and turned about the crop's centre."""
    size = np.array([box.right - box.left, box.bottom - box.top])
    centre = (size - 1) / 2
    corner = np.array([box.left, box.top])
    # From crop to image coordinates (x, y).
    to_image = (
        AffineTransform(translation=-centre)
        + AffineTransform(scale=tuple(flips))
        + AffineTransform(rotation=turn)
        + AffineTransform(translation=centre + corner)
    )
    warped: npt.NDArray[np.float32] = warp(
        pixels.astype(np.float32), to_image, output_shape=tuple(size[::-1]), order=order, mode="reflect"
    )
    return warped
