"""Pictures of one prediction: the image under its anomaly map, and the mask of what is anomalous.

Tested in tests/app/test_heatmaps.py.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

from patchshift.app.detector import Prediction
from patchshift.app.models import ExportedModel
from patchshift.evaluation.zones import explain_calibration, spread_thresholds
from patchshift.report.pictures import MASK_COLOUR, Scale, blend, outline, shrink_mask

Bool = npt.NDArray[np.bool_]
UInt8 = npt.NDArray[np.uint8]

LARGEST = 1024
"""Pixels of a heatmap along its longer side; masks have the image's size."""


MASKS = {
    "pixels": "the pixels of the map at or above the threshold of pixels",
    "zones": "the patches at or above the threshold of their zone",
    "image": "the patches at or above the image threshold",
}
"""What masks mark."""


def choose_masks(model: ExportedModel) -> str | None:
    """Which of `MASKS` a model's masks are; None: it has none.

    The threshold of pixels, where there is one; else those of zones; else the image threshold, if it is one on patches,
    too: the image score is the largest patch score as it is.
    """
    calibration, score = model.calibration, model.scoring.image_score
    if calibration.pixels and calibration.pixels.threshold is not None:
        return "pixels"
    if calibration.zones:
        return "zones" if explain_calibration(calibration) is None else None
    if calibration.threshold is not None and score.method == "max" and not score.reweight_neighbours:
        return "image"
    return None


def find_mask(model: ExportedModel, prediction: Prediction) -> Bool | None:
    """[H, W] True where a map that counts is at or above a threshold; None where the model has none for its maps.

    Pixels are compared as they are shown, after smoothing. Patches are shown as the rectangles that they are, and
    compared before smoothing: so a mask of patches marks something exactly where the image is called defective.
    """
    kind, calibration, size = choose_masks(model), model.calibration, prediction.anomaly_map.shape
    if kind is None:
        return None
    if kind == "pixels":
        assert calibration.pixels is not None
        assert calibration.pixels.threshold is not None
        mask = prediction.anomaly_map >= calibration.pixels.threshold
    elif kind == "zones":
        assert calibration.zones is not None
        limits = spread_thresholds(calibration.zones, prediction.patch_scores.shape)
        mask = _spread(prediction.patch_scores >= limits, size)
    else:
        assert calibration.threshold is not None
        mask = _spread(prediction.patch_scores >= calibration.threshold, size)
    return mask if model.ignore is None else mask & ~_spread(model.ignore, size)


def draw_heatmap(model: ExportedModel, prediction: Prediction, pixels: UInt8, mask: Bool | None) -> UInt8:
    """The image in grey under its anomaly map, ignored patches grey and hatched, its mask outlined.

    The colours begin at the middle of what patches of normal validation images have, and end where those of the report
    do (`report.pictures.Scale`), so they mean the same for all images of a model.

    Args:
        model: what made the prediction.
        prediction: of the image.
        pixels: [H, W, 3] uint8, the image.
        mask: [H, W] from `find_mask`.

    Returns:
        [h, w, 3] uint8, the longer side at most `LARGEST`.
    """
    low, high = (np.array([end], np.float32) for end in model.patch_range)
    level = Scale.of(low, high, model.calibration.threshold).apply(prediction.anomaly_map)
    shrink = min(1.0, LARGEST / max(pixels.shape[:2]))
    height, width = (max(1, round(shrink * side)) for side in pixels.shape[:2])
    grey = np.asarray(Image.fromarray(pixels).convert("L").resize((width, height)), np.float64)
    level = np.asarray(Image.fromarray(level.astype(np.float32)).resize((width, height)), np.float64).clip(0, 1)
    picture = blend(grey, level, None if model.ignore is None else _spread(model.ignore, grey.shape))
    if mask is not None:
        picture[outline(shrink_mask(mask, (height, width)))] = MASK_COLOUR
    return np.asarray(np.rint(picture).clip(0, 255), np.uint8)


def _spread(patches: Bool, size: tuple[int, ...]) -> Bool:
    """[rows, columns] patches as the rectangles that they are in a picture of (height, width)."""
    rows, columns = (np.arange(length) * patches.shape[axis] // length for axis, length in enumerate(size))
    return np.asarray(patches[np.ix_(rows, columns)])
