from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from patchshift.detectors.coreset import covering_radius, greedy_coreset, random_subset, trace_greedy
from patchshift.runtime.threads import limit_threads

GOLDEN = Path(__file__).parents[1] / "golden"

few_points = st.tuples(st.integers(1, 40), st.integers(1, 3)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=st.integers(-3, 3))  # integers: duplicates, ties, exact arithmetic
)


def brute_force(points: npt.NDArray[np.float32], size: int, start: int) -> list[int]:
    distances = ((points[:, None].astype(float) - points[None]) ** 2).sum(-1)
    picks = [start]
    while len(picks) < size:
        picks.append(int(distances[:, picks].min(1).argmax()))  # argmax takes the lowest row
    return picks


@given(points=few_points, data=st.data())
@settings(max_examples=300, deadline=None)
def test_greedy_coreset_equals_brute_force_whatever_the_number_of_candidates(
    points: npt.NDArray[np.float32], data: st.DataObject
) -> None:
    size, start = data.draw(st.integers(1, len(points))), data.draw(st.integers(0, len(points) - 1))
    candidates = data.draw(st.integers(1, 45))
    picks, _ = trace_greedy(points, size, start=start, candidates=candidates)
    assert picks.tolist() == brute_force(points, size, start)


@given(points=few_points, data=st.data())
@settings(deadline=None)
def test_each_reach_is_the_covering_radius_of_the_picks_before(
    points: npt.NDArray[np.float32], data: st.DataObject
) -> None:
    size = data.draw(st.integers(2, max(2, len(points)))) if len(points) > 1 else 1
    picks, reach = trace_greedy(points, size, start=0, candidates=4)
    assert reach[0] == np.inf
    for count in range(1, size):
        distances = np.linalg.norm(points[:, None] - points[None, picks[:count]], axis=2).min(1)
        assert reach[count] == pytest.approx(distances.max())
        assert covering_radius(points, picks[:count]) == pytest.approx(distances.max())


@pytest.mark.parametrize("candidates", [None, 64, 700])
def test_greedy_coreset_equals_the_reference_picks_through_800_ties(candidates: int | None) -> None:
    with np.load(GOLDEN / "greedy_kcenter.npz") as golden:
        points, start, selected, radius = (golden[name] for name in ("points", "start", "selected", "radius"))
    picks, reach = trace_greedy(points, len(selected), start=int(start), candidates=candidates)
    np.testing.assert_array_equal(picks, selected)
    np.testing.assert_allclose(reach[1:], radius, rtol=1e-12)


def clustered(count: int, dimension: int) -> npt.NDArray[np.float32]:
    random = np.random.default_rng(3)
    centres = random.normal(size=(30, dimension))[random.integers(0, 30, count)]
    return (2 * centres + random.normal(size=(count, dimension)) * random.uniform(0.1, 1, (count, 1))).astype(
        np.float32
    )


def float64_loop(points: npt.NDArray[np.float32], size: int, start: int) -> tuple[list[int], float]:
    exact = points.astype(float)
    nearest, picks = ((exact - exact[start]) ** 2).sum(1), [start]
    while len(picks) < size:
        picks.append(int(nearest.argmax()))
        np.minimum(nearest, ((exact - exact[picks[-1]]) ** 2).sum(1), out=nearest)
    return picks, float(np.sqrt(nearest.max()))


def test_float32_rounding_does_not_change_the_picks() -> None:
    points = clustered(6000, 48)
    expected, _ = float64_loop(points, 1000, start=11)
    for candidates in (None, 100):
        picks, _ = trace_greedy(points, 1000, start=11, candidates=candidates)
        assert picks.tolist() == expected


@given(
    seed=st.integers(0, 2**32 - 1),
    offset=st.sampled_from([0, 1, 100, 1e4, 1e6]),
    spread=st.sampled_from([0.01, 1, 100]),
    clusters=st.sampled_from([1, 5]),
    scales=st.sampled_from([0, 4]),
    candidates=st.sampled_from([None, 30]),
)
@settings(max_examples=60, deadline=None)
def test_picks_are_the_float64_loops_wherever_the_points_lie_and_however_they_are_scaled(
    seed: int, offset: float, spread: float, clusters: int, scales: int, candidates: int | None
) -> None:
    random = np.random.default_rng(seed)
    centres = 1000 * random.normal(size=(clusters, 12)) * (clusters > 1)
    points = centres[random.integers(0, clusters, 400)] + spread * random.normal(size=(400, 12))
    points *= 10 ** random.uniform(-scales, scales, 12)  # per component
    points = (points + offset * random.normal(size=12)).astype(np.float32)
    expected, radius = float64_loop(points, 60, start=3)
    picks, _ = trace_greedy(points, 60, start=3, candidates=candidates)
    assert picks.tolist() == expected
    assert covering_radius(points, picks) == radius


