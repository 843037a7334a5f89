"""Geometric transforms: each draws a 3 x 3 matrix, and one projective warp moves image and masks.

A matrix takes homogeneous output coordinates (x to the right, y downwards, the middle of the first pixel at 0, 0) to
input coordinates, in pixels. Borders are mirrored: black corners would be anomalies themselves.
Tested in tests/data/test_geometric_shifts.py.
"""

from collections.abc import Callable, Mapping
from functools import reduce

import numpy as np
import numpy.typing as npt
from skimage.transform import ProjectiveTransform, warp

from patchshift.data.shifts.severities import Ends

UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
Size = tuple[int, int]

GeometricTransform = Callable[[Size, Ends, np.random.Generator], Float64]


def draw_crop(size: Size, between: Ends, rng: np.random.Generator) -> Float64:
    """A crop of the same shape at a random place, enlarged to the full size; the amount is the area's share."""
    height, width = size
    side = np.sqrt(rng.uniform(*between))
    left, top = rng.uniform(0, 1, 2) * (1 - side) * [width, height]
    edge = (side - 1) / 2  # pixels' middles, not their edges, lie on whole numbers
    return np.array([[side, 0, left + edge], [0, side, top + edge], [0, 0, 1]])


def draw_rotation(size: Size, between: Ends, rng: np.random.Generator) -> Float64:
    """A rotation about the centre; the amount is in degrees."""
    return turn_about_centre(size, rng.uniform(*between))


def turn_about_centre(size: Size, degrees: float) -> Float64:
    """A rotation by so many degrees, counter-clockwise: [3, 3] from output to input coordinates."""
    height, width = size
    angle = np.deg2rad(degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    x, y = (width - 1) / 2, (height - 1) / 2
    return np.array([[cosine, -sine, x - cosine * x + sine * y], [sine, cosine, y - sine * x - cosine * y], [0, 0, 1]])


def draw_translation(size: Size, between: Ends, rng: np.random.Generator) -> Float64:
    """A translation in both directions; the amounts are shares of width and height."""
    height, width = size
    right, down = rng.uniform(*between, 2)
    return np.array([[1, 0, -right * width], [0, 1, -down * height], [0, 0, 1]])


def draw_perspective(size: Size, between: Ends, rng: np.random.Generator) -> Float64:
    """Each corner of the output shows a place near that corner; the amounts are shares of width and height."""
    height, width = size
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * [width, height] - 0.5
    moved = corners + rng.uniform(*between, (4, 2)) * [width, height]
    return np.asarray(ProjectiveTransform.from_estimate(corners, moved).params)


GEOMETRIC: dict[str, GeometricTransform] = {
    "crop": draw_crop,
    "rotation": draw_rotation,
    "translation": draw_translation,
    "perspective": draw_perspective,
}


def draw_warp(size: Size, amounts: Mapping[str, Ends], streams: Mapping[str, np.random.Generator]) -> Float64:
    """Several transforms as one matrix.

    Args:
        size: (height, width) of the image.
        amounts: name of each transform -> between which amounts it draws, the first applied first.
        streams: name -> its random stream.

    Returns:
        [3, 3] from output to input coordinates.
    """
    matrices = [GEOMETRIC[name](size, between, streams[name]) for name, between in amounts.items()]
    return reduce(np.matmul, matrices, np.eye(3))


def warp_image(image: UInt8, matrix: Float64) -> UInt8:
    """Move an image, [H, W] or [H, W, 3], by a [3, 3] matrix from output to input coordinates (bilinear)."""
    moved = _warp(image.astype(np.float32), matrix, order=1)
    moved += 0.5
    return moved.astype(np.uint8)


def warp_mask(mask: Bool, matrix: Float64) -> Bool:
    """Move a mask, [H, W], as `warp_image` moves its image (nearest neighbour)."""
    # most images have no defect, and what is of one value stays so
    if mask.all() or not mask.any():
        return mask
    return _warp(mask.astype(np.float32), matrix, order=0) > 0.5


def _warp(values: npt.NDArray[np.float32], matrix: Float64, order: int) -> npt.NDArray[np.float32]:
    moved: npt.NDArray[np.float32] = warp(
        values, ProjectiveTransform(matrix), order=order, mode="symmetric", preserve_range=True, clip=False
    )
    return moved
