import numpy as np
import pytest

from patchshift.detectors.kmeans import centroids
from patchshift.detectors.samplers import choose
from patchshift.plan.sampling_specs import SamplerSpec


def clusters(offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Forty tight clusters of fifty points each, and their means."""
    random = np.random.default_rng(0)
    means = random.normal(size=(40, 6)) * 10 + offset
    points = means[:, None] + random.normal(size=(40, 50, 6)) * 0.01
    return points.reshape(-1, 6).astype(np.float32), points.mean(axis=1)


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_every_centroid_is_the_mean_of_the_points_nearest_to_it(offset: float) -> None:
    points, _ = clusters(offset)
    found, radius = choose(SamplerSpec(method="kmeans", count=12), points, images=40, seed=0)
    distances = np.linalg.norm(points[:, None].astype(np.float64) - found, axis=-1)
    nearest = distances.argmin(1)
    means = np.stack([points[nearest == row].mean(axis=0, dtype=np.float64) for row in range(12)])
    np.testing.assert_allclose(found, means, rtol=1e-4, atol=1e-4)
    assert radius == pytest.approx(distances.min(1).max(), rel=1e-4)


def test_the_seed_alone_decides_the_centroids() -> None:
    points, _ = clusters()
    first, same, other = (centroids(points, 12, seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("seed", [0, 2**31, 2**32 - 1])
def test_as_many_centroids_as_points_are_the_points(seed: int) -> None:
    points = np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32)
    found, radius = choose(SamplerSpec(method="kmeans", count=30), points, images=3, seed=seed)
    assert radius == pytest.approx(0, abs=1e-6)
    assert len(found) == 30
