import numpy as np
import pytest

from patchshift.evaluation.distance_intervals import (
    DISTANCES,
    Distance,
    draw_both,
    estimate_distance,
    keep_values,
    subtract_excess,
    subtract_positive_excess,
)
from patchshift.evaluation.domain_distances import Vectors, cosine_distance, maximum_mean_discrepancy
from patchshift.evaluation.feature_samples import project

OPTIONS = {"resamples": 60, "confidence": 0.9, "seed": 0}
DIMENSION = 4


def draw_images(generator: np.random.Generator, count: int, shift: float = 0.0) -> Vectors:
    """[count, 3, DIMENSION]: vectors of unit variance, all around 1 + `shift`; those of an image are alike."""
    own, common = generator.normal(size=(count, 3, DIMENSION)), generator.normal(size=(count, 1, DIMENSION))
    return np.asarray(1 + shift + np.sqrt(0.5) * (own + common))


TRUTHS = {
    "sliced_wasserstein": lambda shift: shift,
    "frechet_distance": lambda shift: DIMENSION * shift**2,
    "cosine_distance": lambda shift: 0.0,
    "feature_drift": lambda shift: shift,
}
LEAST = {0.0: 0.93, 0.7: 0.8}
"""Shift -> the least share of intervals of 0.9 that cover; ends that count as 0 cover 0 oftener than 0.9."""


@pytest.mark.parametrize("name", TRUTHS)
@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_intervals_cover_the_truth_about_as_often_as_they_say_or_oftener(name: str, shift: float) -> None:
    generator = np.random.default_rng(1)
    truth, trials = TRUTHS[name](shift), 200 if DISTANCES[name].of_means else 40
    estimates = []
    for seed in range(trials):
        x, y = draw_images(generator, 30), draw_images(generator, 20, shift)
        if DISTANCES[name].of_means:
            x, y = x.mean(axis=1), y.mean(axis=1)
        estimates.append(estimate_distance(DISTANCES[name], x, y, **{**OPTIONS, "seed": seed}))
    # 128 directions leave a few percent of their own
    slack = 0.03 * shift if name == "sliced_wasserstein" else 0
    covered = [each["low"] - slack <= truth <= each["high"] + slack for each in estimates]
    assert np.mean(covered) >= LEAST[shift]  # 20 and 30 images are few for quantiles of resamples far from zero
    corrected, plain = (np.mean([each[key] for each in estimates]) for key in ("value", "plug_in"))
    assert abs(corrected - truth) < 0.6 * abs(plain - truth)


@pytest.mark.parametrize(
    ("name", "n", "m"),
    [("frechet_distance", 30, 20), ("frechet_distance", 60, 60), ("sliced_wasserstein", 12, 10)],
)
def test_nothing_is_sure_to_have_shifted_where_nothing_has(name: str, n: int, m: int) -> None:
    """Features as they are measured: many alike vectors of an image, more dimensions than images, no shift."""
    lows = []
    for seed in range(15):
        generator = np.random.default_rng(seed)
        x, y = (generator.normal(size=(count, 32, 64)) + generator.normal(size=(count, 1, 64)) for count in (n, m))
        if name == "frechet_distance":
            (x, y), _ = project(x.astype(np.float32), y.astype(np.float32))
        lows.append(estimate_distance(DISTANCES[name], x, y, **{**OPTIONS, "resamples": 40, "seed": seed})["low"])
    assert np.mean(np.array(lows) > 0) <= 0.2


@pytest.mark.parametrize("angle", [0.0, np.pi / 4, np.pi])
@pytest.mark.parametrize(("n", "m", "length"), [(30, 20, 1.34), (30, 20, 4.5), (10, 5, 4.5)])
def test_cosine_intervals_cover_the_truth_though_means_are_short_beside_the_noise(
    n: int, m: int, length: float, angle: float
) -> None:
    generator, covered, corrected, plain = np.random.default_rng(0), [], [], []
    first, second = np.zeros(20), np.zeros(20)
    first[0], second[:2] = length, (length * np.cos(angle), length * np.sin(angle))
    truth = 1 - np.cos(angle)
    for seed in range(100):
        x, y = generator.normal(first, 1, (n, 20)), generator.normal(second, 1, (m, 20))
        found = estimate_distance(DISTANCES["cosine_distance"], x, y, **{**OPTIONS, "seed": seed})
        if "low" in found:
            covered.append(found["low"] - 1e-12 <= truth <= found["high"] + 1e-12)
            corrected.append(found["value"])
            plain.append(found["plug_in"])
            assert 0 <= found["low"] <= found["high"] <= 2
    assert len(covered) >= 75
    assert np.mean(covered) >= 0.8
    assert abs(np.mean(corrected) - truth) < 0.4 * abs(np.mean(plain) - truth)


def test_a_cosine_distance_of_opposite_means_nears_two_and_never_passes_it() -> None:
    generator = np.random.default_rng(5)
    for _ in range(20):
        x, y = generator.normal(1, 2, (30, 20)), generator.normal(-1, 2, (20, 20))
        found = estimate_distance(DISTANCES["cosine_distance"], x, y, **OPTIONS)
        assert found["plug_in"] < found["value"] <= found["high"] <= 2
        assert found["plug_in"] == pytest.approx(cosine_distance(x, y))


def test_a_cosine_with_a_mean_no_longer_than_chance_makes_it_is_undefined() -> None:
    generator = np.random.default_rng(6)
    x, y = generator.normal(0, 1, (30, 200)), generator.normal(2, 1, (20, 200))
    for pair in ((x, y), (y, x)):
        found = estimate_distance(DISTANCES["cosine_distance"], *pair, **OPTIONS)
        assert found == {"undefined": "a mean vector is too short beside the differences between images"}


