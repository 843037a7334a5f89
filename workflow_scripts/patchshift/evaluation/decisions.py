"""All that a calibration says of the test images of one target: decisions, masks, probabilities, and their metrics.

Callers fix the number of numerical threads (`runtime.threads`).
Tested in tests/evaluation/test_decisions.py; stated exactly in docs/protocol.md.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.data.packs import Pack
from patchshift.data.regions import read_ignored_patches
from patchshift.evaluation.calibrated import LogOdds, is_calibrated, rank_calibrated
from patchshift.evaluation.calibration import Calibration, PixelThreshold
from patchshift.evaluation.evaluate import decide_target
from patchshift.evaluation.image_metrics import Confusion, Ratio
from patchshift.evaluation.pixel_thresholds import NO_MAPS, read_pixels
from patchshift.evaluation.probabilities import predict_probabilities
from patchshift.evaluation.reliability import probability_metrics
from patchshift.evaluation.scored import ScoredImages
from patchshift.evaluation.statistics import draw_images, percentile_interval
from patchshift.evaluation.thresholds import normalise
from patchshift.evaluation.undefined import Estimate, Undefined, estimate, undefined
from patchshift.evaluation.zones import judge_zones
from patchshift.plan.specs import EvaluationSpec

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]

_NO_DEFECT = "no defect pixel"

PIXEL_DECISION_METRICS: dict[str, Ratio] = {
    "pixel_iou": Ratio(lambda c: c.tp, lambda c: c.tp + c.fp + c.fn, lambda c: c.anomalous, _NO_DEFECT),
    "pixel_f1": Ratio(lambda c: 2 * c.tp, lambda c: 2 * c.tp + c.fp + c.fn, lambda c: c.anomalous, _NO_DEFECT),
    "pixel_precision": Ratio(lambda c: c.tp, lambda c: c.called, lambda c: c.called, "no pixel is called defective"),
    "pixel_recall": Ratio(lambda c: c.tp, lambda c: c.anomalous, lambda c: c.anomalous, _NO_DEFECT),
}
"""Every metric of the masks at the threshold of pixels; a new one is one line."""


def decide_images(
    test: ScoredImages, calibration: Calibration, weights: LogOdds | None, pack: Path, spec: EvaluationSpec
) -> dict[str, Any]:
    """Decide every test image, and say what the decisions are worth.

    Args:
        test: the test images of the target.
        calibration: from validation images.
        weights: of the two distances of a calibrated dual bank; None: there are none.
        pack: of the target.
        spec: the evaluation protocol.

    Returns:
        JSON-ready: `metrics` (of decisions, masks and probabilities), `counts` (None without decisions), `threshold`
        (of image scores; None where zones decide), `pixel_threshold`, `images` (one dictionary each); and `ranking`,
        the ranking metrics, where these depend on the calibration.

    Raises:
        UserError: if an image is not in the pack.
    """
    result: dict[str, Any] = {}
    if is_calibrated(test):
        test, result["ranking"] = rank_calibrated(test, weights, str(calibration.undefined), pack, spec)
    scores, decisive, zones = _find_decisive(test, calibration, pack)
    result |= decide_target(test.labels, scores, decisive, spec)
    result["metrics"] |= measure_masks(test, calibration.pixels, pack, spec)
    result["metrics"] |= probability_metrics(test.labels, test.scores, calibration, spec)
    if result["counts"] is not None:
        result["counts"]["relabelled"] = int(test.relabelled.sum())
    result["threshold"] = None if calibration.zones else calibration.threshold
    result["pixel_threshold"] = calibration.pixels.threshold if calibration.pixels else None
    result["images"] = list(_describe_images(test, calibration, scores, decisive.threshold, zones))
    return result


def measure_masks(
    test: ScoredImages, pixels: PixelThreshold | None, pack: Path, spec: EvaluationSpec
) -> dict[str, Estimate]:
    """How well the pixels at or above a threshold agree with the masks, over the pixels of all test images together.

    Args:
        test: the test images of the target.
        pixels: the threshold; None: none was asked for.
        pack: of the target.
        spec: the evaluation protocol.

    Returns:
        Every name of `PIXEL_DECISION_METRICS` -> value with its interval (percentile bootstrap over images, those with
        and without defect pixels drawn apart), or the reason why it is undefined.

    Raises:
        UserError: if an image is not in the pack.
    """
    try:
        counts = _count_pixels(test, pixels, pack, spec)
    except Undefined as error:
        return dict.fromkeys(PIXEL_DECISION_METRICS, undefined(str(error)))
    draws = draw_images(counts[:, 0] + counts[:, 2] > 0, spec.bootstrap_resamples, seed=spec.bootstrap_seed)
    whole, resamples = _confuse(counts.sum(axis=0)), _confuse((draws @ counts).astype(np.int64))
    metrics: dict[str, Estimate] = {}
    for name, metric in PIXEL_DECISION_METRICS.items():
        value = float(metric(whole))
        if math.isnan(value):
            metrics[name] = undefined(metric.reason)
        else:
            metrics[name] = estimate(value, percentile_interval(metric(resamples), spec.confidence))
    return metrics


def _find_decisive(test: ScoredImages, calibration: Calibration, pack: Path) -> tuple[Float32, Calibration, list[str]]:
    """The scores that decide, [n], a calibration with their threshold, and the zones that fired in each image.

    With zones the scores are margins (`zones.ZoneVerdict`), and their threshold is 0.
    """
    nowhere = [""] * len(test.images)
    if calibration.zones is None:
        return test.scores, calibration, nowhere
    ignored = read_ignored_patches(pack, test.images, test.grid)
    try:
        verdict = judge_zones(calibration.zones, test.maps, ignored)
    except Undefined as error:
        return test.scores, replace(calibration, threshold=None, undefined=str(error)), nowhere
    margins = np.where(np.isfinite(test.scores), verdict.margins, np.float32(np.nan))  # such an image is not decided
    return margins, replace(calibration, threshold=0.0, undefined=None), verdict.fired


def _count_pixels(test: ScoredImages, pixels: PixelThreshold | None, pack: Path, spec: EvaluationSpec) -> Int64:
    """[n, 3] true positives, false positives and false negatives of each image."""
    if pixels is None:
        raise Undefined("the threshold has no policy for pixels")
    if pixels.threshold is None:
        raise Undefined(str(pixels.undefined))
    with Pack(pack) as opened:
        if not opened.has_masks:
            raise Undefined("the dataset has no masks for this category")
    if not test.maps.size:
        raise Undefined(NO_MAPS if test.images else "no image")
    counts = np.zeros((len(test.images), 3), np.int64)
    for image, (normal, defect) in enumerate(read_pixels(test, pack, spec.smoothing_sigma)):
        found = np.count_nonzero(defect >= pixels.threshold)
        counts[image] = found, np.count_nonzero(normal >= pixels.threshold), defect.size - found
    return counts


def _confuse(counts: Int64) -> Confusion:
    """[..., 3] counts as confusion counts; true negatives are in no metric of masks."""
    found, false, missed = np.moveaxis(counts, -1, 0)
    return Confusion(tp=found, fp=false, tn=np.zeros_like(found), fn=missed)


def _describe_images(
    test: ScoredImages, calibration: Calibration, scores: Float32, threshold: float | None, zones: list[str]
) -> Iterator[dict[str, Any]]:
    """The rows of `predictions.csv`."""
    missing = np.full(len(test.images), np.nan)
    probabilities = calibration.probabilities
    platt, isotonic = predict_probabilities(probabilities, test.scores) if probabilities else (missing, missing)
    normalised = normalise(test.scores, calibration)
    for row, image in enumerate(test.images):
        decided = threshold is not None and math.isfinite(scores[row])
        yield {
            "image": image,
            "label": int(test.labels[row]),
            "defect": test.defects[row],
            "relabelled": int(test.relabelled[row]),
            "score": _finite(test.scores[row]),
            "normalised_score": _finite(normalised[row]),
            "probability": _finite(platt[row]),
            "probability_isotonic": _finite(isotonic[row]),
            "zone": zones[row] if decided else "",
            "decision": int(scores[row] >= threshold) if decided else None,
        }


def _finite(value: np.floating[Any]) -> float | None:
    """JSON has neither NaN nor infinity."""
    return float(value) if math.isfinite(value) else None
