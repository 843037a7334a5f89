import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.random_projection import johnson_lindenstrauss_min_dim

from patchshift.detectors.patches import PatchSource
from patchshift.detectors.quotas import draw_directions
from patchshift.detectors.samplers import choose, mean_distances, position_weights, sample
from patchshift.detectors.shards import measure_radius
from patchshift.errors import UserError
from patchshift.plan.sampling_specs import SamplerSpec

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
    weights = position_weights(patches.reshape(-1, 4), np.tile(np.arange(7), 30)).reshape(30, 7)
    spread = patches.astype(np.float64).var(axis=0).sum(axis=1)
    expected = np.maximum(np.sqrt(spread / spread.mean()), 1e-3)
    np.testing.assert_allclose(weights, np.broadcast_to(expected, (30, 7)), rtol=1e-6)
    assert weights[0, 0] == 1e-3  # the first position never varies
    assert position_weights(np.ones((6, 4), np.float32), np.tile(np.arange(3), 2)).tolist() == [1] * 6


def test_mean_distances_are_euclidean_ones_from_each_start() -> None:
    points = noise(100)
    expected = np.linalg.norm(points[:, None] - points[[3, 50]], axis=2).mean(axis=1)
    np.testing.assert_allclose(mean_distances(points, np.array([3, 50])), expected, rtol=1e-5)


def test_more_starts_than_patches_are_refused() -> None:
    with pytest.raises(UserError, match=r"sampler\.starts: 10 patches are asked for, but the training images have 8"):
        choose(SamplerSpec(count=2, starts=10), noise(8), images=2, seed=0)


def source_of(patches: Float32) -> PatchSource:
    """[n, P, D]."""
    present = np.ones(patches.shape[:2], np.bool_)
    return PatchSource(present, patches.shape[2], lambda images: patches[images].reshape(-1, patches.shape[2]))


def test_weights_know_positions_that_are_left_out() -> None:
    patches = noise(30 * 7, seed=3).reshape(30, 7, 4) * np.arange(1, 8, dtype=np.float32)[:, None] + 100
    present = np.random.default_rng(1).random((30, 7)) < 0.7
    present[:, 2] = False
    weights = np.zeros((30, 7))
    weights[present] = position_weights(patches[present], np.nonzero(present)[1])
    spread = np.zeros(7)
    for position in (0, 1, 3, 4, 5, 6):
        spread[position] = patches[present[:, position], position].astype(np.float64).var(axis=0).sum()
    expected = np.sqrt(spread / spread[[0, 1, 3, 4, 5, 6]].mean())
    np.testing.assert_allclose(weights, np.where(present, expected, 0), rtol=1e-6)


@pytest.mark.parametrize("count", [2, 100, 4321, 235_200, 10**7])
def test_johnson_lindenstrauss_projects_to_the_dimensions_of_scikit_learn(count: int) -> None:
    spec, enough = (
        SamplerSpec(share=0.1, projection="johnson_lindenstrauss"),
        johnson_lindenstrauss_min_dim(count, eps=0.9),
    )
    directions = draw_directions(spec, 2048, count, 0)
    assert directions is not None
    assert directions.shape == (2048, enough)
    assert np.mean(directions != 0) == pytest.approx(2048**-0.5, rel=0.1)
    lengths = np.linalg.norm(noise(50, 2048) @ directions, axis=1) / np.sqrt(2048)
    assert lengths.mean() == pytest.approx(1, abs=4 / np.sqrt(enough))
    np.testing.assert_array_equal(directions, draw_directions(spec, 2048, count, 0))
    assert not np.array_equal(directions, draw_directions(spec, 2048, count, 1))


def test_johnson_lindenstrauss_never_projects_to_more_dimensions() -> None:
    projected, plain = (SamplerSpec(count=30, projection=key) for key in ("johnson_lindenstrauss", None))
    patches = noise(400, 20)
    np.testing.assert_array_equal(*(choose(spec, patches, images=4, seed=0)[0] for spec in (projected, plain)))
    assert draw_directions(projected, 305, 235_200, 0) is None  # as many as are enough
    assert draw_directions(projected, 306, 235_200, 0) is not None


POOL = np.array([0, 1, 1, 0, 1, 1, 1, 0], np.int16)  # in no order, as with turned images


@pytest.mark.parametrize("projection", [3, "johnson_lindenstrauss"])
def test_a_category_is_projected_as_it_would_be_alone(projection: Any) -> None:
    patches = noise(8 * 25, 200).reshape(8, 25, 200)  # 96 dimensions are enough for one category, more for both
    spec = SamplerSpec(share=0.1, per_category=True, projection=projection)
    both = sample(spec, source_of(patches), memory_mb=1, seed=2, members=["a/b", "c/d"], member_of=POOL)
    alone = [sample(spec, source_of(patches[member == POOL]), memory_mb=1, seed=2).vectors for member in (0, 1)]
    np.testing.assert_array_equal(both.vectors, np.concatenate(alone))
    directions = draw_directions(spec, 200, 200, 2)
    assert both.radius == measure_radius(source_of(patches), both.vectors, directions=directions)


