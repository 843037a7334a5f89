"""What each image is like: its light, its sharpness, and how large, faint and far from the border its defect is.

Measured once, when images are packed; what they are for, `report.analyses` says. Definitions: docs/analyses.md.
Tested in tests/data/test_image_facts.py.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

Bool = npt.NDArray[np.bool_]
UInt8 = npt.NDArray[np.uint8]

IMAGE_FACTS = ("brightness", "contrast", "sharpness")
DEFECT_FACTS = (
    *("defect_area", "defect_regions", "defect_contrast"),
    *("defect_row", "defect_column", "border_distance"),
)
FACTS = (*IMAGE_FACTS, *DEFECT_FACTS)
"""Of every image; of those whose defect is marked and not wholly ignored."""

RING_SHARE = 0.02  # width of the ring around a defect, as a share of the image's shorter side
RING_LEAST = 2  # pixels
_EIGHT = np.ones((3, 3), np.bool_)
_LAPLACIAN_REACH = 4 * 255  # the largest |Laplacian| of 8-bit luminance
_LEVELS = np.arange(256)


def measure_facts(image: UInt8, mask: Bool | None, ignore: Bool | None) -> dict[str, float]:
    """All facts of one image, at its own size; ignored pixels count for nothing.

    Args:
        image: [H, W, 3].
        mask: [H, W], True where defective; None: nothing is.
        ignore: [H, W], True where ignored; None: nothing is.

    Returns:
        name in FACTS -> number. NaN where there is nothing to measure: facts of a defect where no pixel is both
        defective and not ignored, `sharpness` of an image of fewer than 3 rows or columns, all of an image that is
        wholly ignored.
    """
    picture = Image.fromarray(image).convert("L")  # luminance as Rec. 601 weighs it, rounded to 8 bits
    kept = None if ignore is None else ~ignore
    facts = dict.fromkeys(FACTS, float("nan"))
    facts["brightness"], facts["contrast"] = _measure_light(picture, kept)
    luminance = np.asarray(picture)
    facts["sharpness"] = _measure_sharpness(luminance, kept)
    if mask is not None:
        defect = mask if kept is None else mask & kept
        if defect.any():
            facts |= _measure_defect(luminance, defect, mask, kept)
    return facts


def _measure_light(picture: Image.Image, kept: Bool | None) -> tuple[float, float]:
    """Mean and standard deviation (divisor n) of luminance in [0, 1]."""
    counts = np.array(picture.histogram(None if kept is None else Image.fromarray(kept.astype(np.uint8) * 255)))
    return _moments(counts, _LEVELS / 255)


def _measure_sharpness(luminance: UInt8, kept: Bool | None) -> float:
    """Variance of the Laplacian (four neighbours minus four times the pixel) of luminance in [0, 1]."""
    if min(luminance.shape) < 3:
        return float("nan")
    exact = luminance.astype(np.int16)
    laplacian = exact[:-2, 1:-1] + exact[2:, 1:-1]
    laplacian += exact[1:-1, :-2]
    laplacian += exact[1:-1, 2:]
    laplacian -= 4 * exact[1:-1, 1:-1]
    values = laplacian.ravel() if kept is None else laplacian[kept[1:-1, 1:-1]]
    counts = np.bincount(values + np.int16(_LAPLACIAN_REACH), minlength=2 * _LAPLACIAN_REACH + 1)
    return _moments(counts, np.arange(-_LAPLACIAN_REACH, _LAPLACIAN_REACH + 1) / 255)[1] ** 2


def _moments(counts: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard deviation of values that occur so often; (NaN, NaN) of none."""
    total = int(counts.sum())
    if not total:
        return float("nan"), float("nan")
    mean = float(counts @ values) / total
    return mean, float(np.sqrt(counts @ (values - mean) ** 2 / total))


def _measure_defect(luminance: UInt8, defect: Bool, mask: Bool, kept: Bool | None) -> dict[str, float]:
    """Facts of the defect: the pixels that are marked and not ignored, at least one."""
    from scipy.ndimage import label  # slow to import, and who reads packs needs none of it

    height, width = defect.shape
    rows, columns = np.flatnonzero(defect.any(axis=1)), np.flatnonzero(defect.any(axis=0))
    top, bottom, left, right = int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
    reach = max(RING_LEAST, round(RING_SHARE * min(height, width)))
    # all but the image's own size is to be seen in this part of it
    window = (
        slice(max(0, top - reach), min(height, bottom + reach + 1)),
        slice(max(0, left - reach), min(width, right + reach + 1)),
    )
    inside, marked = defect[window], mask[window]
    around = _grow(inside, reach) & ~marked
    if kept is not None:
        around &= kept[window]
    light = luminance[window]
    difference = abs(float(light[inside].mean()) - float(light[around].mean())) / 255 if around.any() else float("nan")
    down, across = np.nonzero(inside)
    return {
        "defect_area": len(down) / defect.size,
        "defect_regions": float(label(inside, _EIGHT)[1]),
        "defect_contrast": difference,
        "defect_row": (window[0].start + float(down.mean()) + 0.5) / height,
        "defect_column": (window[1].start + float(across.mean()) + 0.5) / width,
        "border_distance": min(top, left, height - 1 - bottom, width - 1 - right) / min(height, width),
    }


def _grow(region: Bool, reach: int) -> Bool:
    """All pixels within `reach` rows and columns of a region's."""
    from scipy.ndimage import maximum_filter

    grown: Bool = maximum_filter(region.view(np.uint8), 2 * reach + 1, mode="constant").astype(np.bool_)
    return grown
