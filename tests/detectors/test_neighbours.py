from typing import get_args

import faiss
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchshift.detectors.foreground import Foreground
from patchshift.detectors.neighbours import DISTANCES, NearestNeighbours, make_neighbours
from patchshift.detectors.patches import unit_vectors
from patchshift.errors import UserError
from patchshift.plan.detector_specs import Distance
from patchshift.plan.sampling_specs import IndexSpec

Float32 = npt.NDArray[np.float32]


def draw(*shape: int, seed: int = 0) -> Float32:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def expected_distances(patches: Float32, vectors: Float32, distance: Distance) -> npt.NDArray[np.float64]:
    """[n, P, M] as the definitions have it, in double precision."""
    if distance == "cosine":
        ours, theirs = (each.astype(np.float64) for each in (patches, vectors))
        lengths = np.linalg.norm(ours, axis=-1)[..., None] * np.linalg.norm(theirs, axis=-1)
        return 1 - np.einsum("npd,md->npm", ours, theirs) / lengths
    distances = np.linalg.norm(patches[..., None, :].astype(np.float64) - vectors, axis=-1)
    return distances**2 if distance == "squared" else distances


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("offset", [0.0, 1e3, 1e5])
def test_the_nearest_vectors_are_found_far_from_the_origin(offset: float, count: int) -> None:
    random = np.random.default_rng(0)
    vectors = (random.normal(size=(300, 16)) + offset).astype(np.float32)
    patches = (random.normal(size=(5, 100, 16)) + offset).astype(np.float32)
    model = make_neighbours(vectors, 0.0, count=count)
    expected = np.linalg.norm(patches[..., None, :].astype(np.float64) - vectors, axis=-1)
    np.testing.assert_array_equal(model.rows(patches.reshape(-1, 16), 1)[:, 0], expected.argmin(-1).ravel())
    np.testing.assert_allclose(model.distances(patches), np.sort(expected)[..., :count].mean(-1), rtol=1e-5)


@pytest.mark.parametrize("index", [IndexSpec(), IndexSpec(method="ivf_flat", lists=4)])
def test_patches_that_are_not_finite_are_refused(index: IndexSpec) -> None:
    patches = draw(2, 3, 4)
    patches[1, 2, 0] = np.nan
    with pytest.raises(UserError, match="not finite numbers: extract them again"):
        make_neighbours(draw(200, 4), 0.0, index=index).distances(patches)


def test_every_distance_of_the_config_has_its_number_in_banks() -> None:
    assert get_args(Distance) == DISTANCES


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("index", [IndexSpec(), IndexSpec(method="hnsw"), IndexSpec(method="ivf_flat", probes=8)])
def test_a_score_is_the_mean_of_the_nearest_distances_of_any_kind(
    distance: Distance, count: int, index: IndexSpec
) -> None:
    vectors, patches = draw(300, 8) * 7, draw(4, 50, 8, seed=1)
    model = make_neighbours(vectors, 0.5, count=count, index=index, queries=vectors[:40], distance=distance)
    expected = expected_distances(patches, vectors, distance)
    nearest = np.sort(expected)[..., :count].mean(-1)
    measured = model.measure(patches).distances
    exact = np.isclose(measured, nearest, rtol=1e-5, atol=1e-7)
    assert exact.mean() >= (1 if index.method == "flat" else 0.95)
    assert (measured >= nearest * (1 - 1e-5) - 1e-7).all()
    np.testing.assert_array_equal(model.rows(patches[0], 1)[exact[0], 0], expected[0].argmin(-1)[exact[0]])
    again = NearestNeighbours.from_arrays(model.arrays())
    assert again.distance == distance
    np.testing.assert_array_equal(again.measure(patches).distances, measured)


@pytest.mark.parametrize("distance", DISTANCES)
def test_an_index_of_codes_gives_distances_of_any_kind(distance: Distance) -> None:
    vectors, patches = draw(600, 8), draw(4, 50, 8, seed=1)
    spec = IndexSpec(method="ivf_pq", lists=1, code_bytes=8)
    model = make_neighbours(vectors, 0.0, count=2, index=spec, distance=distance)
    assert model.vectors is None
    expected = np.sort(expected_distances(patches, vectors, distance))[..., :2].mean(-1)
    np.testing.assert_allclose(model.distances(patches), expected, rtol=0.3, atol=0.02)
    index = faiss.deserialize_index(model.arrays()["index"])
    index.make_direct_map()
    stands_for = index.reconstruct_n(0, 600) + model.centre
    prepared = unit_vectors(patches.reshape(-1, 8)).reshape(patches.shape) if distance == "cosine" else patches
    squares = np.sort(expected_distances(prepared, stands_for, "squared"))[..., :2]
    exact = {"euclidean": np.sqrt(squares), "squared": squares, "cosine": squares / 2}[distance].mean(-1)
    np.testing.assert_allclose(model.distances(patches), exact, rtol=1e-3, atol=1e-4)


