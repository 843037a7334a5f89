import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score, roc_curve

from patchshift.evaluation.ranking import (
    IMAGE_RANKINGS,
    Place,
    area_to_limit,
    auroc,
    average_precision,
    best_f1,
    counts_by_score,
    fpr_at_recall,
)

samples = st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=30).filter(
    lambda pairs: len({label for label, _ in pairs}) == 2
)


@given(samples)
def test_auroc_and_average_precision_equal_sklearn_with_ties(pairs: list[tuple[bool, int]]) -> None:
    labels = np.array([label for label, _ in pairs])
    scores = np.array([score for _, score in pairs], np.float32)
    negatives, positives = counts_by_score(scores, ~labels), counts_by_score(scores, labels)
    assert auroc(negatives, positives) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(negatives, positives) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    assert area_to_limit(negatives, positives, 1.0) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@given(samples)
def test_best_f1_and_fpr_at_recall_equal_sklearn_with_ties(pairs: list[tuple[bool, int]]) -> None:
    labels = np.array([label for label, _ in pairs])
    scores = np.array([score for _, score in pairs], np.float32)
    negatives, positives = counts_by_score(scores, ~labels), counts_by_score(scores, labels)
    precision, recall, _ = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    assert best_f1(negatives, positives) == pytest.approx(f1.max(), abs=1e-12)
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    for percent in (5, 50, 95, 100):
        assert fpr_at_recall(negatives, positives, percent) == fpr[tpr >= percent / 100].min(), percent


def test_recall_of_exactly_95_percent_is_enough_and_nothing_is_interpolated() -> None:
    # 20 positives; 19 are found with one of four negatives accepted, the last with three
    assert fpr_at_recall(np.array([0, 1, 2, 1]), np.array([18, 1, 1, 0])) == 0.25
    assert fpr_at_recall(np.array([0, 1, 2, 1]), np.array([18, 0, 2, 0])) == 0.75
    # in one group with negatives they are accepted together
    assert fpr_at_recall(np.array([3, 1]), np.array([20, 0])) == 0.75


@given(samples)
def test_blocks_in_their_place_add_up_to_the_whole(pairs: list[tuple[bool, int]]) -> None:
    labels = np.array([label for label, _ in pairs])
    scores = np.array([score for _, score in pairs], np.float32)
    negatives, positives = counts_by_score(scores, ~labels), counts_by_score(scores, labels)
    for cut in range(1, len(negatives)):
        totals = (negatives.sum(), positives.sum())
        blocks = [
            (negatives[:cut], positives[:cut], Place(0, 0, *totals)),
            (negatives[cut:], positives[cut:], Place(negatives[:cut].sum(), positives[:cut].sum(), *totals)),
        ]
        for metric in (auroc, average_precision):
            parts = sum(float(metric(*block)) for block in blocks)
            assert parts == pytest.approx(float(metric(negatives, positives)), abs=1e-12)
        for limit in (0.05, 0.3, 1.0):
            parts = sum(float(area_to_limit(*block[:2], limit, block[2])) for block in blocks)
            assert parts == pytest.approx(float(area_to_limit(negatives, positives, limit)), abs=1e-12)
        assert max(float(best_f1(*block)) for block in blocks) == best_f1(negatives, positives)


def test_area_is_cut_inside_a_segment_at_the_limit() -> None:
    # straight from (0, 0) to (0.5, 1), then flat: half way up at 0.25, mean height 0.25 before it
    assert area_to_limit(np.array([2, 2]), np.array([3, 0]), 0.25) == pytest.approx(0.25)
    assert area_to_limit(np.array([2, 2]), np.array([3, 0]), 1.0) == pytest.approx(0.75)


def test_gains_at_exactly_the_limit_do_not_count() -> None:
    assert area_to_limit(np.array([1, 0, 1]), np.array([0, 1, 0]), 0.5) == 0.0


def test_weights_repeat_samples() -> None:
    scores = np.array([3.0, 1.0, 2.0, 2.0], np.float32)
    weights = np.array([[1, 0, 2, 1], [0, 4, 0, 0]])
    repeated = counts_by_score(np.repeat(scores, weights[0]), np.ones(4))
    assert counts_by_score(scores, weights).tolist() == [[1, 3, 0], [0, 0, 4]]
    assert repeated.tolist() == [1, 3]


def test_resamples_without_a_class_are_nan() -> None:
    negatives, positives = np.array([[1, 1], [0, 0], [1, 2]]), np.array([[1, 0], [2, 1], [0, 0]])
    assert np.isnan(auroc(negatives, positives)).tolist() == [False, True, True]
    assert np.isnan(area_to_limit(negatives, positives, 0.5)).tolist() == [False, True, True]
    assert np.isnan(average_precision(negatives, positives)).tolist() == [False, False, True]
    assert np.isnan(best_f1(negatives, positives)).tolist() == [False, False, True]
    assert np.isnan(fpr_at_recall(negatives, positives)).tolist() == [False, True, True]


def test_scores_that_no_resample_drew_change_nothing() -> None:
    negatives, positives = np.array([[0, 2, 0, 1, 0, 0]]), np.array([[0, 1, 0, 0, 3, 0]])
    for name, metric in IMAGE_RANKINGS.items():
        assert metric(negatives, positives)[0] == metric(negatives[0, [1, 3, 4]], positives[0, [1, 3, 4]]), name
