"""What a model's calibration says: of new images, and of itself.

Tested in tests/app/test_calibrations.py.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.calibration import Calibration, PixelThreshold, Probabilities, ZoneThresholds
from patchshift.evaluation.probabilities import predict_probabilities
from patchshift.evaluation.thresholds import normalise
from patchshift.evaluation.zones import explain_calibration, judge_zones, name_zone

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
Section = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What a calibration says of one image; the fields are those of `detector.Prediction`."""

    normalised_score: float | None
    threshold: float | None
    decision: bool | None
    undefined: str | None
    zone: str
    probability: float | None
    probability_isotonic: float | None


def judge_images(calibration: Calibration, scores: Float32, maps: Float32, ignored: Bool | None) -> list[Verdict]:
    """What a calibration says of images.

    Args:
        calibration: of their detector.
        scores: [n] image scores.
        maps: [n, rows, columns] patch scores.
        ignored: [n, rows, columns] patches that do not count; None: all do.
    """
    reason, zones = explain_calibration(calibration), calibration.zones
    decisions: list[bool | None] = [None] * len(scores)
    fired = [""] * len(scores)
    if reason is None and zones:
        verdict = judge_zones(zones, maps, ignored)
        decisions, fired = [bool(margin >= 0) for margin in verdict.margins], verdict.fired
    elif reason is None:
        decisions = [bool(score >= calibration.threshold) for score in scores]
    strange = ~np.isfinite(scores)
    platt = isotonic = np.full(len(scores), np.nan)
    if calibration.probabilities:
        platt, isotonic = predict_probabilities(calibration.probabilities, scores)
    normalised = normalise(scores, calibration)
    return [
        Verdict(
            normalised_score=_finite(normalised[row]),
            threshold=None if zones else calibration.threshold,
            decision=None if strange[row] else decisions[row],
            undefined=reason or ("its score is not finite" if strange[row] else None),
            zone=fired[row],
            probability=_finite(platt[row]),
            probability_isotonic=_finite(isotonic[row]),
        )
        for row in range(len(scores))
    ]


def describe_calibration(calibration: Calibration) -> Section:
    """The thresholds and probabilities for `inspect-bank`: name -> number, text, or a section again."""
    told: Section = {"policy": calibration.policy, "threshold": calibration.threshold}
    if calibration.undefined:
        told["undefined"] = calibration.undefined
    if calibration.guarantee:
        told["guarantee"] = calibration.guarantee
    told["validation_images"] = {"normal": calibration.normal, "anomalous": calibration.anomalous}
    if calibration.pixels:
        told["pixels"] = _describe_pixels(calibration.pixels)
    if calibration.zones:
        told["zones"] = _describe_zones(calibration.zones)
    if calibration.probabilities:
        told["probabilities"] = _describe_probabilities(calibration.probabilities)
    return told


def _describe_pixels(pixels: PixelThreshold) -> Section:
    told: Section = {"policy": pixels.policy, "threshold": pixels.threshold}
    if pixels.undefined:
        told["undefined"] = pixels.undefined
    return told | {"validation_pixels": {"normal": pixels.normal, "defective": pixels.anomalous}}


def _describe_zones(zones: ZoneThresholds) -> Section:
    """Thresholds row by row; reasons by the name of the zone, one that all share once."""
    columns = zones.columns
    told: Section = {"rows": zones.rows, "columns": columns}
    for row in range(zones.rows):
        told[f"thresholds_of_row_{row + 1}"] = list(zones.thresholds[row * columns : (row + 1) * columns])
    reasons = {name_zone(zone, columns): reason for zone, reason in enumerate(zones.undefined) if reason}
    if len(reasons) == len(zones.undefined) and len(set(reasons.values())) == 1:
        return told | {"undefined": zones.undefined[0]}
    return told | ({"undefined": reasons} if reasons else {})


def _describe_probabilities(probabilities: Probabilities) -> Section:
    if probabilities.undefined:
        return {"undefined": probabilities.undefined}
    return {
        "platt_intercept": probabilities.intercept,
        "platt_slope": probabilities.slope,
        "isotonic_steps": len(probabilities.scores),
    }


def _finite(value: np.floating[Any]) -> float | None:
    return float(value) if math.isfinite(value) else None
