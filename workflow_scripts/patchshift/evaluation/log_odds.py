"""Weigh the two distances of a dual bank by a logistic regression on the patches of validation images.

Tested in tests/evaluation/test_calibrated.py; stated exactly in docs/protocol.md.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path

import numpy as np
import numpy.typing as npt

from patchshift.data.regions import read_defective_patches, read_ignored_patches
from patchshift.evaluation.calibrated import LogOdds, combine_images, is_calibrated, take_logarithms
from patchshift.evaluation.calibration import Calibration, PixelThreshold, Probabilities, ZoneThresholds
from patchshift.evaluation.pixel_thresholds import calibrate_pixels
from patchshift.evaluation.scored import ScoredImages
from patchshift.evaluation.thresholds import calibrate
from patchshift.evaluation.undefined import Undefined
from patchshift.evaluation.zones import calibrate_zones
from patchshift.plan.threshold_specs import ThresholdSpec

Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]


def calibrate_combined(
    policy: ThresholdSpec, validation: Sequence[tuple[ScoredImages, Path]], *, smoothing_sigma: float
) -> tuple[Calibration, LogOdds | None]:
    """All that validation images are made into, and the weights of the two distances where a detector asks for them.

    Args:
        policy: the threshold spec.
        validation: images, scored by one bank, and the pack of their masks.
        smoothing_sigma: smoothing of maps at input size in pixels, for the threshold of pixels.

    Returns:
        The calibration: of the combined scores and maps where there are weights, else of these as they are. Where the
        weights are undefined, so is all of it. With zones its guarantee is theirs, since they decide. With weights
        there is none: they were fitted to these very images, whose scores are therefore not those of new ones.
    """
    weights, reason = None, ""
    if is_calibrated(validation[0][0]):
        try:
            weights = fit_log_odds(validation)
            validation = [(combine_images(images, weights, pack), pack) for images, pack in validation]
        except Undefined as error:
            reason = str(error)
    joined = reduce(lambda first, second: first.join(second), (images for images, _ in validation))
    calibration = calibrate(policy, joined.scores, joined.labels)
    if reason:
        return _without_scores(policy, calibration, reason), None
    if policy.pixels:
        pixels = calibrate_pixels(policy.pixels, validation, smoothing_sigma=smoothing_sigma)
        calibration = replace(calibration, pixels=pixels)
    if policy.zones:
        zones, guarantee = calibrate_zones(policy, policy.zones, validation)
        calibration = replace(calibration, zones=zones, guarantee=guarantee)
    return (replace(calibration, guarantee=None) if weights else calibration), weights


def _without_scores(policy: ThresholdSpec, calibration: Calibration, reason: str) -> Calibration:
    """A calibration without weights: its scores are none, so nothing is known of them."""
    pixels, zones = None, None
    if policy.pixels:
        pixels = PixelThreshold(policy.pixels.policy, None, reason, normal=0, anomalous=0)
    if policy.zones:
        count = policy.zones.rows * policy.zones.columns
        zones = ZoneThresholds(policy.zones.rows, policy.zones.columns, (None,) * count, (reason,) * count)
    return replace(
        calibration,
        threshold=None,
        undefined=reason,
        criterion=None,
        guarantee=None,
        pixels=pixels,
        zones=zones,
        probabilities=Probabilities(None, None, (), (), reason),
    )


def fit_log_odds(validation: Sequence[tuple[ScoredImages, Path]]) -> LogOdds:
    """Weigh the two distances by how well they tell defective patches of validation images from the others.

    Ignored patches are left out, and so are defective images whose mask marks nothing: nobody knows which of their
    patches are defective. Inputs are standardised, the penalty on the weights is scikit-learn's (C = 1).

    Args:
        validation: images, and the pack of their masks.

    Raises:
        Undefined: if no patch is known to be defective or normal, or a distance is not a number.
    """
    inputs: list[Float64] = [np.empty((0, 2))]
    labels: list[Bool] = [np.empty(0, np.bool_)]
    for images, pack in validation:
        defective = read_defective_patches(pack, images.images, images.grid)
        ignored = read_ignored_patches(pack, images.images, images.grid)
        known = np.broadcast_to(((images.labels == 0) | defective.any(axis=(1, 2)))[:, None, None], defective.shape)
        known = known if ignored is None else known & ~ignored
        inputs.append(np.stack(take_logarithms(images.parts), axis=-1)[known])
        labels.append(defective[known])
    points, anomalous = np.concatenate(inputs), np.concatenate(labels)
    if not anomalous.any():
        raise Undefined("no validation image has a mask that marks a defect, and the calibrated combination needs one")
    if anomalous.all():
        raise Undefined("no patch of a validation image is normal, and the calibrated combination needs one")
    if not np.isfinite(points).all():
        raise Undefined("a patch distance of a validation image is not a finite number")
    return _fit(points, anomalous)


def _fit(points: Float64, anomalous: Bool) -> LogOdds:
    from sklearn.linear_model import LogisticRegression  # takes a second to load, and few detectors need it

    mean, deviation = points.mean(axis=0), points.std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1)
    model = LogisticRegression(max_iter=1000, tol=1e-8).fit((points - mean) / deviation, anomalous)
    negative, positive = model.coef_[0] / deviation
    intercept = model.intercept_[0] - negative * mean[0] - positive * mean[1]
    return LogOdds(float(intercept), float(negative), float(positive))
