import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from threadpoolctl import threadpool_limits

from patchshift.detectors import shards as module
from patchshift.detectors.coreset import covering_radius, greedy_coreset, random_subset, trace_greedy
from patchshift.detectors.patches import PatchSource
from patchshift.detectors.shards import (
    bytes_of_patch,
    choose_from_shards,
    count_shards,
    draw_patches,
    farthest_distance,
    measure_radius,
    read_rows,
)

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

FACTOR = 4  # of the best covering radius, which the plain choice cannot undercut


def source_of(patches: Float32, present: Bool | None = None) -> PatchSource:
    """[n, P, D], some of them present."""
    kept = np.ones(patches.shape[:2], np.bool_) if present is None else present
    return PatchSource(kept, patches.shape[2], lambda images: patches[images][kept[images]])


few_images = st.tuples(st.integers(1, 7), st.integers(1, 6), st.integers(1, 3)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.integers(-9, 9))  # integers: duplicates, ties
)


@given(patches=few_images, data=st.data())
@settings(max_examples=200, deadline=None)
def test_one_shard_is_the_plain_choice(patches: Float32, data: st.DataObject) -> None:
    flat = patches.reshape(-1, patches.shape[2])
    size, seed = data.draw(st.integers(1, len(flat))), data.draw(st.integers(0, 9))
    start = int(np.random.default_rng(seed).integers(len(flat)))
    expected = greedy_coreset(flat, size, start=start)
    vectors, images = choose_from_shards(source_of(patches), [np.arange(len(patches))], size, seed=seed)
    np.testing.assert_array_equal(vectors, flat[expected])
    np.testing.assert_array_equal(images, expected // patches.shape[1])


@given(patches=few_images, data=st.data())
@settings(max_examples=200, deadline=None)
def test_shards_cover_within_four_times_the_plain_radius(patches: Float32, data: st.DataObject) -> None:
    flat = patches.reshape(-1, patches.shape[2])
    size, count = data.draw(st.integers(1, len(flat))), data.draw(st.integers(1, len(patches)))
    parts = np.array_split(np.arange(len(patches)), count)
    source = source_of(patches)
    vectors, _ = choose_from_shards(source, parts, size, seed=0)
    assert {tuple(vector) for vector in vectors} <= {tuple(patch) for patch in flat}
    picks, reach = trace_greedy(flat, min(size + 1, len(flat)), start=int(np.random.default_rng(0).integers(len(flat))))
    plain = reach[size] if size < len(picks) else 0.0
    radius = measure_radius(source, vectors)
    exact = np.linalg.norm(flat[:, None].astype(np.float64) - vectors, axis=2).min(axis=1).max()
    assert radius == pytest.approx(exact)
    assert radius <= FACTOR * plain + 1e-9


def clusters(images: int, positions: int) -> Float32:
    random = np.random.default_rng(4)
    patches = random.normal(size=(images, positions, 8)) * random.uniform(0.1, 1, (images, positions, 1))
    return (patches + 3 * random.normal(size=(20, 8))[random.integers(0, 20, (images, positions))]).astype(np.float32)


@pytest.mark.parametrize("count", [2, 5, 12])
def test_shards_cost_little_on_clusters(count: int) -> None:
    patches = clusters(60, 50)
    source, images = source_of(patches), np.arange(60)
    radii = [
        measure_radius(source, choose_from_shards(source, np.array_split(images, parts), 150, seed=0)[0])
        for parts in (1, count)
    ]
    assert radii[1] < 1.25 * radii[0]


def test_every_vector_knows_its_image() -> None:
    patches = clusters(30, 20)
    present = np.random.default_rng(0).random((30, 20)) < 0.4
    present[7] = False  # an image without any, and a shard of it alone
    source = source_of(patches, present)
    parts = [np.arange(7), np.array([7]), np.arange(8, 30)]
    for vectors, images in (
        choose_from_shards(source, parts, 25, seed=1),
        draw_patches(source, np.arange(30), 25, seed=1),
        draw_patches(source, np.arange(3, 30, 2), 25, seed=1),
    ):
        assert len(vectors) == len(images) == 25
        for vector, image in zip(vectors, images, strict=True):
            assert (patches[image][present[image]] == vector).all(axis=1).any()


def test_a_projection_decides_the_choice_but_not_what_is_kept() -> None:
    patches = clusters(20, 30)
    patches[..., 2:] *= 0.01
    directions = np.eye(8, 2, dtype=np.float32)
    parts = np.array_split(np.arange(20), 3)
    vectors, images = choose_from_shards(source_of(patches), parts, 40, seed=0, directions=directions)
    projected = source_of(np.ascontiguousarray(patches[..., :2]))
    expected, places = choose_from_shards(projected, parts, 40, seed=0)
    np.testing.assert_array_equal(vectors[:, :2], expected)
    np.testing.assert_array_equal(images, places)
    radius = measure_radius(source_of(patches), vectors, directions=directions)
    assert radius == pytest.approx(measure_radius(projected, expected))


@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_rows_are_read_in_the_order_asked_for_whatever_the_pieces(data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    patches, present = random.normal(size=(9, 4, 2)).astype(np.float32), random.random((9, 4)) < 0.6
    present[0, 0] = True
    images = np.flatnonzero(random.random(9) < 0.8) if data.draw(st.booleans()) else np.arange(9)
    flat = patches[images][present[images]]
    rows = random.integers(0, max(1, len(flat)), 12) if len(flat) else np.zeros(0, np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PIECE_MB", data.draw(st.sampled_from([0, 1])))  # one image at a time, or all
        np.testing.assert_array_equal(read_rows(source_of(patches, present), images, rows), flat[rows])


def test_a_random_choice_is_that_of_all_patches_in_memory() -> None:
    patches = clusters(30, 20)
    flat = patches.reshape(-1, 8)
    rows = random_subset(flat, 50, seed=6)
    vectors, images = draw_patches(source_of(patches), np.arange(30), 50, seed=6)
    np.testing.assert_array_equal(vectors, flat[rows])
    np.testing.assert_array_equal(images, rows // 20)


@pytest.mark.parametrize("piece_mb", [0, 32])
def test_the_radius_does_not_depend_on_how_patches_are_read(piece_mb: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_MB", piece_mb)
    patches = clusters(30, 20) + 1000
    rows = random_subset(patches.reshape(-1, 8), 20, seed=0)
    vectors = patches.reshape(-1, 8)[[*rows, rows[0]]]  # one of them twice
    assert measure_radius(source_of(patches), vectors) == covering_radius(patches.reshape(-1, 8), rows)


@pytest.mark.parametrize("projected", [False, True])
def test_measuring_the_radius_takes_no_more_than_the_memory(projected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 64)  # what threads work on comes on top
    random = np.random.default_rng(0)
    patches = random.normal(size=(60, 250, 256)).astype(np.float32)
    directions = random.normal(size=(256, 64)).astype(np.float32) if projected else None
    source = PatchSource(np.ones((60, 250), np.bool_), 256, lambda images: patches[images].reshape(-1, 256))  # one copy
    vectors = random.normal(size=(1000, 256)).astype(np.float32)
    memory = (1000 + 1500) * bytes_of_patch(256, directions)  # for six images at a time
    radii, peaks = [], []
    for limit in (memory, math.inf):
        tracemalloc.start()
        try:
            with threadpool_limits(1, "blas"):  # each of its threads would have a block of its own
                radii.append(measure_radius(source, vectors, directions=directions, memory=limit))
            peaks.append(tracemalloc.get_traced_memory()[1] + vectors.nbytes)
        finally:
            tracemalloc.stop()
    assert peaks[0] <= memory + 500_000
    assert peaks[1] > 4 * memory
    assert radii[0] == radii[1]


def test_patches_that_tie_have_their_exact_radius() -> None:
    """Far from the origin rounding alone would decide between them."""
    grid = np.stack(np.meshgrid(np.arange(40), np.arange(40)), axis=-1).reshape(40, 40, 2).astype(np.float32) + 4096
    vectors = grid[::2, ::2].reshape(-1, 2)
    assert measure_radius(source_of(grid), np.concatenate([vectors, vectors[:9]])) == math.sqrt(2)
    assert measure_radius(source_of(np.ones((4, 30, 2), np.float32)), np.ones((50, 2), np.float32)) == 0
    assert farthest_distance(np.array([[0, 0], [3, 4]], np.float32), np.zeros((2, 2), np.float32)) == 5
    with pytest.raises(ValueError, match="must be finite"):
        farthest_distance(np.array([[0, np.nan]], np.float32), vectors)


def test_never_more_than_a_shard_is_read_at_a_time() -> None:
    asked: list[int] = []

    def watched(read: Callable[[Any], Float32]) -> Callable[[Any], Float32]:
        def count(images: Any) -> Float32:
            asked.append(len(images))
            return read(images)

        return count

    source = source_of(clusters(40, 10))
    watching = PatchSource(source.present, 8, watched(source.read))
    shards, _ = count_shards(watching, np.arange(40), 20, patch_bytes=100, memory=15_000)
    assert shards == 4  # 100 patches of 100 bytes, and 80 vectors of 32
    choose_from_shards(watching, np.array_split(np.arange(40), shards), 20, seed=0)
    assert asked == [10] * 4


@given(
    images=st.integers(1, 60), positions=st.integers(1, 20), share=st.floats(0.01, 1), memory=st.integers(0, 200_000)
)
@settings(max_examples=200, deadline=None)
def test_shards_are_the_fewest_that_fit(images: int, positions: int, share: float, memory: int) -> None:
    source = source_of(np.zeros((images, positions, 8), np.float32))
    total = images * positions
    size = max(1, int(share * total))

    def needed(shards: int) -> int:
        union = min(total, shards * size)
        first = min(total, -(-images // shards) * positions) * 100 + union * 32
        return first if shards == 1 else max(first, union * 100 + size * 32, (size + positions) * 100)

    shards, least = count_shards(source, np.arange(images), size, patch_bytes=100, memory=memory)
    fitting = [number for number in range(1, images + 1) if needed(number) <= memory]
    assert shards == (fitting[0] if fitting else 0)
    assert least == min(needed(number) for number in range(1, images + 1))
    assert count_shards(source, np.arange(images), size, patch_bytes=100, memory=least)[0] > 0
