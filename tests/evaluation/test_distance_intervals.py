import numpy as np
import pytest

from patchshift.evaluation.distance_intervals import DISTANCES, draw_both, estimate_distance
from patchshift.evaluation.domain_distances import Vectors, maximum_mean_discrepancy

OPTIONS = {"resamples": 60, "confidence": 0.9, "seed": 0}
DIMENSION = 4


def draw_images(generator: np.random.Generator, count: int, shift: float = 0.0) -> Vectors:
    """[count, 3, DIMENSION]: vectors of unit variance, all around 1 + `shift`; those of an image are alike."""
    own, common = generator.normal(size=(count, 3, DIMENSION)), generator.normal(size=(count, 1, DIMENSION))
    return np.asarray(1 + shift + np.sqrt(0.5) * (own + common))


TRUTHS = {
    "sliced_wasserstein": lambda shift: shift,
    "frechet_distance": lambda shift: DIMENSION * shift**2,
    "feature_drift": lambda shift: shift,
}


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
    assert np.mean(covered) >= 0.8  # 0.86 to 0.87 is what a resample of 20 and 30 images gives for 0.9 far from zero
    corrected, plain = (np.mean([each[key] for each in estimates]) for key in ("value", "plug_in"))
    assert abs(corrected - truth) < 0.6 * abs(plain - truth)


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
        if DISTANCES[name].biased:
            assert found["value"] < found["plug_in"]
        else:
            assert found["value"] == found["plug_in"]


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
