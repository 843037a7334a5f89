"""Defects of foreign texture in the shape of Perlin noise (Zavrtanik et al. 2021, DRAEM).

Unlike there, a defect has few regions, so it looks like one fault; and the texture is of another normal image, so
nothing but the dataset is needed. Tested in tests/data/test_synthesis.py.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from scipy.ndimage import label
from skimage.transform import resize

from patchshift.data.defects.cutpaste import jitter_colours
from patchshift.data.defects.placement import SMALLEST_MASK, Materials, is_visible

UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]

THRESHOLD = 0.5
CELLS = (1, 5)  # powers of two: from 2 to 16 cells of noise across the image
FINEST = 512  # pixels across, at which noise is drawn; larger images enlarge it
MOST_REGIONS = 3
SMALLEST_SHARE = 0.0005  # of the image, for a region
LARGEST_SHARE = 0.1  # of the image
OPACITY = (0.2, 1.0)
JITTER = 0.3
OPERATIONS = 2


def paint_noise(image: UInt8, places: Bool, materials: Materials, stream: np.random.Generator) -> tuple[UInt8, Bool]:
    """Blend the texture of another normal image into a noise-shaped region; see `placement.Maker`."""
    mask = draw_shape(places, stream)
    texture = vary_texture(materials.texture(stream), image.shape[:2], stream)
    opacity = stream.uniform(*OPACITY)
    changed = ((1 - opacity) * image + opacity * texture + 0.5).astype(np.uint8)
    regions, count = label(mask, np.ones((3, 3)))
    seen = [number for number in range(1, count + 1) if is_visible(image, changed, regions == number)]
    visible = np.isin(regions, seen)
    return np.where(visible[..., None], changed, image), visible


def draw_shape(places: Bool, stream: np.random.Generator) -> Bool:
    """A random shape [H, W] within `places`: some regions where Perlin noise is high; sometimes empty."""
    noise = draw_noise(places.shape, stream)
    regions, count = label((noise > THRESHOLD) & places, np.ones((3, 3)))
    sizes = np.bincount(regions.ravel(), minlength=count + 1)[1:]
    smallest = max(SMALLEST_MASK, SMALLEST_SHARE * places.size)
    fitting = 1 + np.flatnonzero((sizes >= smallest) & (sizes <= LARGEST_SHARE * places.size))
    chosen = stream.permutation(fitting)[: stream.integers(1, MOST_REGIONS + 1)]
    while sizes[chosen - 1].sum() > LARGEST_SHARE * places.size:
        chosen = chosen[:-1]
    shape: Bool = np.isin(regions, chosen)
    return shape


def draw_noise(shape: tuple[int, ...], stream: np.random.Generator) -> Float64:
    """Perlin noise [H, W] from -1 to 1, its cells turned and of random height and width."""
    coarse = [-(-length // max(1, max(shape) // FINEST)) for length in shape]
    rows, columns = np.indices(coarse) / max(coarse)
    turn = stream.uniform(0, np.pi)
    cells = 2.0 ** stream.integers(*CELLS, size=2, endpoint=False)
    y = (np.cos(turn) * rows - np.sin(turn) * columns) * cells[0]
    x = (np.sin(turn) * rows + np.cos(turn) * columns) * cells[1]
    top, left = np.floor(y).astype(np.int64), np.floor(x).astype(np.int64)
    y, x = y - top, x - left
    top, left = top - top.min(), left - left.min()
    angles = stream.uniform(0, 2 * np.pi, (top.max() + 2, left.max() + 2))

    def corner(down: int, right: int) -> Float64:
        angle = angles[top + down, left + right]
        dot: Float64 = np.cos(angle) * (y - down) + np.sin(angle) * (x - right)
        return dot

    upper = _blend(corner(0, 0), corner(0, 1), x)
    lower = _blend(corner(1, 0), corner(1, 1), x)
    noise: Float64 = resize(np.sqrt(2) * _blend(upper, lower, y), shape, order=1)
    return noise


def vary_texture(texture: UInt8, shape: tuple[int, ...], stream: np.random.Generator) -> UInt8:
    """A texture [H', W', 3] changed strongly and at random, [*shape, 3]: moved, mirrored, and in other tones."""
    picture = Image.fromarray(texture).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    for operation in stream.permutation(len(TONES))[:OPERATIONS]:
        picture = TONES[operation](picture)
    pixels = np.roll(np.asarray(picture), stream.integers(0, shape), axis=(0, 1))
    flips = [slice(None, None, int(step)) for step in stream.choice([-1, 1], 2)]
    varied = jitter_colours(pixels[flips[0], flips[1]].astype(np.float32), JITTER, stream)
    return (varied.clip(0, 255) + 0.5).astype(np.uint8)


TONES = (
    ImageOps.autocontrast,
    ImageOps.equalize,
    ImageOps.invert,
    lambda picture: ImageOps.solarize(picture, 128),
    lambda picture: ImageOps.posterize(picture, 3),
    lambda picture: picture,
)


def _blend(first: Float64, second: Float64, share: Float64) -> Float64:
    """From the first to the second, smoothly to the second derivative (Perlin 2002)."""
    weight = share**3 * (share * (share * 6 - 15) + 10)
    blended: Float64 = first + (second - first) * weight
    return blended
