"""From validation scores to a threshold. An image is called defective if its score is at or above the threshold.

A policy is one function of the spec, the validation scores and the validation labels, entered in `POLICIES`: it has no
way to see a test image.
Tested in tests/evaluation/test_thresholds.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from patchshift.errors import UserError
from patchshift.evaluation.image_metrics import Labels, Scores, as_anomalous, check_scores
from patchshift.evaluation.ranking import counts_by_score
from patchshift.evaluation.undefined import Undefined
from patchshift.plan.specs import ThresholdSpec

Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Choice:
    """What a policy decides.

    Attributes:
        threshold: scores at or above it are called defective.
        criterion: value of what the policy optimises, on the validation images; None if it optimises nothing.
        guarantee: what the policy promises on new images, in words; None if nothing.
    """

    threshold: float
    criterion: float | None = None
    guarantee: str | None = None


@dataclass(frozen=True)
class Calibration:
    """A threshold and where it comes from.

    Attributes:
        policy: the policy's name.
        threshold: scores at or above it are called defective; None if the policy cannot be calibrated.
        undefined: why there is no threshold; None if there is one.
        normal: number of normal validation images.
        anomalous: number of anomalous validation images.
        criterion: value of what the policy optimises (`f1_max`: the validation F1).
        guarantee: what the policy promises on new images, in words; None if nothing.
        location: mean of the finite scores of normal validation images; None with `scale`.
        scale: their standard deviation (divisor n - 1); None if there are fewer than two, or all are equal.
    """

    policy: str
    threshold: float | None
    undefined: str | None
    normal: int
    anomalous: int
    criterion: float | None
    guarantee: str | None
    location: float | None = None
    scale: float | None = None


Policy = Callable[[ThresholdSpec, npt.NDArray[np.floating[Any]], Bool], Choice]


def calibrate(policy: ThresholdSpec | str, scores: Scores, labels: Labels) -> Calibration:
    """Choose a threshold on validation images.

    Args:
        policy: a threshold spec, or the name of a policy without further settings.
        scores: [N] image scores of the validation images, higher is more anomalous.
        labels: [N] 0 normal, 1 anomalous.

    Returns:
        The threshold, or the reason why this policy has none on these images.

    Raises:
        UserError: if no policy has this name, or if it cannot do without settings.
        ValueError: if scores and labels do not match.
    """
    spec = _as_spec(policy)
    scores, anomalous = np.asarray(scores), as_anomalous(labels)
    if scores.shape != anomalous.shape:
        raise ValueError(f"scores {scores.shape} and labels {anomalous.shape} must both be [N]")
    reason, choice = None, None
    try:
        if not scores.size:
            raise Undefined("no validation image")
        check_scores(scores)
        choice = POLICIES[spec.policy](spec, scores, anomalous)
    except Undefined as error:
        reason = str(error)
    return Calibration(
        policy=spec.policy,
        threshold=choice.threshold if choice else None,
        undefined=reason,
        normal=int((~anomalous).sum()),
        anomalous=int(anomalous.sum()),
        criterion=choice.criterion if choice else None,
        guarantee=choice.guarantee if choice else None,
        **_measure_normal(scores[~anomalous]),
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


def f1_max(spec: ThresholdSpec, scores: Scores, anomalous: Bool) -> Choice:
    """The validation score with the highest F1; among equal F1 the highest score.

    Raises:
        Undefined: if no validation image is anomalous.
    """
    if not anomalous.any():
        raise Undefined("no anomalous validation image")
    candidates = np.unique(scores)[::-1]
    true = np.cumsum(counts_by_score(scores, anomalous))
    false = np.cumsum(counts_by_score(scores, ~anomalous))
    f1 = 2 * true / (true + false + anomalous.sum())  # correctly rounded ratios of integers: equal F1 are equal floats
    best = int(np.argmax(f1))
    return Choice(threshold=float(candidates[best]), criterion=float(f1[best]))


def normal_quantile(spec: ThresholdSpec, scores: Scores, anomalous: Bool) -> Choice:
    """The next number after the smallest normal score that at least `spec.quantile` of the normal scores do not exceed.

    An image at the threshold is called defective, so the threshold lies above that score, by one step of the scores'
    own dtype: no score fits between. So at most 1 - `spec.quantile` of the normal validation images are flagged.

    Raises:
        Undefined: if no validation image is normal.
    """
    if anomalous.all():
        raise Undefined("no normal validation image")
    assert spec.quantile is not None
    passing = np.quantile(scores[~anomalous], spec.quantile, method="inverted_cdf").astype(scores.dtype)
    return Choice(threshold=float(np.nextafter(passing, np.inf, dtype=scores.dtype)))


POLICIES: dict[str, Policy] = {
    "f1_max": f1_max,
    "normal_quantile": normal_quantile,
}
"""Name in `ThresholdSpec.policy` -> its function."""


def _measure_normal(scores: Scores) -> dict[str, float]:
    """`location` and `scale` of normal validation scores, where there are two that differ."""
    finite = np.asarray(scores, np.float64)[np.isfinite(scores)]
    if len(finite) < 2 or np.ptp(finite) == 0:  # the mean of equal numbers may be another one
        return {}
    location, scale = float(finite.mean()), float(finite.std(ddof=1))
    return {"location": location, "scale": scale} if 0 < scale < np.inf else {}


def _as_spec(policy: ThresholdSpec | str) -> ThresholdSpec:
    if isinstance(policy, ThresholdSpec):
        return policy
    if policy not in POLICIES:
        raise UserError(f"threshold policy: '{policy}' is not known (known: {', '.join(POLICIES)})")
    try:
        return ThresholdSpec.model_validate({"policy": policy})
    except ValidationError:
        raise UserError(f"threshold policy '{policy}' has settings: give a ThresholdSpec") from None