def general_loop(
    points: npt.NDArray[np.float32], size: int, start: int, initial: npt.NDArray[np.float64], weights: Any
) -> list[int]:
    exact, nearest, picks = points.astype(float), initial**2, [start]
    while True:
        np.minimum(nearest, ((exact - exact[picks[-1]]) ** 2).sum(1), out=nearest)
        if len(picks) == size:
            return picks
        picks.append(int((nearest * weights**2).argmax()))


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.sampled_from([20, 400]),
    integers=st.booleans(),
    spread=st.sampled_from([0, 0.5, 3]),
    started=st.booleans(),
    candidates=st.sampled_from([None, 30]),
)
@settings(max_examples=100, deadline=None)
def test_weights_and_distances_before_the_first_pick_act_as_in_the_float64_loop(
    seed: int, count: int, integers: bool, spread: float, started: bool, candidates: int | None
) -> None:
    random = np.random.default_rng(seed)
    points = random.normal(size=(count, 6))
    points = (np.round(2 * points) if integers else points).astype(np.float32)  # integers: duplicates and ties
    weights = 2.0 ** (np.round(random.normal(size=count) * spread) if integers else random.normal(size=count) * spread)
    starts = points[random.integers(0, count, 3)].astype(float)
    initial = np.linalg.norm(points[:, None].astype(float) - starts, axis=2).mean(1) if started else np.full(count, 1e9)
    expected = general_loop(points, 20, 7, initial, weights)
    picks, _ = trace_greedy(
        points, 20, start=7, initial=initial if started else None, weights=weights, candidates=candidates
    )
    assert picks.tolist() == expected


def test_one_outlier_does_not_change_the_other_picks() -> None:
    points = clustered(2000, 24)
    points[77] *= 1e4
    picks = greedy_coreset(points, 100, start=0)
    assert picks.tolist() == float64_loop(points, 100, start=0)[0]


@given(shift=st.integers(-(2**20), 2**20), points=few_points)
@settings(deadline=None)
def test_shifted_integers_are_picked_alike(shift: int, points: npt.NDArray[np.float32]) -> None:
    np.testing.assert_array_equal(
        greedy_coreset(points + np.float32(shift), len(points), start=0), greedy_coreset(points, len(points), start=0)
    )


def test_the_covering_radius_counts_equal_vectors_once() -> None:
    distinct = clustered(300, 6)
    points = np.concatenate([distinct, distinct])
    twice = np.concatenate([np.arange(40), np.arange(300, 340)])
    assert covering_radius(points, twice) == covering_radius(distinct, np.arange(40))


def test_the_lowest_of_equal_rows_is_picked_even_where_arithmetic_rounds() -> None:
    distinct = clustered(500, 48)
    points = np.concatenate([distinct, distinct, distinct])  # each row three times
    picks = greedy_coreset(points, 500, start=0)
    assert sorted(picks.tolist()) == list(range(500))


def test_more_threads_pick_the_same() -> None:
    points = clustered(5000, 16)
    limit_threads(1)
    one = greedy_coreset(points, 200, start=0)
    limit_threads(2)
    np.testing.assert_array_equal(one, greedy_coreset(points, 200, start=0))


def test_once_all_points_are_covered_row_0_is_repeated_as_in_the_textbook_loop() -> None:
    constant = np.full((50, 7), 0.1, np.float32)
    assert greedy_coreset(constant, 50, start=9).tolist() == [9] + [0] * 49


def test_points_are_left_as_they_are() -> None:
    points = clustered(300, 5)
    points.flags.writeable = False
    greedy_coreset(points, 30, start=0)


@pytest.mark.parametrize("size", [0, 41])
def test_impossible_sizes_are_refused(size: int) -> None:
    points = np.zeros((40, 3), np.float32)
    with pytest.raises(ValueError, match=r"coreset size must be in \[1, 40\]"):
        random_subset(points, size, seed=0)
    with pytest.raises(ValueError, match=r"coreset size must be in \[1, 40\]"):
        greedy_coreset(points, size, start=0)


@pytest.mark.parametrize("start", [-1, 40])
def test_a_start_outside_the_points_is_refused(start: int) -> None:
    with pytest.raises(ValueError, match=r"start must be a row in \[0, 39\]"):
        greedy_coreset(np.zeros((40, 3), np.float32), 2, start=start)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_points_that_float32_cannot_square_are_refused(value: float) -> None:
    points = np.zeros((40, 3), np.float32)
    points[7, 1] = value
    with pytest.raises(ValueError, match="points must be finite"):
        greedy_coreset(points, 2, start=0)


@given(size=st.integers(1, 40), seed=st.integers(0, 2**32 - 1))
def test_random_subset_draws_different_rows(size: int, seed: int) -> None:
    rows = random_subset(np.zeros((40, 3), np.float32), size, seed=seed)
    assert len(set(rows.tolist())) == size
    assert set(rows.tolist()) <= set(range(40))
    np.testing.assert_array_equal(rows, random_subset(np.ones((40, 3), np.float32), size, seed=seed))
