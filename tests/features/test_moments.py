import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchshift.features.moments import channel_moments, covariance, float16_rounding, second_moments, sum_image


@pytest.fixture
def images() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [(random.normal(size=(20, 3)) @ random.normal(size=(3, 3)) + 2).astype(np.float32) for _ in range(4)]


def test_moments_of_images_are_those_of_all_their_vectors(images: list[np.ndarray]) -> None:
    everything = np.concatenate(images).astype(np.float64)
    mean, variance = channel_moments(map(sum_image, images))
    np.testing.assert_allclose(mean, everything.mean(0), rtol=1e-12)
    np.testing.assert_allclose(variance, everything.var(0), rtol=1e-10)
    np.testing.assert_allclose(second_moments(images), everything.T @ everything / len(everything), rtol=1e-12)
    centre, spread = covariance(images)
    np.testing.assert_allclose(centre, everything.mean(0), rtol=1e-12)
    np.testing.assert_allclose(spread, np.cov(everything.T, bias=True), rtol=1e-10)


def test_the_covariance_survives_a_mean_far_from_the_origin(images: list[np.ndarray]) -> None:
    far = [(image + np.float32(1e4)) for image in images]
    everything = np.concatenate(far).astype(np.float64)
    np.testing.assert_allclose(covariance(far)[1], np.cov(everything.T, bias=True), rtol=1e-9)
    # The plain formula is off by more.
    plain = everything.T @ everything / len(everything) - np.outer(everything.mean(0), everything.mean(0))
    assert not np.allclose(plain, np.cov(everything.T, bias=True), rtol=1e-9, atol=0)


@given(st.floats(0, 6e4) | st.floats(0, 1e-4), st.floats(0, 1))
def test_rounding_to_float16_gives_equal_values_no_larger_deviation(value: float, share: float) -> None:
    """Some fall below and some above the middle between two numbers of float16."""
    low = np.float16(value)
    high = np.nextafter(low, np.float16(np.inf))
    rounded = np.where(np.arange(100) < 100 * share, low, high).astype(np.float32)
    mean, variance = channel_moments([sum_image(rounded[:, None])])
    assert np.sqrt(variance[0]) <= float16_rounding(mean)[0] * (1 + 1e-6)
    assert float16_rounding(mean)[0] <= float(high) - float(low)  # and no wider than a step
