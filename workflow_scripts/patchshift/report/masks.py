"""What of an anomaly map a calibration calls defective.

Tested in tests/report/test_masks.py, and on predictions in tests/app/test_heatmaps.py.
"""

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.calibration import Calibration
from patchshift.evaluation.zones import explain_calibration, spread_thresholds
from patchshift.plan.score_specs import ImageScoreSpec

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]

MASKS = {
    "pixels": "the pixels of the map at or above the threshold of pixels",
    "zones": "the patches at or above the threshold of their zone",
    "image": "the patches at or above the image threshold",
}
"""What masks mark."""


def choose_masks(calibration: Calibration, score: ImageScoreSpec) -> str | None:
    """Which of `MASKS` there are; None: there are none.

    The threshold of pixels, where there is one; else those of zones; else the image threshold, if it is one on patches,
    too: the image score is the largest patch score as it is.
    """
    if calibration.pixels and calibration.pixels.threshold is not None:
        return "pixels"
    if calibration.zones:
        return "zones" if explain_calibration(calibration) is None else None
    if calibration.threshold is not None and score.method == "max" and not score.reweight_neighbours:
        return "image"
    return None


def find_mask(
    kind: str, calibration: Calibration, patch_scores: Float32, anomaly_map: Float32, ignored: Bool | None
) -> Bool:
    """[H, W] True where a map that counts is at or above a threshold.

    Pixels are compared as they are shown, after smoothing. Patches are shown as the rectangles that they are, and
    compared before smoothing: so a mask of patches marks something exactly where the image is called defective.

    Args:
        kind: one of `MASKS`, from `choose_masks`.
        calibration: with the threshold.
        patch_scores: [rows, columns].
        anomaly_map: [H, W], the same at the size of the image.
        ignored: [rows, columns] patches that do not count; None: all do.
    """
    size = anomaly_map.shape
    if kind == "pixels":
        assert calibration.pixels is not None
        assert calibration.pixels.threshold is not None
        mask = anomaly_map >= calibration.pixels.threshold
    elif kind == "zones":
        assert calibration.zones is not None
        mask = spread_patches(patch_scores >= spread_thresholds(calibration.zones, patch_scores.shape), size)
    else:
        assert calibration.threshold is not None
        mask = spread_patches(patch_scores >= calibration.threshold, size)
    return mask if ignored is None else mask & ~spread_patches(ignored, size)


def spread_patches(patches: Bool, size: tuple[int, ...]) -> Bool:
    """[rows, columns] patches as the rectangles that they are in a picture of (height, width)."""
    rows, columns = (np.arange(length) * patches.shape[axis] // length for axis, length in enumerate(size))
    return np.asarray(patches[np.ix_(rows, columns)])
