import numpy as np
import numpy.typing as npt
import pytest

from patchshift.detectors.samplers import choose, mean_distances, position_weights
from patchshift.errors import UserError
from patchshift.plan.detector_specs import SamplerSpec

Float32 = npt.NDArray[np.float32]


def noise(count: int, dimension: int = 4, *, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)


def test_greedy_covers_better_than_random() -> None:
    patches = np.random.default_rng(0).standard_t(2, size=(2000, 4)).astype(np.float32)
    _, greedy = choose(SamplerSpec(count=50), patches, images=10, seed=0)
    _, random = choose(SamplerSpec(method="random", count=50), patches, images=10, seed=0)
    assert greedy < random / 2


def test_ten_starts_are_the_published_loop() -> None:
    """amazon-science/patchcore-inspection: the anchor distances begin as the mean distance to ten random features."""
    patches = noise(600)
    random = np.random.default_rng(5)
    random.integers(len(patches))  # the first patch of the ordinary choice
    starts = random.choice(600, 10, replace=False)
    exact = patches.astype(np.float64)
    anchors = np.linalg.norm(exact[:, None] - exact[starts], axis=2).mean(axis=1)
    expected: list[int] = []
    while len(expected) < 50:
        expected.append(int(anchors.argmax()))
        anchors = np.minimum(anchors, np.linalg.norm(exact - exact[expected[-1]], axis=1))
    kept, radius = choose(SamplerSpec(count=50, starts=10), patches, images=6, seed=5)
    np.testing.assert_array_equal(kept, patches[expected])
    assert radius == pytest.approx(np.linalg.norm(exact[:, None] - kept, axis=2).min(axis=1).max())


def test_positions_that_vary_more_are_kept_more_densely() -> None:
    patches = noise(40 * 25, seed=1).reshape(40, 25, 4)
    patches[:, :5] *= 3  # position by position
    patches += 100 * noise(25, seed=2)  # whatever else distinguishes positions
    flat = patches.reshape(-1, 4)
    positions = {patch.tobytes(): row % 25 for row, patch in enumerate(flat)}
    shares = []
    for method in ("greedy", "variance_weighted"):
        kept, _ = choose(SamplerSpec.model_validate({"method": method, "count": 200}), flat, images=40, seed=0)
        shares.append(np.mean([positions[vector.tobytes()] < 5 for vector in kept]))
    assert shares[0] + 0.1 < shares[1]


def test_weights_are_the_deviation_at_each_position_relative_to_the_mean_variance() -> None:
    patches = (noise(30 * 7, seed=3).reshape(30, 7, 4) * np.arange(7)[:, None] + 1000).astype(np.float32)
    weights = position_weights(patches.reshape(-1, 4), 30).reshape(30, 7)
    spread = patches.astype(np.float64).var(axis=0).sum(axis=1)
    expected = np.maximum(np.sqrt(spread / spread.mean()), 1e-3)
    np.testing.assert_allclose(weights, np.broadcast_to(expected, (30, 7)), rtol=1e-6)
    assert weights[0, 0] == 1e-3  # the first position never varies
    assert position_weights(np.ones((6, 4), np.float32), 2).tolist() == [1] * 6


def test_mean_distances_are_euclidean_ones_from_each_start() -> None:
    points = noise(100)
    expected = np.linalg.norm(points[:, None] - points[[3, 50]], axis=2).mean(axis=1)
    np.testing.assert_allclose(mean_distances(points, np.array([3, 50])), expected, rtol=1e-5)


def test_more_starts_than_patches_are_refused() -> None:
    with pytest.raises(UserError, match=r"sampler\.starts: 10 patches are asked for, but the training images have 8"):
        choose(SamplerSpec(count=2, starts=10), noise(8), images=2, seed=0)
