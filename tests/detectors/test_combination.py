from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from patchshift.detectors.combination import combine, combine_measured
from patchshift.detectors.normality import Measured
from patchshift.plan.score_specs import Combination

DISTANCES = arrays(np.float32, (2, 5), elements=st.floats(0, 1000, width=32))
N = np.array([[0, 1, 3]], np.float32)
P = np.array([[2, 0, 3]], np.float32)


@pytest.mark.parametrize(
    ("combination", "expected"),
    [
        ("ratio", [0, 1 / 1e-6, 3 / (3 + 1e-6)]),
        ("difference", [-2, 1, 0]),
        ("log_ratio", [np.log(1e-6 / 2), np.log(1 / 1e-6), 0]),
        ("calibrated", [np.log(1e-6 / 2), np.log(1 / 1e-6), 0]),
    ],
)
def test_combinations_are_the_formulas_of_the_protocol(combination: Combination, expected: list[float]) -> None:
    combined = combine_measured(combination, Measured(N, {"negative": N, "positive": P}))
    assert combined.dtype == np.float32
    np.testing.assert_allclose(combined[0], expected, rtol=1e-5, atol=1e-5)


@given(DISTANCES, DISTANCES, st.sampled_from(get_args(Combination)))
def test_patches_are_more_anomalous_the_farther_from_normal_and_the_nearer_to_defective_ones(
    negative: np.ndarray, positive: np.ndarray, combination: Combination
) -> None:
    combined = combine(combination, negative, positive)
    assert np.isfinite(combined).all()
    assert (combine(combination, negative + 1, positive) >= combined).all()
    assert (combine(combination, negative, positive + 1) <= combined).all()


def test_without_a_positive_bank_or_a_combination_the_distances_are_the_scores() -> None:
    alone = Measured(N, {"member": np.zeros((1, 3), np.int16)})
    assert combine_measured("log_ratio", alone) is N
    assert combine_measured(None, Measured(N, {"negative": N, "positive": P})) is N
