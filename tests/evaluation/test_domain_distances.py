import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm
from scipy.stats import wasserstein_distance

from patchshift.evaluation import domain_distances
from patchshift.evaluation.domain_distances import (
    Draws,
    Vectors,
    cosine_distance,
    cosine_distances,
    drift_squares,
    each_once,
    feature_drift,
    frechet_distance,
    frechet_distances,
    linear_terms,
    maximum_mean_discrepancy,
    median_bandwidth,
    mmd_squares,
    pair_kernels,
    sliced_wasserstein,
    sliced_wasserstein_squares,
    takes_linear_time,
)
from patchshift.evaluation.undefined import Undefined

PLAIN = [maximum_mean_discrepancy, sliced_wasserstein, frechet_distance, cosine_distance, feature_drift]
SYMMETRIC = PLAIN[:4]
RESAMPLED = [mmd_squares, sliced_wasserstein_squares, frechet_distances, cosine_distances, drift_squares]

sets = st.tuples(
    st.integers(0, 2**32 - 1), st.integers(3, 12), st.integers(3, 12), st.integers(1, 4), st.integers(1, 3)
).map(lambda drawn: random_sets(*drawn))


def random_sets(seed: int, n: int, m: int, dimension: int, vectors: int) -> tuple[Vectors, Vectors]:
    generator = np.random.default_rng(seed)
    x = generator.normal(1, 1, (n, vectors, dimension))
    return x, generator.normal(generator.normal(), 2, (m, vectors, dimension))


def rotation(dimension: int, seed: int) -> Vectors:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(dimension, dimension)))[0]


def with_moments(generator: np.random.Generator, n: int, mean: Vectors, covariance: Vectors) -> Vectors:
    """[n, D] vectors whose sample mean and covariance (divisor n - 1) are exactly these."""
    vectors = generator.normal(size=(n, len(mean)))
    vectors -= vectors.mean(axis=0)
    factor = np.linalg.cholesky(np.cov(vectors, rowvar=False))
    return vectors @ np.linalg.inv(factor).T @ np.linalg.cholesky(covariance).T + mean


# --- known distances of Gaussians --------------------------------------------------------------------------------


def test_frechet_distance_of_gaussians_that_commute_is_the_closed_form() -> None:
    generator = np.random.default_rng(0)
    first, second, shift = np.array([1.0, 4.0, 9.0]), np.array([4.0, 4.0, 0.25]), np.array([1.0, -2.0, 0.5])
    x = with_moments(generator, 40, np.zeros(3), np.diag(first))
    y = with_moments(generator, 25, shift, np.diag(second))
    expected = (shift**2).sum() + ((np.sqrt(first) - np.sqrt(second)) ** 2).sum()
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("n", "m", "dimension"), [(30, 50, 6), (30, 5, 6), (4, 3, 8)])
def test_frechet_distance_is_the_formula_of_the_fid(n: int, m: int, dimension: int) -> None:
    generator = np.random.default_rng(n)
    x = generator.normal(size=(n, dimension)) @ generator.normal(size=(dimension, dimension))
    y = 3 + generator.normal(size=(m, dimension)) @ generator.normal(size=(dimension, dimension))
    first, second = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = sqrtm(first @ second).real
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(first + second - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-5)


def test_frechet_distance_of_singular_covariances_is_exact() -> None:
    """Two points each, in many dimensions: Gaussians on two lines, at right angles and then along each other."""
    along, across = np.eye(50)[[0]] * [[1], [-1]], np.eye(50)[[1]] * [[1], [-1]]
    assert frechet_distance(along, across) == pytest.approx(4, abs=1e-14)
    assert frechet_distance(along, 3 * along) == pytest.approx((3 * np.sqrt(2) - np.sqrt(2)) ** 2, abs=1e-13)


def gaussian_mmd(shift: float, first: float, second: float, dimension: int, bandwidth: float) -> float:
    """Squared MMD of N(0, first I) and N(mu, second I), |mu| = shift."""

    def kernel(variance: float, square: float) -> float:
        width = bandwidth**2 + variance
        return float((bandwidth**2 / width) ** (dimension / 2) * np.exp(-square / (2 * width)))

    return kernel(2 * first, 0) + kernel(2 * second, 0) - 2 * kernel(first + second, shift**2)


