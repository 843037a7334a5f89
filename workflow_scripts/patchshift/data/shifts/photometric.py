"""Photometric transforms: light, colour, focus, sensor and compression. Masks stay as they are.

Each takes an image, [H, W] (grey) or [H, W, 3] (RGB), between which amounts to draw (the unit: `severities.py`) and a
random stream, and returns a new image of the same shape. A stream is read alike whatever the amounts, so at every
severity the same light falls and the same pixels are noisy, only more so.
Tested in tests/data/test_photometric_shifts.py.
"""

import io
from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance
from skimage.filters import gaussian

from patchshift.data.shifts.severities import Ends

UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]

PhotometricTransform = Callable[[UInt8, Ends, np.random.Generator], UInt8]
Enhancer = type[ImageEnhance.Brightness] | type[ImageEnhance.Contrast] | type[ImageEnhance.Color]


def enhance(enhancer: Enhancer, image: UInt8, between: Ends, rng: np.random.Generator) -> UInt8:
    """Pillow's blend of the image with black (brightness), its mean grey (contrast) or its greys (saturation)."""
    return np.asarray(enhancer(Image.fromarray(image)).enhance(rng.uniform(*between)))


def turn_hue(image: UInt8, between: Ends, rng: np.random.Generator) -> UInt8:
    """Turn all hues by one angle in degrees; greys stay."""
    turn = round(rng.uniform(*between) * 256 / 360)
    if image.ndim == 2 or turn == 0:
        return image
    hue, saturation, value = Image.fromarray(image).convert("HSV").split()
    turned = hue.point([(level + turn) % 256 for level in range(256)])
    return np.asarray(Image.merge("HSV", (turned, saturation, value)).convert("RGB"))


def tilt_illumination(image: UInt8, between: Ends, rng: np.random.Generator) -> UInt8:
    """Light that falls off linearly across the image, in a random direction."""
    amount, angle = rng.uniform(*between), rng.uniform(0, 2 * np.pi)
    x, y = _coordinates(image)
    right, down = np.cos(angle), np.sin(angle)
    ramp = (right * x + down * y) / (abs(right) + abs(down))
    return _multiply(image, 1 + amount * ramp)


def darken_corners(image: UInt8, between: Ends, rng: np.random.Generator) -> UInt8:
    """Vignetting: light falls off with the square of the distance from the centre."""
    x, y = _coordinates(image)
    return _multiply(image, 1 - rng.uniform(*between) / 2 * (x**2 + y**2))


def blur(image: UInt8, between: Ends, rng: np.random.Generator) -> UInt8:
    """Gaussian blur."""
    sigma, channel_axis = rng.uniform(*between), 2 if image.ndim == 3 else None
    values = gaussian(
        image.astype(np.float32), sigma=sigma, mode="reflect", channel_axis=channel_axis, preserve_range=True
    )
    return _to_uint8(values)


def blur_by_motion(image: UInt8, between: Ends, rng: np.random.Generator) -> UInt8:
    """Blur along a straight path in a random direction."""
    length, angle = rng.uniform(*between) * min(image.shape[:2]), rng.uniform(0, np.pi)
    steps = np.linspace(-length / 2, length / 2, 2 * int(np.ceil(length)) + 1)
    offsets = np.arange(-np.ceil(length / 2), np.ceil(length / 2) + 1)
    # each step of the path gives its light to the pixels around it, as bilinear interpolation would
    across, down = (
        np.clip(1 - np.abs(offsets[:, None] - direction * steps), 0, None)
        for direction in (np.cos(angle), np.sin(angle))
    )
    return _convolve(image, down @ across.T)


def defocus(image: UInt8, between: Ends, rng: np.random.Generator) -> UInt8:
    """Lens out of focus: each point becomes a disc."""
    radius = rng.uniform(*between) * min(image.shape[:2])
    offsets = np.arange(-np.ceil(radius), np.ceil(radius) + 1)
    distances = np.hypot(offsets[:, None], offsets)
    return _convolve(image, np.clip(radius + 0.5 - distances, 0, 1))


