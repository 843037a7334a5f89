"""Shifted domains: the same images as another camera, light or fixture would show them.

Each image draws from its own random stream, seeded by its content, so adding images changes no other image. Geometric
transforms move masks along (nearest neighbour) and reflect at the borders: black corners would be anomalies themselves.
Tested in tests/data/test_shifts.py; the ranges are those of the source plan (docs/data.md).
"""

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance
from skimage.filters import gaussian
from skimage.transform import AffineTransform, warp

from patchshift.data.images import map_files, read_image, read_mask
from patchshift.data.index import ImageRow, write_index
from patchshift.plan.specs import DomainSpec
from patchshift.runtime.files import digest_file

UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ranges:
    """How strong transforms are at one severity."""

    colour_factor: tuple[float, float]
    blur_sigma: tuple[float, float]
    noise_sigma: tuple[float, float]
    rotation_degrees: float
    crop_area: tuple[float, float]


# Gaussian blur with kernels of 3 to 5 pixels is sigma 0.8 to 1.1.
RANGES = {
    "moderate": Ranges(
        colour_factor=(0.7, 1.3),
        blur_sigma=(0.8, 1.1),
        noise_sigma=(0.01, 0.05),
        rotation_degrees=10,
        crop_area=(0.9, 1.0),
    )
}


def photometric(image: UInt8, mask: Bool, ranges: Ranges, rng: np.random.Generator) -> tuple[UInt8, Bool]:
    """Brightness, contrast and saturation, then Gaussian blur, then Gaussian noise. Masks stay."""
    picture = Image.fromarray(image)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = enhance(picture).enhance(rng.uniform(*ranges.colour_factor))
    values = gaussian(np.asarray(picture, np.float32) / 255, sigma=rng.uniform(*ranges.blur_sigma), channel_axis=2)
    values += rng.normal(0, rng.uniform(*ranges.noise_sigma), values.shape)
    return _to_uint8(values), mask


def geometric(image: UInt8, mask: Bool, ranges: Ranges, rng: np.random.Generator) -> tuple[UInt8, Bool]:
    """Rotation about the centre and a random resized crop, as one warp (bilinear; the mask nearest)."""
    height, width = mask.shape
    side = np.sqrt(rng.uniform(*ranges.crop_area))
    spare = (1 - side) * np.array([width, height])
    centre = np.array([width - 1, height - 1]) / 2
    turn = np.deg2rad(rng.uniform(-ranges.rotation_degrees, ranges.rotation_degrees))
    # From output to input coordinates: crop, then rotate about the centre.
    crop = AffineTransform(scale=side, translation=rng.uniform(0, 1, 2) * spare)
    rotate = AffineTransform(translation=-centre) + AffineTransform(rotation=turn) + AffineTransform(translation=centre)
    to_input = crop + rotate
    moved = warp(image.astype(np.float32) / 255, to_input, order=1, mode="reflect")
    return _to_uint8(moved), warp(mask.astype(np.float32), to_input, order=0, mode="reflect") > 0.5


SHIFTS: dict[str, Callable[[UInt8, Bool, Ranges, np.random.Generator], tuple[UInt8, Bool]]] = {
    "photometric": photometric,
    "geometric": geometric,
}


def shift_image(image: UInt8, mask: Bool, digest: str, spec: DomainSpec) -> tuple[UInt8, Bool]:
    """One image under a declared shift.

    Args:
        image: [H, W, 3] RGB.
        mask: [H, W], True where defective.
        digest: the image file's digest; with the spec it seeds the random stream.
        spec: which shift, severity and seed.

    Returns:
        The shifted image and mask, of the same sizes.
    """
    assert spec.severity is not None
    stream = hashlib.sha256(f"{digest} {spec.canonical()}".encode()).digest()
    rng = np.random.default_rng(np.frombuffer(stream, np.uint32))
    return SHIFTS[spec.shift](image, mask, RANGES[spec.severity], rng)


def synthesize_shift(rows: Sequence[ImageRow], root: Path, spec: DomainSpec, folder: Path) -> None:
    """Write all images and masks of a category under a shift, with their own index, into `folder`.

    Images are PNG, under their original path with `.png` added; `index.csv` names the original in `source`. An image
    whose defect left the frame becomes normal, and is reported.

    Raises:
        UserError: listing every image or mask that cannot be read.
    """

    def shift(row: ImageRow) -> ImageRow:
        image = read_image(root / row.image, digest=row.digest)
        mask = read_mask(root / row.mask) if row.mask else np.zeros(image.shape[:2], bool)
        moved, moved_mask = shift_image(image, mask, row.digest, spec)
        shifted = replace(
            row, image=f"images/{row.image}.png", mask=row.mask and f"masks/{row.mask}.png", source=row.key
        )
        _save(moved, folder / shifted.image)
        if row.mask:
            _save(moved_mask.astype(np.uint8) * 255, folder / shifted.mask)
            if mask.any() and not moved_mask.any():
                log.warning("%s: its defect left the frame; it counts as normal here", row.key)
                shifted = replace(shifted, label=0, defect="", mask="")
        return replace(shifted, digest=digest_file(folder / shifted.image))

    write_index(folder / "index.csv", map_files(shift, rows))


def _save(pixels: UInt8, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=1)


def _to_uint8(values: npt.NDArray[np.floating]) -> UInt8:
    return (values.clip(0, 1) * 255 + 0.5).astype(np.uint8)
