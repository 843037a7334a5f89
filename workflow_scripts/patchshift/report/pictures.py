"""Images, masks and heatmaps as small JPEG pictures inside the page.

Tested in tests/report/test_pictures.py.
"""

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from patchshift.evaluation.anomaly_maps import upsample_map
from patchshift.plan.score_specs import AnomalyMapSpec

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
UInt8 = npt.NDArray[np.uint8]

COLOURS = "inferno"  # even steps of lightness: reads the same in every kind of colour vision, and in grey
MASK_COLOUR = (86, 180, 233)  # Okabe and Ito's sky blue: in none of the heatmap's colours
IGNORED_GREY = 178  # lighter than what the heatmap's colours begin with, and no colour
_HATCH = 8  # pixels from one line of the hatching to the next
_QUALITY = 82


@dataclass(frozen=True)
class Scale:
    """What the ends of a heatmap's colours mean, the same for all images of a bank.

    Attributes:
        low: patch distance at and below which the darkest colour stands.
        high: patch distance at and above which the brightest colour stands.
    """

    low: float
    high: float

    @classmethod
    def of(cls, normal_maps: Float32, all_maps: Float32, threshold: float | None) -> "Scale":
        """From the middle of what normal images have to nearly the largest of all; the threshold at most halfway.

        Args:
            normal_maps: patch distances of normal images, in any shape; may be empty.
            all_maps: patch distances of all images, in any shape.
            threshold: on image scores, which are patch distances or means of some; None if undefined.
        """
        low = float(np.median(normal_maps if normal_maps.size else all_maps))
        high = float(np.quantile(all_maps, 0.999))
        if threshold is not None and threshold > low:
            high = min(high, 2 * threshold - low)
        return cls(low, high if high > low else low + 1.0)

    def apply(self, distances: Float32) -> Float64:
        """Distances to [0, 1]."""
        return np.clip((distances.astype(np.float64) - self.low) / (self.high - self.low), 0, 1)


def shrink_mask(mask: Bool, size: tuple[int, int]) -> Bool:
    """A mask at (height, width); a defect of a single pixel stays visible."""
    height, width = size
    share = Image.fromarray(mask.astype(np.float32)).resize((width, height), Image.Resampling.BOX)
    return np.asarray(share) > 0


def shrink_ignored(ignore: Bool, size: tuple[int, int]) -> Bool:
    """An ignore mask at (height, width); a pixel that is half ignored is not."""
    height, width = size
    share = Image.fromarray(ignore.astype(np.float32)).resize((width, height), Image.Resampling.BOX)
    return np.asarray(share) > 0.5


def show_mask(thumbnail: bytes, mask: Bool, ignore: Bool | None = None) -> str:
    """The image in grey with its defects filled and its ignored region outlined and hatched: a data URI.

    Args:
        thumbnail: a JPEG.
        mask: [height, width] of the original image, True where defective.
        ignore: [height, width] of the original image, True where ignored; None: nothing is.
    """
    grey = read_grey(thumbnail)
    picture = np.repeat((grey * 0.75)[..., None], 3, axis=2)
    inside = shrink_mask(mask, grey.shape)
    picture[inside] = 0.35 * picture[inside] + 0.65 * np.array(MASK_COLOUR)
    if ignore is not None:
        ignored = shrink_ignored(ignore, grey.shape)
        picture[outline(~ignored) | (ignored & _hatching(grey.shape))] = IGNORED_GREY
    return to_data_uri(picture)


def show_heatmap(
    thumbnail: bytes,
    patch_map: Float32,
    mask: Bool,
    *,
    scale: Scale,
    input_size: tuple[int, int],
    sigma: float,
    ignore: Bool | None = None,
    anomaly_map: AnomalyMapSpec | None = None,
) -> str:
    """The image in grey under its anomaly map, defects outlined, ignored regions grey and hatched: a data URI.

    Args:
        thumbnail: a JPEG.
        patch_map: [rows, columns] patch distances.
        mask: [height, width] of the original image.
        scale: of the colours.
        input_size: (height, width) of the network input in pixels, on which the map lies.
        sigma: smoothing at input size in pixels.
        ignore: [height, width] of the original image, True where ignored; None: nothing is.
        anomaly_map: how maps are brought to pixels, if not as the protocol has it.
    """
    grey = read_grey(thumbnail)
    level = scale.apply(upsample_map(patch_map, input_size, grey.shape, sigma, anomaly_map))
    picture = blend(grey, level, None if ignore is None else shrink_ignored(ignore, grey.shape))
    picture[outline(shrink_mask(mask, grey.shape))] = MASK_COLOUR
    return to_data_uri(picture)


