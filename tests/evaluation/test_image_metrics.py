from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_curve,
    roc_auc_score,
    roc_curve,
)

from patchshift.evaluation.image_metrics import (
    DECISION_METRICS,
    count_decisions,
    fpr_at_95_tpr,
    image_auroc,
    image_average_precision,
    image_f1_oracle,
    rank_images,
)
from patchshift.evaluation.undefined import Undefined

METRICS: list[Callable[..., float]] = [image_auroc, image_average_precision, image_f1_oracle, fpr_at_95_tpr]

decisions = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@pytest.mark.parametrize("ties", [False, True])
def test_image_metrics_equal_sklearn(ties: bool) -> None:
    generator = np.random.default_rng(3)
    labels = generator.integers(0, 2, 200)
    scores = (generator.normal(size=200) + labels).astype(np.float32)
    scores = np.round(scores) if ties else scores
    assert image_auroc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert image_average_precision(labels, scores) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    precision, recall, _ = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    assert image_f1_oracle(labels, scores) == pytest.approx(f1.max(), abs=1e-12)
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert fpr_at_95_tpr(labels, scores) == fpr[np.argmax(tpr >= 0.95)]


samples = st.lists(st.tuples(st.integers(0, 1), st.integers(-4, 4)), min_size=2, max_size=30).filter(
    lambda pairs: len({label for label, _ in pairs}) == 2
)


@given(samples, st.sampled_from([np.exp, np.arctan, lambda x: 3 * x - 7, lambda x: x**3]))
def test_strictly_increasing_maps_of_scores_change_no_metric(
    pairs: list[tuple[int, int]], increase: Callable[..., np.ndarray]
) -> None:
    labels, scores = np.array(pairs).T
    assert rank_images(labels, increase(scores.astype(np.float64))) == rank_images(labels, scores)


@given(samples)
def test_swapped_labels_and_negated_scores_keep_the_area(pairs: list[tuple[int, int]]) -> None:
    labels, scores = np.array(pairs).T
    assert image_auroc(1 - labels, -scores) == pytest.approx(image_auroc(labels, scores), abs=1e-12)
    assert image_auroc(1 - labels, scores) == pytest.approx(1 - image_auroc(labels, scores), abs=1e-12)


@given(samples)
def test_the_order_of_images_does_not_matter(pairs: list[tuple[int, int]]) -> None:
    labels, scores = np.array(pairs).T
    assert rank_images(labels[::-1], scores[::-1]) == rank_images(labels, scores)


@given(samples)
def test_no_threshold_has_a_better_f1_than_the_oracle_and_it_reaches_the_floor(pairs: list[tuple[int, int]]) -> None:
    labels, scores = np.array(pairs).T
    called = [scores >= threshold for threshold in np.unique(scores)]
    assert image_f1_oracle(labels, scores) == pytest.approx(max(f1_score(labels, one) for one in called))
    floor = DECISION_METRICS["f1_floor"](count_decisions(labels, called[0]))
    assert image_f1_oracle(labels, scores) >= floor


def test_equal_scores_rank_like_chance() -> None:
    labels, scores = np.array([0, 0, 1, 0]), np.ones(4)
    assert image_auroc(labels, scores) == 0.5
    assert image_average_precision(labels, scores) == 0.25
    assert image_f1_oracle(labels, scores) == pytest.approx(2 / 5)  # that of calling every image defective
    assert fpr_at_95_tpr(labels, scores) == 1.0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("labels", "scores", "reason"),
    [
        ([], [], "no image"),
        ([0, 0], [1.0, 2.0], "no anomalous image"),
        ([1, 1], [1.0, 2.0], "no normal image"),
        ([0, 1, 1], [1.0, np.nan, np.inf], "the score of 2 of 3 images is not finite"),
    ],
)
def test_rankings_that_do_not_exist_are_undefined(
    metric: Callable[..., float], labels: list[int], scores: list[float], reason: str
) -> None:
    with pytest.raises(Undefined, match=reason):
        metric(np.array(labels, int), np.array(scores))


@given(decisions)
def test_decision_metrics_agree_with_their_identities(pairs: list[tuple[bool, bool]]) -> None:
    labels, called = np.array(pairs).T
    confusion = count_decisions(labels, called)
    metrics = {name: float(metric(confusion)) for name, metric in DECISION_METRICS.items()}
    counts = confusion_matrix(labels, called, labels=[False, True]).ravel()
    assert [confusion.tn, confusion.fp, confusion.fn, confusion.tp] == counts.tolist()
    assert metrics["accuracy"] == pytest.approx((labels == called).mean())
    if labels.any():
        assert metrics["miss_rate"] == pytest.approx(1 - metrics["recall"])
        assert metrics["f1"] == pytest.approx(f1_score(labels, called))
        assert metrics["f1_floor"] == pytest.approx(f1_score(labels, np.ones_like(labels)))
    if labels.any() and not labels.all():
        assert metrics["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, called))
    else:
        assert np.isnan(metrics["balanced_accuracy"])
    if not labels.all():
        assert metrics["false_alarm_rate"] == pytest.approx(1 - metrics["specificity"])


def test_empty_ratios_are_nan_and_have_a_reason() -> None:
    confusion = count_decisions(np.array([0, 0]), np.array([0, 0]))
    undefined = {name for name, metric in DECISION_METRICS.items() if np.isnan(metric(confusion))}
    assert undefined == {"f1", "balanced_accuracy", "precision", "recall", "f1_floor", "miss_rate"}
    assert all(DECISION_METRICS[name].reason for name in undefined)


def test_f1_floor_is_the_f1_of_calling_everything_defective() -> None:
    confusion = count_decisions(np.array([1] * 70 + [0] * 40), np.zeros(110, int))
    assert DECISION_METRICS["f1_floor"](confusion) == pytest.approx(140 / 180)


def test_labels_other_than_zero_and_one_are_refused() -> None:
    with pytest.raises(ValueError, match="0 \\(normal\\) and 1"):
        count_decisions(np.array([0, 255]), np.array([0, 1]))
    with pytest.raises(ValueError, match="must both be"):
        count_decisions(np.array([0, 1, 1]), np.array([0, 1]))
    with pytest.raises(ValueError, match="must both be"):
        image_auroc(np.array([0, 1, 1]), np.array([0.0, 1]))
