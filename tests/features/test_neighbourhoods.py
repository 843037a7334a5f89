import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from patchshift.features.neighbourhoods import channel_pooling, pool_channels, resampling, unfold


@given(st.integers(1, 60), st.integers(1, 80))
def test_channel_pooling_equals_adaptive_average_pooling_of_torch(source: int, target: int) -> None:
    values = np.random.default_rng(source).normal(size=(3, source)).astype(np.float32)
    expected = torch.nn.functional.adaptive_avg_pool1d(torch.from_numpy(values), target).numpy()
    np.testing.assert_allclose(values @ channel_pooling(source, target).T, expected, rtol=1e-5, atol=1e-6)


@given(st.integers(1, 40), st.integers(1, 40))
def test_channel_pooling_averages(source: int, target: int) -> None:
    pooling = channel_pooling(source, target)
    assert pooling.shape == (target, source)
    np.testing.assert_allclose(pooling.sum(axis=1), 1, rtol=1e-6)
    assert (pooling.sum(axis=0) > 0).all()  # no channel is lost


def test_unfolding_equals_that_of_torch() -> None:
    values = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(np.float32)
    image = torch.from_numpy(values).permute(2, 0, 1)[None]
    expected = torch.nn.functional.unfold(image, 3, padding=1)[0].numpy()
    np.testing.assert_array_equal(unfold(values), expected)


def test_neighbourhoods_of_nine_numbers_per_channel_pooled_to_the_channels_are_plain_averages() -> None:
    values = np.random.default_rng(0).normal(size=(7, 6, 5)).astype(np.float32)
    pooled = pool_channels(values, channel_pooling(5 * 9, 5), neighbours=True).reshape(7, 6, 5)
    down, across = resampling(7, 7, average=True), resampling(6, 6, average=True)
    np.testing.assert_allclose(pooled, np.einsum("ra,cb,abk->rck", down, across, values), atol=1e-5)


@pytest.mark.parametrize("width", [1, 2, 5])
def test_pooling_single_patches_averages_neighbouring_channels(width: int) -> None:
    values = np.random.default_rng(0).normal(size=(3, 2, 10)).astype(np.float32)
    pooled = pool_channels(values, channel_pooling(10, width), neighbours=False)
    np.testing.assert_allclose(pooled, values.reshape(6, width, -1).mean(-1), rtol=1e-5, atol=1e-6)
