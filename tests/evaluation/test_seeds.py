import numpy as np
import pytest
from scipy import stats

from patchshift.evaluation.image_metrics import image_auroc
from patchshift.evaluation.seeds import (
    Measured,
    ResampledAuroc,
    SeedEstimate,
    auroc_difference,
    average_auroc,
    combine_measured,
    resample_auroc,
)
from patchshift.evaluation.statistics import bootstrap_image_ranking, percentile_interval
from patchshift.evaluation.undefined import Undefined

RESAMPLES = 400
OPTIONS = {"confidence": 0.9, "seed": 0}
ANOMALOUS = np.arange(24) % 2 == 1


def made(seeds, position=0, gap=1.0):
    """One category's labels and scores, whose seeds see the same images and differ a little."""
    generator = np.random.default_rng(position)
    images = generator.normal(0, 1, 24) + gap * ANOMALOUS
    return images + generator.normal(0, 0.4, (seeds, 24))


def resampled(seeds, position=0, gap=1.0):
    return resample_auroc(ANOMALOUS, made(seeds, position, gap), resamples=RESAMPLES, seed=position)


def test_one_seed_and_category_has_the_interval_of_the_image_bootstrap():
    scores = made(1)[0]
    drawn = bootstrap_image_ranking(ANOMALOUS, scores, resamples=RESAMPLES, seed=0)["image_auroc"]
    estimate = average_auroc([resampled(1)], **OPTIONS)
    assert estimate.value == image_auroc(ANOMALOUS, scores)
    assert (estimate.low, estimate.high) == percentile_interval(drawn, 0.9)
    assert estimate.sd is None


def test_mean_and_deviation_are_numpys():
    categories = [resampled(3, position) for position in range(2)]
    estimate = average_auroc(categories, **OPTIONS)
    of_seeds = np.mean([entry.values for entry in categories], axis=0)
    assert estimate.value == pytest.approx(np.mean(of_seeds))
    assert estimate.sd == pytest.approx(np.std(of_seeds, ddof=1))


def test_all_seeds_see_the_same_resamples_of_images():
    scores = made(1)[0]
    same = resample_auroc(ANOMALOUS, np.array([scores, scores]), resamples=RESAMPLES, seed=5)
    assert np.array_equal(same.drawn[0], same.drawn[1])
    one = average_auroc([resample_auroc(ANOMALOUS, scores[None], resamples=RESAMPLES, seed=5)], **OPTIONS)
    two = average_auroc([same], **OPTIONS)
    assert (two.low, two.high) == pytest.approx((one.low, one.high))  # seeds that agree add no uncertainty
    assert two.sd == 0


def test_where_images_say_nothing_the_interval_is_that_of_the_seeds():
    """Resamples that all agree leave the spread of seeds: s / sqrt(S), whatever drawing with replacement takes off."""
    values = np.array([0.80, 0.84, 0.85, 0.91])
    fixed = ResampledAuroc(values, np.repeat(values[:, None], 20000, axis=1))
    estimate = average_auroc([fixed], confidence=0.6827, seed=1)
    half = (estimate.high - estimate.low) / 2
    assert half == pytest.approx(values.std(ddof=1) / 2, rel=0.08)


def test_intervals_stay_in_the_range_of_a_share():
    values = np.array([0.9, 1.0])
    estimate = average_auroc([ResampledAuroc(values, np.repeat(values[:, None], 100, axis=1))], **OPTIONS)
    assert 0 <= estimate.low <= estimate.high <= 1


def test_more_categories_narrow_the_interval():
    one, four = (average_auroc([resampled(2, p) for p in range(count)], **OPTIONS) for count in (1, 4))
    assert four.high - four.low < one.high - one.low


def test_difference_of_a_detector_to_itself_with_one_seed_is_zero_without_noise():
    difference = auroc_difference([resampled(1)], [resampled(1)], **OPTIONS)
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)


def test_difference_is_paired_over_images_and_takes_sides_with_other_numbers_of_seeds():
    better, worse = resampled(3, gap=1.4), resampled(1, gap=1.0)
    difference = auroc_difference([better], [worse], **OPTIONS)
    assert difference.value == pytest.approx(better.values.mean() - worse.values.mean())
    apart = [average_auroc([side], **OPTIONS) for side in (better, worse)]
    assert difference.low <= difference.value <= difference.high
    assert difference.high - difference.low < sum(side.high - side.low for side in apart)


