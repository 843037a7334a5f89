from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchshift.errors import UserError
from patchshift.features.reduction import fit_reduction
from patchshift.features.representations import Representation, fit_representation
from patchshift.features.store import LayerMaps
from patchshift.plan.representation_specs import ReductionSpec, RepresentationSpec

Keep = Callable[[LayerMaps], Any]
DrawMaps = Callable[..., LayerMaps]


def fit(keep: Keep, maps: LayerMaps, *, seed: int = 0, **options: Any) -> Representation:
    return fit_representation(RepresentationSpec.model_validate(options), keep(maps), seed=seed)


def vectors(representation: Representation, maps: LayerMaps) -> np.ndarray:
    return representation.transform(maps).reshape(-1, representation.dimension).astype(np.float64)


def distances(points: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - points, axis=-1)


def draw_vectors(rows: int, dimension: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.normal(size=(rows, dimension)) * random.uniform(0.1, 3, dimension)).astype(np.float32)


def fit_alone(points: np.ndarray, seed: int = 0, **options: Any) -> dict[str, np.ndarray]:
    return fit_reduction(ReductionSpec.model_validate(options), points.shape[1], [points], seed=seed)


def test_all_principal_components_keep_all_distances(keep: Keep, draw_maps: DrawMaps) -> None:
    maps = draw_maps()
    reduced = vectors(fit(keep, maps, reduction={"method": "pca", "dimension": 10}), maps)
    plain = vectors(fit(keep, maps), maps)
    np.testing.assert_allclose(distances(reduced[:60]), distances(plain[:60]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"neighbourhood": "none", "normalise": "standardise"},
        {"neighbourhood": "adaptive", "pooled_width": 8},
        {"fusion": "adaptive"},
        {"normalise": "whiten", "shrinkage": 0.2, "logarithm": ["fine"]},
        {"fusion": "weighted", "weights": {"fine": 1, "coarse": 2}},
    ],
)
def test_principal_components_are_those_of_the_centred_embeddings(
    keep: Keep, draw_maps: DrawMaps, options: dict[str, Any]
) -> None:
    maps = draw_maps()
    plain = vectors(fit(keep, maps, **options), maps)
    representation = fit(keep, maps, **options, reduction={"method": "pca", "dimension": 3})
    reduced = vectors(representation, maps)
    centred = plain - plain.mean(0)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    expected = centred @ directions[:3].T
    signs = np.sign((expected * reduced).sum(0))
    np.testing.assert_allclose(reduced * signs, expected, rtol=1e-3, atol=1e-4 * singular[0] / np.sqrt(len(plain)))
    np.testing.assert_allclose(
        representation.state["reduction/explained"], (singular**2 / (singular**2).sum())[:3], rtol=1e-4
    )


@given(st.integers(2, 12), st.floats(0.05, 1))
def test_the_explained_variance_is_reached_with_the_fewest_components(dimension: int, share: float) -> None:
    points = draw_vectors(60, dimension)
    state = fit_alone(points, method="pca", explained_variance=share)
    count = len(state["reduction/explained"])
    variances = np.sort(np.linalg.eigvalsh(np.cov(points.T.astype(np.float64))))[::-1]
    kept = np.cumsum(variances) / variances.sum()
    assert kept[count - 1] >= share - 1e-9
    assert count == 1 or kept[count - 2] < share


def test_the_largest_entry_of_each_component_is_positive() -> None:
    points = draw_vectors(100, 8)
    for mirrored in (points, -points):
        matrix = fit_alone(mirrored, method="pca", dimension=8)["reduction/matrix"]
        assert (matrix[np.abs(matrix).argmax(0), np.arange(8)] > 0).all()
        np.testing.assert_allclose(matrix.T @ matrix, np.eye(8), atol=1e-5)


def test_more_components_than_the_patches_vary_in_are_refused(keep: Keep, draw_maps: DrawMaps) -> None:
    maps = draw_maps()
    maps["coarse"][..., 3:] = 2 * maps["coarse"][..., :3]
    fit(keep, maps, reduction={"method": "pca", "dimension": 7})
    with pytest.raises(UserError, match=r"representation\.reduction\.dimension: 8 principal .* in 7 directions only"):
        fit(keep, maps, reduction={"method": "pca", "dimension": 8})
    assert fit(keep, maps, reduction={"method": "pca", "explained_variance": 1.0}).dimension == 7


def test_patches_that_are_all_equal_have_no_principal_component() -> None:
    with pytest.raises(UserError, match=r"representation\.reduction: .* all equal, .* or choose another method"):
        fit_alone(np.full((9, 3), 0.3, np.float32), method="pca", explained_variance=0.9)


@pytest.mark.parametrize("method", ["pca", "random_projection", "channel_subset", "channel_pooling"])
def test_a_reduction_never_makes_embeddings_longer(keep: Keep, draw_maps: DrawMaps, method: str) -> None:
    with pytest.raises(UserError, match=r"representation\.reduction\.dimension: 11 is more than the 10 numbers"):
        fit(keep, draw_maps(), reduction={"method": method, "dimension": 11})


