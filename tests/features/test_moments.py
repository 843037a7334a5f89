import numpy as np
import pytest

from patchshift.features.moments import channel_moments, covariance, second_moments, sum_image


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