def test_the_excess_of_resamples_is_taken_off_but_never_added_where_a_distance_is_only_too_large() -> None:
    above, below = np.array([1.0, 1.25, 1.75]), np.array([1.0, 0.25, 0.75])
    for correct in (subtract_excess, subtract_positive_excess):
        assert correct(above) == pytest.approx([0.5, 0.25, 0.75])
    assert subtract_excess(below) == pytest.approx([1.5, 1.25, 1.75])
    assert subtract_positive_excess(below) == pytest.approx(below)
    for name in ("sliced_wasserstein", "frechet_distance"):
        assert DISTANCES[name].correct is subtract_positive_excess


@pytest.mark.parametrize("name", DISTANCES)
@pytest.mark.parametrize(("n", "m"), [(2, 2), (4, 30), (30, 4)])
def test_a_few_images_leave_a_value_without_an_interval_and_the_reason(name: str, n: int, m: int) -> None:
    generator = np.random.default_rng(7)
    x, y = draw_images(generator, n, 2.0), draw_images(generator, m, 4.0)
    found = estimate_distance(DISTANCES[name], x, y, **OPTIONS)
    assert set(found) == {"value", "plug_in", "undefined"}
    assert found["undefined"] == "no interval: fewer than 5 images on one side"
    enough = estimate_distance(DISTANCES[name], draw_images(generator, 5), draw_images(generator, 5), **OPTIONS)
    assert set(enough) == {"value", "plug_in", "low", "high"}


def test_resamples_that_are_all_undefined_leave_no_interval() -> None:
    def measure(x: Vectors, y: Vectors, draws: object) -> Vectors:
        return np.r_[0.25, np.full(OPTIONS["resamples"], np.nan)]

    x, distance = np.ones((6, 2)), Distance(measure, keep_values, root=True, of_means=False)
    reason = "no interval: no resample has a value"
    assert estimate_distance(distance, x, x, **OPTIONS) == {"value": 0.5, "plug_in": 0.5, "undefined": reason}


def test_mmd_intervals_cover_zero_where_nothing_differs_and_not_where_much_does() -> None:
    generator = np.random.default_rng(2)
    mmd = DISTANCES["maximum_mean_discrepancy"]
    lows = [
        [estimate_distance(mmd, draw_images(generator, 20), draw_images(generator, 15, shift), **OPTIONS)["low"]
         for _ in range(25)]
        for shift in (0.0, 2.0)
    ]  # fmt: skip
    assert np.mean(np.array(lows[0]) == 0) >= 0.85
    assert min(lows[1]) > 0


@pytest.mark.parametrize("name", DISTANCES)
def test_the_value_lies_in_its_interval_and_none_is_negative(name: str) -> None:
    generator = np.random.default_rng(3)
    for shift in (0.0, 0.3, 3.0):
        x, y = draw_images(generator, 12), draw_images(generator, 8, shift)
        found = estimate_distance(DISTANCES[name], x, y, **OPTIONS)
        assert 0 <= found["low"] <= found["value"] <= found["high"]
        if name == "maximum_mean_discrepancy":
            assert found["value"] == found["plug_in"]
        else:
            assert found["value"] < found["plug_in"]


def test_whole_images_are_drawn_on_both_sides_and_the_seed_decides_which() -> None:
    x, y = np.zeros((5, 3, 2)), np.zeros((7, 3, 2))
    draws = draw_both(x, y, 40, seed=1)
    assert draws.x.shape == (40, 5)
    assert draws.y.shape == (40, 7)
    assert (draws.x.sum(axis=1) == 5).all()
    assert (draws.y.sum(axis=1) == 7).all()
    assert (draws.x == draw_both(x, y, 40, seed=1).x).all()
    assert (draws.x != draw_both(x, y, 40, seed=2).x).any()


@pytest.mark.parametrize("name", DISTANCES)
def test_a_distance_from_one_image_is_undefined_with_the_reason(name: str) -> None:
    x = draw_images(np.random.default_rng(0), 6)
    assert estimate_distance(DISTANCES[name], x, x[:1], **OPTIONS) == {"undefined": "fewer than two images on one side"}


def test_means_of_zero_leave_only_what_needs_them_undefined() -> None:
    x, zero = draw_images(np.random.default_rng(0), 6), np.zeros((6, 3, DIMENSION))
    for name, distance in DISTANCES.items():
        found = estimate_distance(distance, zero, x, **OPTIONS)
        assert (found == {"undefined": "a mean vector is zero"}) == (name in ("cosine_distance", "feature_drift"))


def test_mmd_of_five_images_against_very_many_has_an_interval_as_wide_as_five_images_leave_it() -> None:
    generator, mmd = np.random.default_rng(4), DISTANCES["maximum_mean_discrepancy"]
    x, y = draw_images(generator, 1200), draw_images(generator, 5, 1.0)
    found = estimate_distance(mmd, x, y, **OPTIONS)
    whole = np.sqrt(maximum_mean_discrepancy(x, y, linear_above=10**6))
    assert found["value"] == pytest.approx(whole, rel=0.05)
    assert found["low"] < whole < found["high"]
    fewer = estimate_distance(mmd, x[:900], y, **OPTIONS)  # all pairs
    assert found["high"] - found["low"] == pytest.approx(fewer["high"] - fewer["low"], rel=0.25)
