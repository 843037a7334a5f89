"""Pictures of one prediction: the image under its anomaly map, and the mask of what is anomalous.

Tested in tests/app/test_heatmaps.py.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

from patchshift.app.detector import Prediction
from patchshift.app.models import ExportedModel
from patchshift.report import masks
from patchshift.report.masks import spread_patches
from patchshift.report.pictures import MASK_COLOUR, Scale, blend, outline, shrink_mask

Bool = npt.NDArray[np.bool_]
UInt8 = npt.NDArray[np.uint8]

LARGEST = 1024
"""Pixels of a heatmap along its longer side; masks have the image's size."""


def choose_masks(model: ExportedModel) -> str | None:
    """Which of `masks.MASKS` a model's masks are; None: it has none."""
    return masks.choose_masks(model.calibration, model.scoring.image_score)


def find_mask(model: ExportedModel, prediction: Prediction) -> Bool | None:
    """[H, W] True where a map that counts is at or above a threshold; None where the model has none for its maps."""
    kind = choose_masks(model)
    if kind is None:
        return None
    return masks.find_mask(kind, model.calibration, prediction.patch_scores, prediction.anomaly_map, model.ignore)


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
    picture = blend(grey, level, None if model.ignore is None else spread_patches(model.ignore, grey.shape))
    if mask is not None:
        picture[outline(shrink_mask(mask, (height, width)))] = MASK_COLOUR
    return np.asarray(np.rint(picture).clip(0, 255), np.uint8)
