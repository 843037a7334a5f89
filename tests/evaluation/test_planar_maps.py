import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from patchshift.errors import UserError
from patchshift.evaluation.planar_maps import DIMENSIONS, NEIGHBOURS, map_to_plane, reduce_patches


@pytest.fixture(scope="module")
def groups() -> np.ndarray:
    """Two groups of 40 points each, far from one another in 12 dimensions."""
    random = np.random.default_rng(0)
    points = random.normal(size=(80, 12)).astype(np.float32)
    points[40:, 3] += 30
    return points


def test_principal_components_keep_the_distances_and_say_how_much_they_hold(groups: np.ndarray) -> None:
    reduced, share = reduce_patches(groups)
    assert reduced.shape == (80, 12)
    assert share == pytest.approx(1)
    for first, second in ((0, 1), (5, 70)):
        expected = np.linalg.norm(groups[first] - groups[second])
        assert np.linalg.norm(reduced[first] - reduced[second]) == pytest.approx(expected, rel=1e-4)


def test_long_embeddings_are_cut_to_the_components_that_vary_most() -> None:
    points = np.random.default_rng(0).normal(size=(200, 80)).astype(np.float32)
    points[:, 7] *= 100
    reduced, share = reduce_patches(points)
    assert reduced.shape == (200, DIMENSIONS)
    assert 0.99 < share < 1
    assert abs(np.corrcoef(reduced[:, 0], points[:, 7])[0, 1]) > 0.99


def test_neighbours_stay_neighbours_in_the_plane(groups: np.ndarray) -> None:
    mapped = map_to_plane(groups, "tsne", seed=0)
    assert mapped.shape == (80, 2)
    assert mapped.dtype == np.float32
    distances = np.linalg.norm(mapped[:, None] - mapped[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    group = np.arange(80) >= 40
    np.testing.assert_array_equal(group[distances.argmin(axis=1)], group)


def test_the_same_seed_gives_the_same_map(groups: np.ndarray) -> None:
    first, second = (map_to_plane(groups, "tsne", seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_few_points_can_be_mapped(groups: np.ndarray) -> None:
    assert np.isfinite(map_to_plane(groups[:20], "tsne", seed=0)).all()


def test_umap_without_its_extra_is_refused_by_its_name(groups: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(UserError, match=r"needs umap-learn .* -e \.\[umap\]"):
        map_to_plane(groups, "umap", seed=0)


def test_umap_is_asked_for_the_map_of_a_seed_in_one_thread(groups: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in: the real one compiles itself for half a minute first."""
    asked: dict[str, Any] = {}

    class Umap:
        def __init__(self, **options: Any) -> None:
            asked.update(options)

        def fit_transform(self, points: np.ndarray) -> np.ndarray:
            return points[:, :2]

    module = ModuleType("umap")
    module.UMAP = Umap  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "umap", module)
    np.testing.assert_array_equal(map_to_plane(groups, "umap", seed=7), groups[:, :2])
    assert asked == {"n_neighbors": NEIGHBOURS, "random_state": 7, "n_jobs": 1}
    map_to_plane(groups[:10], "umap", seed=7)
    assert asked["n_neighbors"] == 9
