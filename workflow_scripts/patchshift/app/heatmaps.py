"""Pictures of one prediction: the image under its anomaly map, and the mask of what is anomalous.

Tested in tests/app/test_heatmaps.py.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

from patchshift.app.detector import Prediction
from patchshift.app.models import ExportedModel
from patchshift.report.pictures import MASK_COLOUR, Scale, blend, outline, shrink_mask

Bool = npt.NDArray[np.bool_]
UInt8 = npt.NDArray[np.uint8]

LARGEST = 1024
"""Pixels of a heatmap along its longer side; masks have the image's size."""


def has_masks(model: ExportedModel) -> bool:
    """Whether the image threshold is one on patches, too: the image score is the largest patch score as it is."""
    score = model.scoring.image_score
    return model.calibration.threshold is not None and score.method == "max" and not score.reweight_neighbours


def find_mask(model: ExportedModel, prediction: Prediction) -> Bool | None:
    """[H, W] True where a patch that counts has a score at or above the image threshold; None for other image scores.

    Patches are shown as the rectangles that they are, and scores are those of patches, before smoothing: so a mask
    marks something exactly where the image is called defective.
    """
    threshold = model.calibration.threshold
    if threshold is None or not has_masks(model):
        return None
    patches = prediction.patch_scores >= threshold
    if model.ignore is not None:
        patches &= ~model.ignore
    return _spread(patches, prediction.anomaly_map.shape)


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