def test_small_angles_are_not_lost_to_rounding() -> None:
    angle = 1e-4
    vectors = np.array([[1, 0], [0, 1]], np.float32)
    patches = 1000 * np.array([[[np.cos(angle), np.sin(angle)]]], np.float32)
    cosine = make_neighbours(vectors, 0.0, distance="cosine").distances(patches)
    np.testing.assert_allclose(cosine, angle**2 / 2, rtol=1e-3)


def test_a_patch_of_zeros_has_the_cosine_distance_of_one_half() -> None:
    model = make_neighbours(draw(20, 4), 0.0, count=2, distance="cosine")
    np.testing.assert_allclose(model.distances(np.zeros((1, 3, 4), np.float32)), 0.5, rtol=1e-6)
    with_zeros = make_neighbours(np.zeros((2, 4), np.float32), 0.0, count=2, distance="cosine")
    np.testing.assert_allclose(with_zeros.distances(draw(1, 3, 4)), 0.5, rtol=1e-6)
    assert not with_zeros.distances(np.zeros((1, 3, 4), np.float32)).any()


@given(st.integers(0, 99), st.sampled_from([1e-30, 1e-3, 1.0, 1e30]))
def test_unit_vectors_have_the_length_1_whatever_their_scale(seed: int, scale: float) -> None:
    vectors = draw(6, 5, seed=seed) * np.float32(scale)
    vectors[2] = 0
    before = vectors.copy()
    units = unit_vectors(vectors)
    assert units.dtype == np.float32
    np.testing.assert_array_equal(vectors, before)
    np.testing.assert_allclose(np.linalg.norm(units, axis=1), [1, 1, 0, 1, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(units, unit_vectors(units), atol=1e-7)


def test_the_length_of_patches_says_nothing_to_the_cosine_distance() -> None:
    vectors, patches = draw(50, 6), draw(2, 9, 6, seed=1)
    model = make_neighbours(vectors, 0.0, distance="cosine")
    other = make_neighbours(vectors * np.linspace(1, 90, 50, dtype=np.float32)[:, None], 0.0, distance="cosine")
    np.testing.assert_allclose(other.distances(patches * 3), model.distances(patches), rtol=1e-4)


@pytest.mark.parametrize("distance", DISTANCES)
def test_patches_of_the_background_have_the_distance_0(distance: Distance) -> None:
    foreground = Foreground(np.array([0, 1, 0], np.float32), 0.25, above=True, share=0.4)
    vectors, patches = draw(30, 3), draw(3, 20, 3, seed=1)
    whole = make_neighbours(vectors, 0.0, distance=distance)
    model = make_neighbours(vectors, 0.0, distance=distance, foreground=foreground)
    expected = np.where(patches[..., 1] > 0.25, whole.distances(patches), 0)
    np.testing.assert_array_equal(model.measure(patches).distances, expected)
    np.testing.assert_array_equal(model.distances(patches), whole.distances(patches))
    assert model.facts == {**whole.facts, "foreground_share": 0.4}
    again = NearestNeighbours.from_arrays(model.arrays())
    np.testing.assert_array_equal(again.measure(patches).distances, expected)
    assert again.facts == model.facts


def test_a_damaged_bank_is_refused() -> None:
    foreground = Foreground(np.ones(3, np.float32), 0.0, above=True, share=0.5)
    arrays = dict(make_neighbours(draw(9, 3), 0.0, foreground=foreground).arrays())
    for name, value, fault in (
        ("distance", np.array(3), "a distance that is not known"),
        ("distance", np.array(-1), "a distance that is not known"),
        ("foreground/direction", np.ones(2, np.float32), "its foreground is of other vectors"),
    ):
        with pytest.raises(ValueError, match=fault):
            NearestNeighbours.from_arrays(arrays | {name: value})
    for name in ("distance", "foreground/threshold"):
        with pytest.raises(KeyError):
            NearestNeighbours.from_arrays({key: value for key, value in arrays.items() if key != name})