def blend(grey: Float64, level: Float64, ignored: Bool | None) -> Float64:
    """An image in grey under the colours of its anomaly map, ignored regions grey and hatched.

    Args:
        grey: [height, width] of 0 to 255.
        level: [height, width] from `Scale.apply`.
        ignored: [height, width] True where ignored; None: nothing is.

    Returns:
        [height, width, 3] of 0 to 255.
    """
    opacity = (0.35 + 0.45 * level)[..., None]  # what is ordinary stays recognisable
    picture: Float64 = (1 - opacity) * 0.9 * grey[..., None] + opacity * _tint(level) * 255
    return picture if ignored is None else _hatch(picture, grey, ignored)


def colour(grey: Float64, level: Float64, ignored: Bool | None) -> Float64:
    """The colours of an anomaly map alone, ignored regions of the image grey and hatched; as `blend`."""
    picture = _tint(level) * 255
    return picture if ignored is None else _hatch(picture, grey, ignored)


def _hatch(picture: Float64, grey: Float64, ignored: Bool) -> Float64:
    picture[ignored] = (0.3 * grey[ignored] + 0.45 * IGNORED_GREY)[..., None]  # a hot spot there is no finding
    picture[ignored & _hatching(grey.shape)] = IGNORED_GREY
    return picture


def outline(mask: Bool) -> Bool:
    """The pixels outside a mask that touch it."""
    padded = np.pad(mask, 1)
    grown = np.zeros_like(mask)
    height, width = mask.shape
    for down in range(3):
        for right in range(3):
            grown |= padded[down : down + height, right : right + width]
    return grown & ~mask


def _tint(level: npt.NDArray[Any]) -> Float64:
    """The heatmap's colours of levels of 0 to 1, or of numbers below 256: red, green, blue of 0 to 1 in a last axis."""
    from matplotlib import colormaps  # slow to import, and who reads scales needs none of it

    return np.asarray(colormaps[COLOURS](level)[..., :3], np.float64)


def show_colours(width: int = 240) -> str:
    """The heatmap's colours from low to high, as a strip: a data URI."""
    level = np.linspace(0, 1, width)
    strip = _tint(level)[None] * 255
    return to_data_uri(np.repeat(strip, 8, axis=0))


def list_colours() -> bytes:
    """The heatmap's colours from low to high: 256 times red, green and blue."""
    colours: UInt8 = np.rint(_tint(np.arange(256)) * 255).astype(np.uint8)
    return colours.tobytes()


def shrink_jpeg(thumbnail: bytes, side: int) -> tuple[bytes, tuple[int, int]]:
    """A thumbnail with at most `side` pixels along its longer side, a JPEG, and its (height, width)."""
    with Image.open(io.BytesIO(thumbnail)) as picture:
        picture.thumbnail((side, side), Image.Resampling.BILINEAR)
        buffer = io.BytesIO()
        picture.convert("RGB").save(buffer, "JPEG", quality=75)
        return buffer.getvalue(), (picture.height, picture.width)


def outline_png(mask: Bool, size: tuple[int, int]) -> bytes:
    """The outline of a mask at (height, width), in the masks' colour on nothing: a PNG."""
    picture = Image.fromarray(outline(shrink_mask(mask, size)).astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, *MASK_COLOUR])
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", bits=1, transparency=0)
    return buffer.getvalue()


def as_jpeg_uri(jpeg: bytes) -> str:
    """A JPEG as it is: a data URI."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def to_data_uri(picture: Float64) -> str:
    """[height, width, 3] of 0 to 255 as a JPEG: a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(np.rint(picture).clip(0, 255).astype(np.uint8)).save(
        buffer, "JPEG", quality=_QUALITY, subsampling=0
    )
    return as_jpeg_uri(buffer.getvalue())


def _hatching(size: tuple[int, ...]) -> Bool:
    """Thin diagonal lines over a picture of (height, width)."""
    rows, columns = np.indices(size)
    lines: Bool = (rows + columns) % _HATCH == 0
    return lines


def read_grey(thumbnail: bytes) -> Float64:
    """A JPEG in grey: [height, width] of 0 to 255."""
    with Image.open(io.BytesIO(thumbnail)) as picture:
        return np.asarray(picture.convert("L"), np.float64)
