from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from patchshift.detectors.indexes import build_index, choose_queries, from_bytes, measure_recall, to_bytes
from patchshift.detectors.neighbours import NearestNeighbours, make_neighbours
from patchshift.errors import UserError
from patchshift.plan.sampling_specs import IndexSpec
from patchshift.runtime.threads import limit_threads

Float32 = npt.NDArray[np.float32]
APPROXIMATE: list[dict[str, Any]] = [
    {"method": "ivf_flat", "lists": 20, "probes": 2},
    {"method": "ivf_pq", "lists": 4, "probes": 2, "code_bytes": 4},
    {"method": "hnsw", "links": 4, "depth": 4},
]


def noise(count: int, *, seed: int = 0, dimension: int = 16) -> Float32:
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)


def build(settings: dict[str, Any], vectors: Float32) -> Any:
    return build_index(IndexSpec.model_validate(settings), vectors, seed=0)


@pytest.mark.parametrize("settings", APPROXIMATE)
def test_recall_is_the_share_of_queries_whose_nearest_vector_is_found(settings: dict[str, Any]) -> None:
    vectors, queries = noise(2000), noise(300, seed=1)
    index = build(settings, vectors)
    nearest = np.linalg.norm(queries[:, None].astype(float) - vectors, axis=2).argmin(axis=1)
    recall = measure_recall(index, vectors, queries)
    assert recall == np.mean(index.search(queries, 1)[1][:, 0] == nearest)
    assert 0.05 < recall < 1


def test_searching_every_list_is_exact() -> None:
    vectors, patches = noise(2000) + 100, noise(300, seed=1).reshape(3, 100, 16) + 100
    exact = make_neighbours(vectors, 0.0, count=3)
    spec = IndexSpec(method="ivf_flat", lists=20, probes=20)
    model = make_neighbours(vectors, 0.0, count=3, index=spec, queries=patches.reshape(-1, 16))
    assert model.recall == 1
    np.testing.assert_array_equal(model.distances(patches), exact.distances(patches))


def test_more_probes_find_more() -> None:
    vectors, queries = noise(2000), noise(300, seed=1)
    recalls = [
        measure_recall(build({"method": "ivf_flat", "lists": 40, "probes": probes}, vectors), vectors, queries)
        for probes in (1, 4, 16, 40)
    ]
    assert recalls == sorted(recalls)
    assert recalls[0] < recalls[-1] == 1


@pytest.mark.parametrize("settings", APPROXIMATE)
def test_an_index_has_the_same_bytes_whenever_it_is_built_and_survives_them(settings: dict[str, Any]) -> None:
    vectors, queries = noise(2000), noise(100, seed=1)
    limit_threads(2)
    index = build(settings, vectors)
    content = to_bytes(index)
    np.testing.assert_array_equal(content, to_bytes(build(settings, vectors)))
    for before, after in zip(index.search(queries, 3), from_bytes(content).search(queries, 3), strict=True):
        np.testing.assert_array_equal(before, after)


def test_codes_take_the_place_of_the_vectors() -> None:
    vectors, patches = noise(3000, dimension=64), noise(200, seed=1, dimension=64).reshape(2, 100, 64)
    spec = IndexSpec(method="ivf_pq", lists=8, probes=8, code_bytes=32)
    model, exact = make_neighbours(vectors, 0.0, index=spec), make_neighbours(vectors, 0.0)
    arrays = model.arrays()
    assert "vectors" not in arrays
    assert sum(array.nbytes for array in arrays.values()) < vectors.nbytes / 3
    restored = NearestNeighbours.from_arrays(arrays)
    np.testing.assert_array_equal(restored.distances(patches), model.distances(patches))
    np.testing.assert_allclose(model.distances(patches), exact.distances(patches), rtol=0.2)
    assert (restored.size, exact.size) == (3000, 3000)


@pytest.mark.parametrize("settings", APPROXIMATE)
def test_recall_of_the_banks_own_vectors_is_as_that_of_others(settings: dict[str, Any]) -> None:
    vectors = noise(2000)
    index = build(settings, vectors)
    own, fresh = (measure_recall(index, vectors, queries) for queries in (vectors[:1000], noise(1000, seed=1)))
    assert own == pytest.approx(fresh, abs=0.15)
    assert own < 0.95
    twice = np.repeat(vectors[:500], 2, axis=0)  # both nearest vectors equal the query
    assert np.isnan(measure_recall(build(settings, twice), twice, twice))


@pytest.mark.parametrize("settings", [{"method": "ivf_flat"}, {"method": "ivf_pq", "code_bytes": 4}])
def test_where_no_searched_list_holds_a_vector_all_are_searched(settings: dict[str, Any]) -> None:
    vectors = np.repeat(np.random.default_rng(0).gamma(1, 1, (80, 16)), 50, axis=0).astype(np.float32)
    spec = IndexSpec.model_validate({"probes": 1, "lists": 250, **settings})  # most lists are empty
    patches = np.random.default_rng(1).gamma(1, 1, (1, 3000, 16)).astype(np.float32)
    model = make_neighbours(vectors, 0.0, index=spec)
    assert (model._searcher.search(patches[0] - model.centre, 1)[1] < 0).any()
    exact = make_neighbours(vectors, 0.0).distances(patches)
    assert (model.distances(patches) < 3 * exact).all()


def test_the_lists_that_are_made_by_themselves_have_enough_vectors(caplog: pytest.LogCaptureFixture) -> None:
    for count in (30, 400, 3000):
        build({"method": "ivf_flat"}, noise(count))
    assert caplog.messages == []


def test_where_the_searched_lists_hold_too_few_vectors_the_last_found_stands_for_the_others() -> None:
    vectors = np.concatenate([noise(1), noise(200, seed=1) + 50])
    model = make_neighbours(vectors, 0.0, count=3, index=IndexSpec(method="ivf_flat", lists=2, probes=1))
    patch = noise(1)[None] + 1
    assert model.distances(patch) == pytest.approx(np.linalg.norm(patch - vectors[0]))


def test_too_few_vectors_for_the_lists_are_told_of_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    build({"method": "ivf_flat", "lists": 10}, noise(390))
    assert caplog.messages == []
    build({"method": "ivf_flat", "lists": 10}, noise(389))
    assert caplog.messages == [
        "index 'ivf_flat': 389 vectors for 10 lists, fewer than 39 each: it may find the nearest less often"
    ]


@pytest.mark.parametrize(
    ("settings", "count", "fault"),
    [
        ({"method": "ivf_flat", "lists": 11}, 10, r"index\.lists: 11 are asked for, but the bank has 10 vectors"),
        (
            {"method": "ivf_pq", "code_bytes": 5},
            300,
            r"16 numbers cannot be divided into 5 parts: choose of 1, 2, 4, 8",
        ),
        ({"method": "ivf_pq", "code_bytes": 4}, 255, "needs at least 256 vectors, but the bank has 255"),
    ],
)
def test_vectors_that_do_not_fit_the_index_are_refused(settings: dict[str, Any], count: int, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        build(settings, noise(count))


def test_damaged_bytes_are_no_index() -> None:
    with pytest.raises(ValueError, match="damaged"):
        from_bytes(np.arange(40, dtype=np.uint8))


def test_queries_are_at_most_a_thousand_from_everywhere() -> None:
    patches = np.arange(5000, dtype=np.float32)[:, None]
    chosen = choose_queries(patches)[:, 0]
    assert (len(chosen), chosen[0], chosen[-1]) == (1000, 0, 4999)
    assert len(choose_queries(patches[:7])) == 7
