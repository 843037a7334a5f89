"""Defects cut from the image itself: a rectangle pasted elsewhere, or a thin, turned strip (Li et al. 2021, CutPaste).

Sizes of the rectangle are the paper's. A strip is longer than the paper's "scar", like the scratches of real parts.
Tested in tests/data/test_synthesis.py.
"""

import numpy as np
import numpy.typing as npt
from skimage.draw import polygon2mask
from skimage.transform import AffineTransform, warp

from patchshift.data.defects.boxes import Box
from patchshift.data.defects.placement import Materials, pick_pixel

UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]

AREA = (0.02, 0.15)  # of the image
ASPECT = (0.3, 3.3)  # height by width
STRIP_WIDTH = (0.008, 0.03)  # of the side of a square of the image's area
STRIP_LENGTH = (0.1, 0.4)
JITTER = 0.1  # largest relative change of brightness, contrast and saturation


def paste_patch(image: UInt8, places: Bool, materials: Materials, stream: np.random.Generator) -> tuple[UInt8, Bool]:
    """Paste a rectangle of the image elsewhere, in slightly other colours; see `placement.Maker`."""
    area = stream.uniform(*AREA) * places.size
    aspect = np.exp(stream.uniform(*np.log(ASPECT)))
    height, width = np.sqrt(area * aspect), np.sqrt(area / aspect)
    return _paste(image, places, stream, height, width, 0.0)


def paste_scar(image: UInt8, places: Bool, materials: Materials, stream: np.random.Generator) -> tuple[UInt8, Bool]:
    """Paste a thin strip of the image elsewhere, turned, in slightly other colours; see `placement.Maker`."""
    side = np.sqrt(places.size)
    width, length = stream.uniform(*STRIP_WIDTH) * side, stream.uniform(*STRIP_LENGTH) * side
    return _paste(image, places, stream, max(width, 2.0), length, stream.uniform(-np.pi / 2, np.pi / 2))


def jitter_colours(pixels: Float32, amount: float, stream: np.random.Generator) -> Float32:
    """Pixels [..., 3] of 0 to 255 in other brightness, contrast and saturation; grey stays grey.

    Brightness is added, not multiplied: so a black surface changes as well.
    """
    contrast, saturation = stream.uniform(1 - amount, 1 + amount, 2)
    mean, grey = pixels.mean(), pixels.mean(axis=-1, keepdims=True)
    values = grey + (pixels - grey) * saturation
    varied: Float32 = (values - mean) * contrast + mean + stream.uniform(-amount, amount) * 255
    return varied.astype(np.float32)


def _paste(
    image: UInt8, places: Bool, stream: np.random.Generator, height: float, width: float, turn: float
) -> tuple[UInt8, Bool]:
    """Paste what lies around one pixel around another; both are drawn where a defect may be."""
    target, source = (np.array(pick_pixel(places, stream)) for _ in range(2))
    mask = _rectangle(places.shape, target, height, width, turn) & places
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    # From the box to where its pixels are cut from, in (x, y).
    to_source = (
        AffineTransform(translation=[box.left - target[1], box.top - target[0]])
        + AffineTransform(rotation=-turn)
        + AffineTransform(translation=source[::-1])
    )
    size = (box.bottom - box.top, box.right - box.left)
    patch = warp(image.astype(np.float32), to_source, output_shape=size, order=1, mode="reflect")
    patch = (jitter_colours(patch, JITTER, stream).clip(0, 255) + 0.5).astype(np.uint8)
    changed = image.copy()
    changed[box.slices] = np.where(mask[box.slices][..., None], patch, image[box.slices])
    return changed, mask


def _rectangle(shape: tuple[int, ...], centre: npt.NDArray[np.int64], height: float, width: float, turn: float) -> Bool:
    """[H, W] True in a rectangle around a pixel (row, column), turned; always at its centre."""
    corners = np.array([[-1, -1], [-1, 1], [1, 1], [1, -1]]) * [height / 2, width / 2]
    cosine, sine = np.cos(turn), np.sin(turn)
    turned = corners @ np.array([[cosine, -sine], [sine, cosine]])
    mask: Bool = polygon2mask(shape, turned + centre)
    mask[tuple(centre)] = True
    return mask