@pytest.mark.parametrize(("shift", "second"), [(0.0, 1.0), (1.0, 1.0), (0.0, 4.0), (2.0, 0.5)])
@pytest.mark.parametrize("linear_above", [0, 10**6])
def test_mmd_of_gaussians_is_the_closed_form(
    shift: float, second: float, linear_above: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(domain_distances, "LINEAR_FROM", 60)
    generator = np.random.default_rng(3)
    expected = gaussian_mmd(shift, 1.0, second, dimension=3, bandwidth=1.7)
    values = []
    for _ in range(60):
        x, y = generator.normal(size=(80, 3)), np.sqrt(second) * generator.normal(size=(60, 3))
        y[:, 0] += shift
        values.append(maximum_mean_discrepancy(x, y, bandwidth=1.7, linear_above=linear_above))
    assert abs(np.mean(values) - expected) < 3.5 * np.std(values) / np.sqrt(len(values))


def test_mmd_has_mean_zero_for_equal_distributions_though_vectors_of_a_unit_are_alike() -> None:
    generator = np.random.default_rng(4)

    def draw(units: int) -> Vectors:
        return generator.normal(size=(units, 1, 2)) + 0.1 * generator.normal(size=(units, 6, 2))

    pairs = [(draw(12), draw(9)) for _ in range(300)]
    values = np.array([maximum_mean_discrepancy(x, y) for x, y in pairs])
    assert abs(values.mean()) < 3.5 * values.std() / np.sqrt(len(values))
    assert (values < 0).any()
    alike = np.mean([maximum_mean_discrepancy(x.reshape(-1, 2), y.reshape(-1, 2)) for x, y in pairs])
    assert alike > 0.05  # what pairs within a unit would add


@pytest.mark.parametrize("dimension", [1, 3, 8])
def test_sliced_wasserstein_of_a_set_and_itself_moved_is_the_move(dimension: int) -> None:
    x, move = np.random.default_rng(5).normal(size=(30, dimension)), np.linspace(1, 2, dimension)
    length = np.linalg.norm(move)
    found = sliced_wasserstein(x, x + move, directions=4000)
    assert found == pytest.approx(length / np.sqrt(dimension), rel=0.03)


def test_sliced_wasserstein_of_scaled_gaussians_nears_the_difference_of_their_deviations() -> None:
    generator = np.random.default_rng(6)
    x, y = generator.normal(size=(4000, 3)), 3 * generator.normal(size=(3000, 3))
    assert sliced_wasserstein(x, y) == pytest.approx(2, rel=0.05)


def test_mean_distances_of_known_means_are_the_closed_forms() -> None:
    x, y = np.array([[2.0, 0.0], [4.0, 0.0]]), np.array([[3.0, 3.0]])
    assert cosine_distance(x, y) == pytest.approx(1 - np.sqrt(0.5), abs=1e-15)
    assert feature_drift(x, y) == pytest.approx(1.0)
    assert feature_drift(y, x) == pytest.approx(np.sqrt(0.5))
    assert cosine_distance(x, -x) == pytest.approx(2)


# --- against plain definitions ------------------------------------------------------------------------------------


def brute_force_mmd(x: Vectors, y: Vectors, bandwidth: float) -> float:
    def kernel(first: Vectors, second: Vectors) -> float:
        values = [np.exp(-((a - b) ** 2).sum() / (2 * bandwidth**2)) for a in first for b in second]
        return float(np.mean(values))

    total = 0.0
    for units in (x, y):
        n = len(units)
        total += sum(kernel(units[i], units[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return total - 2 * sum(kernel(a, b) for a in x for b in y) / (len(x) * len(y))


@given(sets)
@settings(max_examples=25, deadline=None)
def test_mmd_equals_a_double_loop(pair: tuple[Vectors, Vectors]) -> None:
    assert maximum_mean_discrepancy(*pair, bandwidth=1.3) == pytest.approx(brute_force_mmd(*pair, 1.3), abs=1e-12)


def test_kernels_are_the_same_in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = random_sets(0, 11, 7, 4, 3)
    whole = pair_kernels(x, y, 1.5)
    monkeypatch.setattr(domain_distances, "BLOCK_BYTES", 8 * 3 * 7 * 3 * 4)
    assert pair_kernels(x, y, 1.5) == pytest.approx(whole, abs=1e-14)


def test_linear_time_mmd_is_the_mean_of_the_papers_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain_distances, "LINEAR_FROM", 2)
    x, y = (side[:, 0] for side in random_sets(1, 9, 6, 2, 1))

    def kernel(a: Vectors, b: Vectors) -> float:
        return float(np.exp(-((a - b) ** 2).sum() / (2 * 0.8**2)))

    expected = [
        kernel(x[i], x[i + 1]) + kernel(y[i], y[i + 1]) - kernel(x[i], y[i + 1]) - kernel(x[i + 1], y[i])
        for i in (0, 2, 4)
    ]
    assert linear_terms(x, y, 0.8) == pytest.approx(np.array(expected), abs=1e-14)
    found = maximum_mean_discrepancy(x, y, bandwidth=0.8, linear_above=14)
    assert found == pytest.approx(np.mean(expected), abs=1e-14)
    assert found != maximum_mean_discrepancy(x, y, bandwidth=0.8, linear_above=15)


def test_bandwidth_is_the_median_distance_of_all_pairs() -> None:
    x, y = np.array([[0.0], [1.0]]), np.array([[4.0]])
    assert median_bandwidth(x, y) == 3
    assert median_bandwidth(np.zeros((5, 1)), np.array([[6.0]])) == pytest.approx(6 * 5 / 15)
    assert median_bandwidth(np.full((4, 3), 0.1, np.float32), np.full((2, 3), 0.1, np.float32)) == 1


@pytest.mark.parametrize(("n", "m"), [(6, 6), (6, 4), (3, 7), (1, 5)])
def test_sliced_wasserstein_is_the_exact_coupling_along_each_line(n: int, m: int) -> None:
    """Repeating points to a common number changes no distribution, and sorted points are then coupled one to one."""
    generator = np.random.default_rng(n * m)
    x, y = generator.normal(size=(n, 1)), generator.normal(size=(m, 1))
    first, second = np.sort(np.repeat(x, m)), np.sort(np.repeat(y, n))
    assert sliced_wasserstein(x, y) == pytest.approx(np.sqrt(((first - second) ** 2).mean()), rel=1e-12)
    assert sliced_wasserstein(x, y) >= wasserstein_distance(x[:, 0], y[:, 0]) - 1e-12


# --- what changes nothing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", PLAIN)
@given(pair=sets, seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_the_order_of_vectors_does_not_matter(
    distance: Callable[..., float], pair: tuple[Vectors, Vectors], seed: int
) -> None:
    generator = np.random.default_rng(seed)
    x, y = (side[generator.permutation(len(side))][:, generator.permutation(side.shape[1])] for side in pair)
    assert distance(x, y) == pytest.approx(distance(*pair), abs=1e-9)


@pytest.mark.parametrize("distance", SYMMETRIC)
@given(pair=sets)
@settings(max_examples=15, deadline=None)
def test_distances_are_symmetric(distance: Callable[..., float], pair: tuple[Vectors, Vectors]) -> None:
    assert distance(pair[1], pair[0]) == pytest.approx(distance(*pair), abs=1e-9)


@pytest.mark.parametrize("distance", SYMMETRIC[:3])
@given(pair=sets, move=st.floats(-5, 5))
@settings(max_examples=15, deadline=None)
def test_moving_both_sets_changes_nothing(
    distance: Callable[..., float], pair: tuple[Vectors, Vectors], move: float
) -> None:
    assert distance(pair[0] + move, pair[1] + move) == pytest.approx(distance(*pair), abs=1e-9)


@pytest.mark.parametrize("distance", [PLAIN[0], *PLAIN[2:]])
@given(pair=sets, seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_rotating_both_sets_changes_nothing(
    distance: Callable[..., float], pair: tuple[Vectors, Vectors], seed: int
) -> None:
    turned = rotation(pair[0].shape[-1], seed)
    assert distance(pair[0] @ turned, pair[1] @ turned) == pytest.approx(distance(*pair), abs=1e-9)


@pytest.mark.parametrize("distance", PLAIN[1:])
@given(pair=sets)
@settings(max_examples=15, deadline=None)
def test_a_set_is_at_distance_zero_from_itself(distance: Callable[..., float], pair: tuple[Vectors, Vectors]) -> None:
    assert distance(pair[0], pair[0]) == pytest.approx(0, abs=1e-9)
    assert distance(*pair) >= 0


@pytest.mark.parametrize("distance", [sliced_wasserstein, cosine_distance, feature_drift])
def test_a_set_taken_twice_is_the_same_distribution(distance: Callable[..., float]) -> None:
    x, y = random_sets(2, 8, 5, 3, 2)
    assert distance(np.concatenate([x, x]), y) == pytest.approx(distance(x, y), abs=1e-12)


def test_single_precision_gives_the_same_to_its_precision() -> None:
    x, y = random_sets(3, 9, 8, 3, 2)
    for distance in PLAIN:
        found = distance(x.astype(np.float32), y.astype(np.float32))
        assert isinstance(found, float)
        assert found == pytest.approx(distance(x, y), rel=1e-4)


# --- resamples ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("measure", RESAMPLED[1:])
def test_a_resample_is_the_distance_of_the_repeated_units(measure: Callable[..., Vectors]) -> None:
    x, y = random_sets(4, 6, 5, 3, 2)
    draws = Draws(np.array([[1.0, 0, 3, 0, 1, 1], [1, 1, 1, 1, 1, 1]]), np.array([[2.0, 0, 0, 3, 0], [0, 1, 4, 0, 0]]))
    for value, drawn_x, drawn_y in zip(measure(x, y, draws), draws.x, draws.y, strict=True):
        repeated = (np.repeat(side, drawn.astype(int), axis=0) for side, drawn in ((x, drawn_x), (y, drawn_y)))
        first, second = repeated
        assert value == pytest.approx(measure(first, second, each_once(first, second))[0], abs=1e-12)


@pytest.mark.parametrize(
    ("n", "m", "linear"), [(500, 500, False), (501, 500, True), (802, 199, False), (199, 802, False), (801, 200, True)]
)
def test_the_linear_time_statistic_needs_many_units_on_both_sides(n: int, m: int, linear: bool) -> None:
    assert takes_linear_time(n, m) == linear


@pytest.mark.parametrize("large_first", [True, False])
def test_mmd_of_a_few_units_and_very_many_is_nearly_that_of_all_pairs(large_first: bool) -> None:
    generator = np.random.default_rng(8)
    many, few = generator.normal(size=(1200, 3, 4)), generator.normal(0.7, 1, size=(5, 3, 4))
    x, y = (many, few) if large_first else (few, many)
    found, whole = maximum_mean_discrepancy(x, y), maximum_mean_discrepancy(x, y, linear_above=10**6)
    assert found != whole
    assert found == pytest.approx(whole, rel=0.05)
    assert found == maximum_mean_discrepancy(x, y)


def test_where_one_side_is_small_the_other_is_chosen_from_at_random_and_with_its_draws() -> None:
    """45 of 120 units; those that are not chosen have no part, however often they are drawn."""
    generator = np.random.default_rng(9)
    x, y = generator.normal(size=(120, 1)), generator.normal(size=(5, 1))
    kept, numbers = domain_distances._choose(x, np.arange(120.0)[None], 45)
    chosen = numbers[0].astype(int)
    assert (x[chosen] == kept).all()
    assert len(set(chosen)) == 45
    assert (np.bincount(chosen // 40) > 5).all()  # from everywhere
    drawn = np.full((1, 120), 9.0)
    drawn[0, chosen] = 1
    expected = brute_force_mmd(kept[:, None], y[:, None], 1.0)
    for draws in (each_once(x, y), Draws(drawn, np.ones((1, 5)))):
        assert mmd_squares(x, y, draws, bandwidth=1.0, linear_above=50) == pytest.approx([expected], abs=1e-12)


def test_a_resampled_mmd_pairs_no_unit_with_itself() -> None:
    x, y = random_sets(5, 4, 3, 2, 2)
    draws = Draws(np.array([[2.0, 1, 1, 0], [4, 0, 0, 0]]), np.array([[1.0, 1, 1], [1, 1, 1]]))
    found = mmd_squares(x, y, draws, bandwidth=1.0)
    within, other, across = (pair_kernels(a, b, 1.0) for a, b in ((x, x), (y, y), (x, y)))
    of_x = (2 * within[0, 1] + 2 * within[0, 2] + within[1, 2]) / 5
    of_y = (other[0, 1] + other[0, 2] + other[1, 2]) / 3
    expected = of_x + of_y - 2 * (np.array([2, 1, 1, 0]) / 4) @ across @ np.full(3, 1 / 3)
    assert found[0] == pytest.approx(expected, abs=1e-14)
    assert np.isnan(found[1])


@pytest.mark.parametrize("measure", [median_bandwidth, lambda x, y: sliced_wasserstein(x, y, directions=2)])
def test_no_copy_of_all_vectors_is_made(measure: Callable[..., float]) -> None:
    x, y = np.random.default_rng(10).normal(size=(2, 400, 32, 256)).astype(np.float32)
    measure(x[:2], y[:2])
    tracemalloc.start()
    measure(x, y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < x.nbytes + y.nbytes


def test_what_does_not_exist_says_why() -> None:
    one, many = np.ones((1, 2)), np.random.default_rng(0).normal(size=(4, 2))
    with pytest.raises(Undefined, match="fewer than two images"):
        maximum_mean_discrepancy(one, many)
    with pytest.raises(Undefined, match="fewer than two vectors"):
        frechet_distance(many, one)
    for distance in (cosine_distance, feature_drift):
        with pytest.raises(Undefined, match="mean vector is zero"):
            distance(np.zeros((3, 2)), many)
