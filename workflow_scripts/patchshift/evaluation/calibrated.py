"""The calibrated combination of a dual bank: log-odds of a patch being defective, from its two distances.

The weights are those of a logistic regression on the patches of validation images (`evaluation.log_odds`). Test images
only ever get them.
Tested in tests/evaluation/test_calibrated.py; stated exactly in docs/protocol.md.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.data.packs import Pack
from patchshift.data.regions import read_ignored_patches
from patchshift.detectors.combination import log_distances
from patchshift.detectors.image_scores import pool_patches
from patchshift.errors import UserError
from patchshift.evaluation.calibration import Calibration, as_calibration
from patchshift.evaluation.evaluate import IMAGE_METRICS, PIXEL_METRICS, evaluate_images
from patchshift.evaluation.pixel_pool import count_regions
from patchshift.evaluation.scored import ScoredImages
from patchshift.evaluation.undefined import Estimate, undefined
from patchshift.plan.score_specs import ImageScoreSpec
from patchshift.plan.specs import EvaluationSpec
from patchshift.runtime.files import read_json

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

RANKED_ELSEWHERE = "ranked with the calibrated combination: see decisions"


@dataclass(frozen=True)
class LogOdds:
    """intercept + negative * log(n + 10^-6) + positive * log(p + 10^-6), of distances n and p."""

    intercept: float
    negative: float
    positive: float

    def weigh(self, parts: Mapping[str, npt.NDArray[Any]]) -> Float32:
        """The log-odds of patches, from their distances `negative` and `positive`, arrays of one shape."""
        negative, positive = take_logarithms(parts)
        return (self.intercept + self.negative * negative + self.positive * positive).astype(np.float32)


def is_calibrated(images: ScoredImages) -> bool:
    """Whether patches are scored by log-odds; a dual bank without a positive bank has nothing to weigh."""
    return images.scoring.combination == "calibrated" and "positive" in images.parts


def read_calibration(path: Path) -> tuple[Calibration, LogOdds | None]:
    """A threshold file: the calibration, and the weights of the two distances where there are any.

    Raises:
        UserError: if the file is damaged.
    """
    content = read_json(path)
    try:
        kept = {name: value for name, value in content.items() if name != "provenance"}
        weights = kept.pop("combination")
        return as_calibration(kept), LogOdds(**weights) if weights else None
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"{path} holds no whole threshold ({error}): delete it and run again") from error


def take_logarithms(parts: Mapping[str, npt.NDArray[Any]]) -> tuple[Float64, Float64]:
    """Those of the distances to normal and to defective patches, as `combine` takes them."""
    negative, positive = log_distances(*(parts[name].astype(np.float64) for name in ("negative", "positive")))
    return negative.astype(np.float64, copy=False), positive.astype(np.float64, copy=False)


def combine_images(images: ScoredImages, weights: LogOdds, pack: Path) -> ScoredImages:
    """The same images with log-odds as maps, and image scores by the detector's own rule; ignored patches looked past.

    Args:
        images: with both distances.
        weights: from validation images.
        pack: of their domain.
    """
    ignored = read_ignored_patches(pack, images.images, images.grid)
    maps, scores = weigh_patches(weights, images.parts, images.scoring.image_score, ignored)
    return replace(images, maps=maps, scores=scores)


def weigh_patches(
    weights: LogOdds, parts: Mapping[str, npt.NDArray[Any]], image_score: ImageScoreSpec, ignored: Bool | None
) -> tuple[Float32, Float32]:
    """Log-odds as maps, and image scores of them.

    Args:
        weights: from validation images.
        parts: distances `negative` and `positive`, [n, rows, columns] each.
        image_score: the detector's rule.
        ignored: [n, rows, columns] patches that image scores look past; None: none.

    Returns:
        `(maps, scores)`: [n, rows, columns] and [n] float32.
    """
    maps = weights.weigh(parts)
    flat = maps.reshape(len(maps), -1)
    return maps, pool_patches(image_score, flat, None if ignored is None else ignored.reshape(flat.shape))


def rank_calibrated(
    images: ScoredImages, weights: LogOdds | None, reason: str, pack: Path, spec: EvaluationSpec
) -> tuple[ScoredImages, dict[str, Estimate]]:
    """Test images by their log-odds, and the ranking metrics of these.

    Args:
        images: with both distances.
        weights: from validation images; None: there are none, and neither are there scores nor metrics.
        reason: why there are none.
        pack: of the images' domain.
        spec: the evaluation protocol.
    """
    if weights is None:
        nothing = np.full_like(images.scores, np.nan)
        return replace(images, scores=nothing), dict.fromkeys((*IMAGE_METRICS, *PIXEL_METRICS), undefined(reason))
    combined = combine_images(images, weights, pack)
    return combined, evaluate_images(combined, pack, spec)["metrics"]


def count_calibrated(images: ScoredImages, pack: Path) -> dict[str, Any]:
    """What `evaluate_images` says of test images that are ranked once for each calibration: counts, and no ranking.

    Args:
        images: with both distances.
        pack: of their domain.
    """
    with Pack(pack) as packed:
        regions = sum(
            count_regions(packed.mask(row), packed.ignore(row) if packed.has_ignore else None)
            for row in (packed.rows(images.images) if packed.has_masks else ())
        )
        counts = {
            "normal": int((images.labels == 0).sum()),
            "anomalous": int((images.labels == 1).sum()),
            "regions": regions if packed.has_masks else None,
        }
    return {"metrics": dict.fromkeys((*IMAGE_METRICS, *PIXEL_METRICS), undefined(RANKED_ELSEWHERE)), "counts": counts}