@pytest.mark.parametrize("distribution", ["gaussian", "sparse"])
def test_random_projections_keep_squared_lengths_on_average(distribution: str) -> None:
    points = draw_vectors(5, 64)
    ratios = []
    for seed in range(200):
        matrix = fit_alone(points, seed, method="random_projection", dimension=16, distribution=distribution)
        ratios.append(((points @ matrix["reduction/matrix"]) ** 2).sum(1) / (points**2).sum(1))
    np.testing.assert_allclose(np.mean(ratios, 0), 1, atol=0.1)  # deviation of the mean about 0.03


def test_a_sparse_projection_is_as_dense_as_stated() -> None:
    points = draw_vectors(2, 400)
    matrix = fit_alone(points, method="random_projection", dimension=300, distribution="sparse")["reduction/matrix"]
    assert (matrix != 0).mean() == pytest.approx(1 / 20, rel=0.05)
    np.testing.assert_allclose(np.unique(np.abs(matrix)), [0, np.sqrt(20 / 300)], rtol=1e-6)
    assert abs(np.sign(matrix).sum()) < 4 * np.sqrt((matrix != 0).sum())


@given(st.integers(0, 2**32 - 1), st.integers(1, 10))
def test_a_subset_is_one(keep: Keep, draw_maps: DrawMaps, seed: int, dimension: int) -> None:
    maps = draw_maps(2)
    subset = fit(keep, maps, seed=seed, reduction={"method": "channel_subset", "dimension": dimension})
    channels = subset.state["reduction/channels"]
    assert channels.dtype == np.int64
    assert len(set(channels.tolist())) == dimension == subset.dimension
    assert channels.tolist() == sorted(channels)
    np.testing.assert_allclose(subset.transform(maps), fit(keep, maps).transform(maps)[..., channels], rtol=1e-6)


def test_channel_pooling_averages_neighbouring_numbers_also_across_layers(keep: Keep, draw_maps: DrawMaps) -> None:
    maps = draw_maps()
    plain = vectors(fit(keep, maps), maps)
    pooled = vectors(fit(keep, maps, reduction={"method": "channel_pooling", "dimension": 3}), maps)
    expected = np.stack([plain[:, first:last].mean(1) for first, last in ((0, 4), (3, 7), (6, 10))], 1)
    np.testing.assert_allclose(pooled, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("fused", [{}, {"fusion": "weighted", "weights": {"fine": 1, "coarse": 2}}])
@pytest.mark.parametrize("whitened", [{}, {"normalise": "whiten", "shrinkage": 0.3}])
@pytest.mark.parametrize("method", ["random_projection", "channel_subset", "channel_pooling"])
def test_whitening_and_reduction_in_one_product_equal_the_two_steps(
    keep: Keep, draw_maps: DrawMaps, method: str, whitened: dict[str, Any], fused: dict[str, Any]
) -> None:
    maps = draw_maps()
    plain = vectors(fit(keep, maps, **fused, **whitened), maps)
    representation = fit(keep, maps, **fused, **whitened, reduction={"method": method, "dimension": 2})
    if method == "channel_pooling":
        half = plain.shape[1] // 2
        expected = np.stack([plain[:, :half].mean(1), plain[:, half:].mean(1)], 1)
    elif method == "channel_subset":
        expected = plain[:, representation.state["reduction/channels"]]
    else:
        expected = plain @ representation.state["reduction/matrix"]
    np.testing.assert_allclose(vectors(representation, maps), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", ["random_projection", "channel_subset"])
def test_random_reductions_follow_the_seed_alone(method: str) -> None:
    points = draw_vectors(3, 40)
    one, same, other = (next(iter(fit_alone(points, seed, method=method, dimension=9).values())) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_the_stream_of_a_reduction_is_not_that_of_the_coreset() -> None:
    matrix = fit_alone(draw_vectors(3, 40), 7, method="random_projection", dimension=9)["reduction/matrix"]
    coreset = np.random.default_rng(7).standard_normal((40, 9), np.float32) / 3
    assert abs(np.corrcoef(matrix.ravel(), coreset.ravel())[0, 1]) < 0.3


def test_a_subset_of_pooled_neighbourhoods_is_one(keep: Keep, draw_maps: DrawMaps) -> None:
    maps, options = draw_maps(), {"neighbourhood": "adaptive", "pooled_width": 8}
    subset = fit(keep, maps, **options, reduction={"method": "channel_subset", "dimension": 5})
    channels = subset.state["reduction/channels"]
    expected = fit(keep, maps, **options).transform(maps)[..., channels]
    np.testing.assert_allclose(subset.transform(maps), expected, rtol=1e-5)


def test_layers_of_which_nothing_is_kept_do_not_matter(keep: Keep, draw_maps: DrawMaps) -> None:
    maps, reduction = draw_maps(), {"method": "channel_subset", "dimension": 1}
    subset = fit(keep, maps, reduction=reduction)
    (channel,) = subset.state["reduction/channels"]
    embeddings = subset.transform(maps)
    maps["coarse" if channel < 4 else "fine"][:] = 7
    np.testing.assert_array_equal(subset.transform(maps), embeddings)
    assert embeddings.shape == (6, 8, 6, 1)
