import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchshift.evaluation.head_groups import correlate_heads, group_heads


def test_heads_that_look_at_the_same_places_are_one_group() -> None:
    random = np.random.default_rng(0)
    places = random.random((4, 5, 6, 6))
    looks_at = [2, 0, 1, 0, 3, 2, 1, 2]
    maps = np.stack([places[place] * (1 + head) for head, place in enumerate(looks_at)], axis=1)
    maps += 0.01 * random.random(maps.shape)
    assert group_heads(maps.astype(np.float32)) == [[0, 5, 7], [1, 3], [2, 6], [4]]


@given(st.integers(1, 16), st.integers(0, 99))
def test_every_head_is_in_one_of_three_or_four_groups(heads: int, seed: int) -> None:
    maps = np.random.default_rng(seed).random((2, heads, 3, 4)).astype(np.float32)
    groups = group_heads(maps)
    assert sorted(head for group in groups for head in group) == list(range(heads))
    assert len(groups) <= (4 if heads > 6 else 3)
    assert groups == sorted(groups)
    assert groups == group_heads(maps)


def test_correlation_is_of_deviations_within_each_image() -> None:
    maps = np.random.default_rng(0).random((1, 3, 4, 5))
    expected = np.corrcoef(maps[0].reshape(3, -1))
    np.testing.assert_allclose(correlate_heads(maps.astype(np.float32)), expected, rtol=1e-5)
    shifted = np.concatenate([maps, maps + 7])
    np.testing.assert_allclose(correlate_heads(shifted.astype(np.float32)), expected, rtol=1e-4)


def test_a_head_that_looks_everywhere_alike_is_like_no_other() -> None:
    maps = np.random.default_rng(0).random((2, 3, 4, 4)).astype(np.float32)
    maps[:, 1] = 0.0625
    correlation = correlate_heads(maps)
    assert correlation[1].tolist() == [0, 1, 0]
    assert correlation[0, 2] == pytest.approx(correlation[2, 0])
