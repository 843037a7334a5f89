"""From validation scores to a threshold and to probabilities.

An image is called defective if its score is at or above the threshold, which a policy (`policies`) chooses.
Tested in tests/evaluation/test_thresholds.py.
"""

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from patchshift.errors import UserError
from patchshift.evaluation.calibration import Calibration
from patchshift.evaluation.image_metrics import Labels, Scores, as_anomalous, check_scores
from patchshift.evaluation.policies import POLICIES
from patchshift.evaluation.probabilities import fit_probabilities
from patchshift.evaluation.undefined import Undefined
from patchshift.plan.threshold_specs import ThresholdSpec


def calibrate(policy: ThresholdSpec | str, scores: Scores, labels: Labels) -> Calibration:
    """Choose a threshold on validation images, and fit probabilities to them.

    Args:
        policy: a threshold spec, or the name of a policy without further settings.
        scores: [N] image scores of the validation images, higher is more anomalous.
        labels: [N] 0 normal, 1 anomalous.

    Returns:
        The threshold, or the reason why this policy has none on these images; and probabilities, or why there are
        none: they do not depend on the policy.

    Raises:
        UserError: if no policy has this name, or if it cannot do without settings.
        ValueError: if scores and labels do not match.
    """
    spec = _as_spec(policy)
    scores, anomalous = np.asarray(scores), as_anomalous(labels)
    if not np.issubdtype(scores.dtype, np.floating):
        scores = scores.astype(np.float64)
    if scores.shape != anomalous.shape:
        raise ValueError(f"scores {scores.shape} and labels {anomalous.shape} must both be [N]")
    reason, choice = None, None
    try:
        if not scores.size:
            raise Undefined("no validation image")
        check_scores(scores, "validation images")
        choice = POLICIES[spec.policy](spec, scores, anomalous)
    except Undefined as error:
        reason = str(error)
    location, scale = _measure_normal(scores[~anomalous])
    return Calibration(
        policy=spec.policy,
        threshold=choice.threshold if choice else None,
        undefined=reason,
        normal=int((~anomalous).sum()),
        anomalous=int(anomalous.sum()),
        criterion=choice.criterion if choice else None,
        guarantee=choice.guarantee if choice else None,
        location=location,
        scale=scale,
        probabilities=fit_probabilities(scores, anomalous),
    )


def normalise(scores: Scores, calibration: Calibration) -> npt.NDArray[np.float64]:
    """Scores in standard deviations from the mean of the normal validation scores; no test score has a part in either.

    Args:
        scores: [N] image scores.
        calibration: of the same detector, on validation images.

    Returns:
        [N], in the order of the scores and without bounds; NaN where the calibration has no scale.
    """
    exact: npt.NDArray[np.float64] = np.asarray(scores, np.float64)
    if calibration.location is None or calibration.scale is None:
        return np.full(exact.shape, np.nan)
    return (exact - calibration.location) / calibration.scale


def _measure_normal(scores: Scores) -> tuple[float | None, float | None]:
    """Mean and deviation of normal validation scores, where there are two that differ."""
    finite = np.asarray(scores, np.float64)[np.isfinite(scores)]
    if len(finite) < 2 or np.ptp(finite) == 0:  # the mean of equal numbers may be another one
        return None, None
    location, scale = float(finite.mean()), float(finite.std(ddof=1))
    return (location, scale) if 0 < scale < np.inf else (None, None)


def _as_spec(policy: ThresholdSpec | str) -> ThresholdSpec:
    if isinstance(policy, ThresholdSpec):
        return policy
    if policy not in POLICIES:
        raise UserError(f"threshold policy: '{policy}' is not known (known: {', '.join(POLICIES)})")
    try:
        return ThresholdSpec.model_validate({"policy": policy})
    except ValidationError:
        raise UserError(f"threshold policy '{policy}' has settings: give a ThresholdSpec") from None