def add_gaussian_noise(image: UInt8, between: Ends, rng: np.random.Generator) -> UInt8:
    """Noise of the read-out: the same at every brightness, independent in each channel."""
    sigma = 255 * rng.uniform(*between)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noise *= sigma
    noise += image
    return _to_uint8(noise)


def add_shot_noise(image: UInt8, between: Ends, rng: np.random.Generator) -> UInt8:
    """Noise of counted photons, whose variance grows with brightness.

    The normal limit of Poisson counts, whose draws can be scaled: at the most severe a full pixel counts 70 photons.
    """
    sigma = rng.uniform(*between)
    deviations = np.sqrt(np.arange(256, dtype=np.float32) * 255) * np.float32(sigma)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noise *= deviations[image]
    noise += image
    return _to_uint8(noise)


def add_salt_and_pepper(image: UInt8, between: Ends, rng: np.random.Generator) -> UInt8:
    """Dead pixels: a share of them, half white and half black."""
    share = rng.uniform(*between)
    draws = rng.random(image.shape[:2], dtype=np.float32)
    noisy = image.copy()
    noisy[draws < share / 2] = 255
    noisy[draws >= 1 - share / 2] = 0
    return noisy


def compress(image: UInt8, between: Ends, rng: np.random.Generator) -> UInt8:
    """JPEG, written and read again."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=round(rng.uniform(*between)))
    return np.asarray(Image.open(io.BytesIO(buffer.getvalue())))


PHOTOMETRIC: dict[str, PhotometricTransform] = {
    "brightness": partial(enhance, ImageEnhance.Brightness),
    "contrast": partial(enhance, ImageEnhance.Contrast),
    "saturation": partial(enhance, ImageEnhance.Color),
    "hue": turn_hue,
    "illumination": tilt_illumination,
    "vignetting": darken_corners,
    "gaussian_blur": blur,
    "motion_blur": blur_by_motion,
    "defocus": defocus,
    "gaussian_noise": add_gaussian_noise,
    "shot_noise": add_shot_noise,
    "salt_and_pepper": add_salt_and_pepper,
    "jpeg": compress,
}


def _coordinates(image: UInt8) -> tuple[Float32, Float32]:
    """x [W] and y [H, 1] of the pixels' middles; the image's edges are at -1 and 1."""
    height, width = image.shape[:2]
    x, y = ((2 * np.arange(count, dtype=np.float32) + 1) / count - 1 for count in (width, height))
    return x, y[:, None]


def _multiply(image: UInt8, factors: npt.NDArray[np.floating]) -> UInt8:
    """Each pixel times its factor, [H, W]."""
    return _to_uint8(_spread(factors.astype(np.float32), image) * image)


def _convolve(image: UInt8, kernel: npt.NDArray[np.floating]) -> UInt8:
    """Convolution with a [k, k] kernel of odd size, scaled to sum 1; the image is mirrored at its borders."""
    from scipy.signal import oaconvolve  # takes half a second to import, and few shifts need it

    reach = len(kernel) // 2
    padding = [(reach, reach), (reach, reach), (0, 0)][: image.ndim]
    padded = np.pad(image, padding, mode="symmetric").astype(np.float32)
    weights = (kernel / kernel.sum()).astype(np.float32)
    return _to_uint8(oaconvolve(padded, _spread(weights, image), mode="valid", axes=(0, 1)))


def _spread(values: Float32, image: UInt8) -> Float32:
    """[H, W] values to be used alike in every channel of the image."""
    return values if image.ndim == 2 else values[..., None]


def _to_uint8(values: Float32) -> UInt8:
    """Rounded and clipped to 0 to 255; the values are overwritten."""
    values += 0.5
    return np.clip(values, 0, 255, out=values).astype(np.uint8)
