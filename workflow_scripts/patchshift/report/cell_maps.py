"""The anomaly maps of a cell's test images, with the threshold and the colours that they are shown in.

Tested in tests/report/test_heatmaps.py.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from patchshift.data.regions import read_ignored_patches
from patchshift.evaluation.calibrated import LogOdds, combine_images, is_calibrated, read_calibration
from patchshift.evaluation.calibration import Calibration
from patchshift.evaluation.scored import ScoredImages
from patchshift.report.pictures import Scale

Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class CellMaps:
    """What pictures of a cell's test images are drawn from.

    Attributes:
        scored: maps and scores of the test images; of log-odds where there are `weights`.
        weights: of the two distances of a calibrated dual bank; None where its scores are as they are.
        calibration: the cell's; without a threshold of images where these are of another unit than maps.
        ignored: [n, rows, columns] patches that do not count; None: all do.
        scale: of the heatmaps' colours, one for all images; None where the detector gives no maps.
    """

    scored: ScoredImages
    weights: LogOdds | None
    calibration: Calibration
    ignored: Bool | None
    scale: Scale | None

    @classmethod
    def read(cls, scores: Path, pack: Path, split: Path, threshold: Path, *, is_fitted: bool) -> "CellMaps":
        """Read a cell's scores.

        Args:
            scores: of the bank on the target.
            pack: of the target.
            split: of the target's category.
            threshold: the cell's.
            is_fitted: whether the scores are those of a bank; image scores of another method need not be of its maps'
                unit.
        """
        scored = ScoredImages.read(scores, pack, split, part="test")
        calibration, odds = read_calibration(threshold)
        weights = odds if is_calibrated(scored) else None
        if weights:  # of the unit of its threshold; without weights there is no threshold either
            scored = combine_images(scored, weights, pack)
        if not is_fitted:
            calibration = replace(calibration, threshold=None)
        ignored = read_ignored_patches(pack, scored.images, scored.grid)
        looked_at = np.ones(scored.maps.shape, np.bool_) if ignored is None else ~ignored
        normal = scored.labels == 0
        scale = None
        if looked_at.size:
            normal_maps = scored.maps[normal][looked_at[normal]]
            scale = Scale.of(normal_maps, scored.maps[looked_at], calibration.threshold)
        return cls(scored, weights, calibration, ignored, scale)
