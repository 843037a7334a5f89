"""How well image scores separate anomalous from normal images, and how good decisions are.

Tested in tests/evaluation/test_image_metrics.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.ranking import IMAGE_RANKINGS, counts_by_score
from patchshift.evaluation.undefined import Undefined

Labels = npt.NDArray[np.integer[Any]] | npt.NDArray[np.bool_]
Scores = npt.NDArray[np.floating[Any]]
Bool = npt.NDArray[np.bool_]
Float64 = npt.NDArray[np.float64]
Count = int | npt.NDArray[np.int64]


def rank_images(labels: Labels, scores: Scores) -> dict[str, float]:
    """All ranking metrics of images.

    Args:
        labels: [N] 0 normal, 1 anomalous.
        scores: [N] higher is more anomalous.

    Returns:
        Every name of `IMAGE_RANKINGS` -> its value.

    Raises:
        Undefined: if a class is missing or a score is not finite.
    """
    anomalous = check_ranking(labels, scores)
    negatives, positives = (counts_by_score(scores, chosen) for chosen in (~anomalous, anomalous))
    return {name: float(metric(negatives, positives)) for name, metric in IMAGE_RANKINGS.items()}


def image_auroc(labels: Labels, scores: Scores) -> float:
    """Area under the ROC curve over images; equal scores count half. Arguments and errors as for `rank_images`."""
    return rank_images(labels, scores)["image_auroc"]


def image_average_precision(labels: Labels, scores: Scores) -> float:
    """Average precision over images, anomalous as the positive class, without interpolation.

    Arguments and errors as for `rank_images`.
    """
    return rank_images(labels, scores)["image_ap"]


def image_f1_oracle(labels: Labels, scores: Scores) -> float:
    """The largest F1 that any threshold gives on these very images: an oracle, which has seen their labels.

    It bounds what a threshold from validation images can reach from above, and is no figure of a detector in use. It is
    never below the F1 floor. Arguments and errors as for `rank_images`.
    """
    return rank_images(labels, scores)["image_f1_oracle"]


def fpr_at_95_tpr(labels: Labels, scores: Scores) -> float:
    """Share of normal images at or above the highest threshold that at least 95 % of the anomalous ones reach.

    Thresholds are scores of images, so equal scores fall on one side together, and nothing is interpolated. Lower is
    better. Arguments and errors as for `rank_images`.
    """
    return rank_images(labels, scores)["fpr_at_95_tpr"]


def check_ranking(labels: Labels, scores: Scores) -> Bool:
    """The labels as booleans, if images can be ranked at all.

    Raises:
        Undefined: if a class is missing or a score is not finite.
        ValueError: if labels and scores do not match, or a label is neither 0 nor 1.
    """
    anomalous = as_anomalous(labels)
    if anomalous.shape != np.shape(scores):
        raise ValueError(f"labels {anomalous.shape} and scores {np.shape(scores)} must both be [N]")
    if not len(anomalous):
        raise Undefined("no image")
    if anomalous.all():
        raise Undefined("no normal image")
    if not anomalous.any():
        raise Undefined("no anomalous image")
    check_scores(scores)
    return anomalous


def check_scores(scores: Scores, images: str = "images") -> None:
    """Refuse NaN and infinity.

    Args:
        scores: [N] image scores.
        images: what they are of, for the message.

    Raises:
        Undefined: with the number of images whose score is not finite.
    """
    missing = int((~np.isfinite(scores)).sum())
    if missing:
        raise Undefined(f"the score of {missing} of {len(scores)} {images} is not finite")


def as_anomalous(labels: Labels) -> Bool:
    """[N] labels of 0 and 1 as booleans.

    Raises:
        ValueError: if a label is neither 0 nor 1.
    """
    if np.ndim(labels) != 1 or not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be [N] of 0 (normal) and 1 (anomalous)")
    return np.asarray(labels, np.bool_)


@dataclass(frozen=True)
class Confusion:
    """Counts of decisions: integers, or [R] arrays with one entry per resample."""

    tp: Count
    fp: Count
    tn: Count
    fn: Count

    @property
    def anomalous(self) -> Count:
        """Anomalous images."""
        return self.tp + self.fn

    @property
    def normal(self) -> Count:
        """Normal images."""
        return self.fp + self.tn

    @property
    def called(self) -> Count:
        """Images called defective."""
        return self.tp + self.fp


@dataclass(frozen=True)
class Ratio:
    """A decision metric: a ratio of counts, and what must not be empty for it to mean anything."""

    numerator: Callable[[Confusion], Count]
    denominator: Callable[[Confusion], Count]
    needs: Callable[[Confusion], Count]
    reason: str

    def __call__(self, confusion: Confusion) -> Float64:
        """The ratio; NaN where what it needs is empty."""
        numerator = np.asarray(self.numerator(confusion), np.float64)
        result: Float64 = np.divide(
            numerator,
            self.denominator(confusion),
            out=np.full(numerator.shape, np.nan),
            where=np.asarray(self.needs(confusion)) > 0,
        )
        return result


_NO_ANOMALOUS = "no anomalous image"
_NO_NORMAL = "no normal image"

DECISION_METRICS: dict[str, Ratio] = {
    "f1": Ratio(lambda c: 2 * c.tp, lambda c: 2 * c.tp + c.fp + c.fn, lambda c: c.anomalous, _NO_ANOMALOUS),
    "accuracy": Ratio(
        lambda c: c.tp + c.tn, lambda c: c.anomalous + c.normal, lambda c: c.anomalous + c.normal, "no image"
    ),
    # the mean of recall and specificity, as one ratio
    "balanced_accuracy": Ratio(
        lambda c: c.tp * c.normal + c.tn * c.anomalous,
        lambda c: 2 * c.anomalous * c.normal,
        lambda c: c.anomalous * c.normal,
        "one of the two classes has no image",
    ),
    "precision": Ratio(lambda c: c.tp, lambda c: c.called, lambda c: c.called, "no image is called defective"),
    "recall": Ratio(lambda c: c.tp, lambda c: c.anomalous, lambda c: c.anomalous, _NO_ANOMALOUS),
    "specificity": Ratio(lambda c: c.tn, lambda c: c.normal, lambda c: c.normal, _NO_NORMAL),
    # the F1 of calling every image defective: what any F1 must be read against
    "f1_floor": Ratio(
        lambda c: 2 * c.anomalous, lambda c: 2 * c.anomalous + c.normal, lambda c: c.anomalous, _NO_ANOMALOUS
    ),
    "miss_rate": Ratio(lambda c: c.fn, lambda c: c.anomalous, lambda c: c.anomalous, _NO_ANOMALOUS),
    "false_alarm_rate": Ratio(lambda c: c.fp, lambda c: c.normal, lambda c: c.normal, _NO_NORMAL),
}
"""Every metric of decisions; a new one is one line."""


def count_decisions(labels: Labels, decisions: Labels) -> Confusion:
    """Confusion counts.

    Args:
        labels: [N] 0 normal, 1 anomalous.
        decisions: [N] 1 (or True) where the image is called defective.

    Raises:
        ValueError: if the shapes differ or a value is neither 0 nor 1.
    """
    anomalous, called = as_anomalous(labels), as_anomalous(decisions)
    if anomalous.shape != called.shape:
        raise ValueError(f"labels {anomalous.shape} and decisions {called.shape} must both be [N]")
    return Confusion(
        tp=int((anomalous & called).sum()),
        fp=int((~anomalous & called).sum()),
        tn=int((~anomalous & ~called).sum()),
        fn=int((anomalous & ~called).sum()),
    )
