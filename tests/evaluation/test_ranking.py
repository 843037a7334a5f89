import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from patchshift.evaluation.ranking import area_to_limit, auroc, average_precision, counts_by_score

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