@pytest.mark.parametrize("memory_mb", [math.inf, 0.009])
@pytest.mark.parametrize("method", ["greedy", "random"])
def test_a_quota_of_each_category_is_what_it_would_have_alone(method: str, memory_mb: float) -> None:
    patches = noise(8 * 25, 6).reshape(8, 25, 6) + POOL[:, None, None]
    spec = SamplerSpec.model_validate({"method": method, "share": 0.1, "per_category": True})
    source = source_of(patches)
    both = sample(spec, source, memory_mb=memory_mb, seed=2, members=["a/b", "c/d"], member_of=POOL)
    alone = [sample(spec, source_of(patches[member == POOL]), memory_mb=memory_mb, seed=2) for member in (0, 1)]
    assert [len(part.vectors) for part in alone] == [7, 12]
    np.testing.assert_array_equal(both.vectors, np.concatenate([part.vectors for part in alone]))
    assert both.radius == measure_radius(source, both.vectors)
    np.testing.assert_array_equal(POOL[both.images], [0] * 7 + [1] * 12)


def test_a_count_is_shared_out_evenly() -> None:
    patches = noise(8 * 25).reshape(8, 25, 4)
    members = {"members": ["a/b", "c/d"], "member_of": POOL}
    kept = sample(SamplerSpec(count=11, per_category=True), source_of(patches), memory_mb=1, seed=0, **members)
    assert np.bincount(POOL[kept.images]).tolist() == [6, 5]
    whole = sample(SamplerSpec(count=11), source_of(patches), memory_mb=1, seed=0, **members)
    assert np.bincount(POOL[whole.images], minlength=2).sum() == 11
    assert not np.array_equal(whole.vectors, kept.vectors)


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (160, r"sampler\.count: 80 patches are asked for, but category 'a/b' has 75: lower it, or give a share"),
        (1, r"sampler\.count: 1 patches cannot come from 2 categories: raise it"),
    ],
)
def test_a_count_that_cannot_be_shared_out_is_refused(count: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        sample(
            SamplerSpec(count=count, per_category=True),
            source_of(noise(200).reshape(8, 25, 4)),
            **{"memory_mb": 1, "seed": 0, "members": ["a/b", "c/d"], "member_of": POOL},
        )


@pytest.mark.parametrize(
    "sampler",
    [
        {"method": "kmeans", "share": 0.1},
        {"method": "variance_weighted", "share": 0.1, "projection": 3},
        {"method": "greedy", "share": 0.1, "starts": 10},
        {"method": "none"},
    ],
)
def test_samplers_that_need_all_patches_say_how_much_memory(sampler: dict[str, Any]) -> None:
    spec, source = SamplerSpec.model_validate(sampler), source_of(noise(100_000).reshape(100, 1000, 4))
    with pytest.raises(
        UserError, match=r"needs all 100,000 training patches in memory .* raise it to (\d+), "
    ) as refused:
        sample(spec, source, memory_mb=1, seed=0)
    enough = int(str(refused.value).split("raise it to ")[1].split(",")[0])
    assert 8 <= enough <= 13
    with pytest.raises(UserError, match=f"raise it to {enough}"):
        sample(spec, source, memory_mb=enough - 1, seed=0)
    if sampler["method"] == "none":
        assert len(sample(spec, source, memory_mb=enough, seed=0).vectors) == 100_000


def test_a_choice_too_large_for_the_memory_says_how_much_it_needs() -> None:
    source = source_of(noise(10_000).reshape(100, 100, 4))
    with pytest.raises(
        UserError, match=r"5,000 of 10,000 training patches cannot be chosen in 0\.5 MB: raise it to 1,"
    ):
        sample(SamplerSpec(share=0.5), source, memory_mb=0.5, seed=0)
    assert len(sample(SamplerSpec(share=0.5), source, memory_mb=1, seed=0).vectors) == 5000


@pytest.mark.parametrize("method", ["greedy", "variance_weighted", "random", "kmeans"])
def test_patches_that_are_all_equal_are_covered(method: str) -> None:
    vectors, radius = choose(
        SamplerSpec.model_validate({"method": method, "count": 5}), np.ones((40, 3), np.float32), images=4, seed=0
    )
    np.testing.assert_array_equal(vectors, np.ones((5, 3)))
    assert radius == 0


def test_centroids_come_from_the_image_of_the_nearest_patch() -> None:
    patches = noise(4 * 30).reshape(4, 30, 4) * 0.01 + 10 * np.arange(4, dtype=np.float32)[:, None, None]
    kept = sample(SamplerSpec(method="kmeans", count=16), source_of(patches), memory_mb=1, seed=0)
    np.testing.assert_array_equal(kept.images, np.round(kept.vectors[:, 0] / 10))
    assert len(set(kept.images)) == 4
