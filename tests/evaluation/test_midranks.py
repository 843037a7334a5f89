"""Ranks with ties: what scipy says of the same values, bit by bit."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from patchshift.evaluation.midranks import midranks


@given(st.lists(st.integers(-5, 5) | st.floats(allow_nan=False)))
def test_they_are_scipys(values: list[float]) -> None:
    assert midranks(np.array(values, np.float64)).tolist() == rankdata(np.array(values, np.float64)).tolist()


@given(st.lists(st.floats(0, 1, width=32), min_size=1))
def test_scores_in_single_precision_rank_as_they_are(values: list[float]) -> None:
    assert midranks(np.array(values, np.float32)).tolist() == rankdata(np.array(values, np.float32)).tolist()


def test_equal_values_share_their_mean_rank() -> None:
    assert midranks([0.5, 0.1, 0.5, 0.9]).tolist() == [2.5, 1.0, 2.5, 4.0]