def test_undefined_scores_are_undefined():
    scores = made(2)
    scores[1, 3] = np.nan
    with pytest.raises(Undefined):
        resample_auroc(ANOMALOUS, scores, resamples=RESAMPLES, seed=0)


def combine(measured: list[list[Measured]], targets: str = "abc") -> SeedEstimate:
    return combine_measured(measured, targets=targets[: len(measured)], confidence=0.95)


def test_a_single_measurement_stays_as_it_is():
    estimate = combine([[Measured(0.123456789, 0.1, 0.2)]])
    assert (estimate.value, estimate.low, estimate.high, estimate.sd) == (0.123456789, 0.1, 0.2, None)


def test_intervals_of_categories_are_added_in_squares():
    """Zou and Donner 2008: with symmetric normal intervals, that of the mean of independent estimates."""
    widths = np.array([0.03, 0.04, 0.12])
    measured = [[Measured(0.5, 0.5 - width, 0.5 + width)] for width in widths]
    estimate = combine(measured)
    z = stats.norm.ppf(0.975)
    exact = z * np.sqrt(np.sum((widths / z) ** 2)) / 3
    assert (estimate.low, estimate.high) == pytest.approx((0.5 - exact, 0.5 + exact))


def test_interval_ends_may_lie_at_different_distances():
    estimate = combine([[Measured(0.9, 0.8, 0.92)], [Measured(0.9, 0.8, 0.92)]])
    assert (estimate.low, estimate.high) == pytest.approx((0.9 - 0.1 / np.sqrt(2), 0.9 + 0.02 / np.sqrt(2)))


@pytest.mark.parametrize("targets", ["aab", "baa"])
def test_banks_on_the_same_images_do_not_narrow_an_interval(targets: str) -> None:
    widths = {"a": 0.03, "b": 0.12}
    half = np.hypot(2 / 3 * widths["a"], 1 / 3 * widths["b"])
    estimate = combine([[Measured(0.5, 0.5 - widths[target], 0.5 + widths[target])] for target in targets], targets)
    assert (estimate.low, estimate.high) == pytest.approx((0.5 - half, 0.5 + half))
    one = Measured(0.8, 0.7, 0.9)
    alike = combine([[one]] * 11, "a" * 11)
    assert (alike.value, alike.low, alike.high) == pytest.approx((0.8, 0.7, 0.9))


def test_intervals_over_banks_and_targets_cover_the_mean() -> None:
    """Five banks find a defect more or less easily; each is asked about the same images of a target."""
    random = np.random.default_rng(0)
    z, images, covered = stats.norm.ppf(0.975), 60, 0
    for _ in range(400):
        ease = random.normal(size=(4, 1, images))
        found = ease + 0.5 * random.normal(size=(4, 5, images)) > 0
        rates = found.mean(axis=2).ravel()
        halves = z * np.sqrt(rates * (1 - rates) / images)
        measured = [[Measured(rate, rate - half, rate + half)] for rate, half in zip(rates, halves, strict=True)]
        estimate = combine(measured, "aaaaabbbbbcccccddddd")
        covered += estimate.low <= 0.5 <= estimate.high
    assert 0.93 <= covered / 400 <= 1


def test_from_three_seeds_on_a_t_interval_joins_that_of_the_images():
    values = [0.60, 0.64, 0.68]
    alone = combine([[Measured(value, value, value) for value in values]])
    assert (alone.low, alone.high) == pytest.approx(
        stats.t.interval(0.95, 2, loc=0.64, scale=np.std(values, ddof=1) / np.sqrt(3))
    )
    two = combine([[Measured(value, value - 0.1, value + 0.1) for value in values[:2]]])
    assert (two.low, two.high) == pytest.approx((0.52, 0.72))
    assert two.sd == pytest.approx(np.std(values[:2], ddof=1))


def test_without_an_interval_of_its_own_a_metric_gets_none():
    estimate = combine([[Measured(0.5, 0.4, 0.6)], [Measured(0.7)]])
    assert (estimate.value, estimate.low, estimate.high) == (pytest.approx(0.6), None, None)


def test_combined_intervals_stay_in_the_range_of_a_share():
    estimate = combine([[Measured(value, value, value) for value in (0.1, 0.9, 0.5)]])
    assert (estimate.low, estimate.high) == (0, 1)
