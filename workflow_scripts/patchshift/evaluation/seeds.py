"""Several detector seeds as one result: mean, standard deviation, and an interval for the choice of images and seeds.

Image AUROC is resampled from the images' scores: the resamples of a category are the same for all its seeds, and seeds
are drawn with replacement, each for all categories together, as repeats of the whole experiment. Other metrics keep the
intervals that they have, which are combined (Zou and Donner 2008). docs/analyses.md states both.
Tested in tests/evaluation/test_seeds.py.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.image_metrics import image_auroc
from patchshift.evaluation.statistics import bootstrap_image_auroc, percentile_interval

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

FEWEST_SEEDS = 3
"""Of fewer, a t interval says nothing: of two it is 12.7 standard errors wide."""
SEEDS_STREAM = 1
"""Seeds are drawn apart from images, whose generators are made of one number each."""


@dataclass(frozen=True)
class SeedEstimate:
    """A metric over seeds, or over seeds and categories.

    Attributes:
        value: mean over categories of the mean over seeds.
        sd: standard deviation over seeds (divisor n - 1) of the mean over categories; None with a single seed.
        low: lower end of the interval; None where there is none.
        high: upper end.
    """

    value: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ResampledAuroc:
    """The image AUROC of one category under each of S seeds.

    Attributes:
        values: [S] of the test images as they are.
        drawn: [S, R] of each resample of them, the same images for all seeds.
    """

    values: Float64
    drawn: Float64


@dataclass(frozen=True)
class Measured:
    """A metric of one category and seed with the interval that it was reported with, if any."""

    value: float
    low: float | None = None
    high: float | None = None


def resample_auroc(
    anomalous: Bool, scores: npt.NDArray[np.floating[Any]], *, resamples: int, seed: int
) -> ResampledAuroc:
    """The image AUROC of one category in stratified resamples of its images.

    Args:
        anomalous: [N] labels.
        scores: [S, N] image scores under each seed.
        resamples: number of resamples R.
        seed: bootstrap seed; another one for each category, so that categories are drawn independently.

    Raises:
        Undefined: if a class is missing or a score is not finite.
    """
    values = [image_auroc(anomalous, row) for row in scores]
    drawn = [bootstrap_image_auroc(anomalous, row, resamples=resamples, seed=seed) for row in scores]
    return ResampledAuroc(np.array(values), np.array(drawn))


def average_auroc(categories: Sequence[ResampledAuroc], *, confidence: float, seed: int) -> SeedEstimate:
    """The mean image AUROC over categories and seeds.

    Args:
        categories: one entry per category, each with the same seeds in the same order.
        confidence: coverage in (0, 1).
        seed: bootstrap seed of the draws of seeds.
    """
    low, high = percentile_interval(_drawn_mean(categories, seed, side=0), confidence)
    return SeedEstimate(*_mean_and_deviation([entry.values for entry in categories]), low, high)


def auroc_difference(
    categories: Sequence[ResampledAuroc], others: Sequence[ResampledAuroc], *, confidence: float, seed: int
) -> SeedEstimate:
    """How much higher the mean image AUROC of one detector is than that of another, on the same resampled images.

    The seeds of the two are drawn apart: seed 0 of one has nothing in common with seed 0 of the other. So `sd` is None.

    Args:
        categories: of the one; as for `average_auroc`.
        others: of the other: the same categories, resampled with the same bootstrap seeds; it may have other seeds.
        confidence: coverage in (0, 1).
        seed: bootstrap seed of the draws of seeds.
    """
    drawn = _drawn_mean(categories, seed, side=0) - _drawn_mean(others, seed, side=1)
    first, second = (_mean_and_deviation([entry.values for entry in side])[0] for side in (categories, others))
    return SeedEstimate(first - second, None, *percentile_interval(drawn, confidence))


def combine_measured(
    measured: Sequence[Sequence[Measured]], *, targets: Sequence[Hashable], confidence: float
) -> SeedEstimate:
    """The mean of a share over banks, targets and seeds, with an interval made of those that its values have.

    The distances from value to low and high are averaged over the seeds and banks of a target, which have the same
    images, and added in squares over targets, which have different ones (Zou and Donner 2008), each weighing as its
    values do in the mean. From three seeds on, the square of half a t interval of the means of each seed joins them.

    Args:
        measured: one entry per bank and target: its values under each of S seeds, the same seeds everywhere.
        targets: whose images each entry was measured on.
        confidence: coverage in (0, 1).

    Returns:
        No interval where one of the values has none.
    """
    if len(measured) == len(measured[0]) == 1:
        entry = measured[0][0]
        return SeedEstimate(entry.value, None, entry.low, entry.high)
    values = [np.array([entry.value for entry in by_seed]) for by_seed in measured]
    mean, deviation = _mean_and_deviation(values)
    below, above = [], []
    for entry in (entry for by_seed in measured for entry in by_seed):
        if entry.low is None or entry.high is None:
            return SeedEstimate(mean, deviation)
        below.append(entry.value - entry.low)
        above.append(entry.high - entry.value)
    seeds = len(values[0])
    of_seeds = 0.0
    if deviation is not None and seeds >= FEWEST_SEEDS:
        from scipy.stats import t as student  # slow to import

        of_seeds = float(student.ppf((1 + confidence) / 2, seeds - 1)) * deviation / np.sqrt(seeds)
    numbers = {target: number for number, target in enumerate(dict.fromkeys(targets))}
    owners = np.repeat([numbers[target] for target in targets], seeds)
    sides = [np.bincount(owners, weights=side) / len(owners) for side in (below, above)]
    low, high = (float(np.hypot(np.linalg.norm(side), of_seeds)) for side in sides)
    return SeedEstimate(mean, deviation, max(0.0, mean - low), min(1.0, mean + high))


def _mean_and_deviation(values: Sequence[Float64]) -> tuple[float, float | None]:
    """Of [S] values per category: the mean of all, and the deviation over seeds of the means over categories."""
    of_seeds = np.mean(values, axis=0)
    return float(of_seeds.mean()), float(of_seeds.std(ddof=1)) if len(of_seeds) > 1 else None


def _drawn_mean(categories: Sequence[ResampledAuroc], seed: int, side: int) -> Float64:
    """[R] mean over categories and drawn seeds in each resample.

    S seeds drawn with replacement spread by (S - 1) / S of what S new ones would; their deviation from the mean over
    all seeds is enlarged by the root of the inverse. Of a single seed nothing is known but itself.
    """
    drawn: Float64 = np.mean([entry.drawn for entry in categories], axis=0)  # [S, R]
    count, resamples = drawn.shape
    if count == 1:
        alone: Float64 = drawn[0]
        return alone
    generator = np.random.default_rng((seed, SEEDS_STREAM, side))
    picks = generator.multinomial(count, np.full(count, 1 / count), resamples).T
    centre = drawn.mean(axis=0)
    chosen = np.mean(picks * drawn, axis=0)
    mean: Float64 = np.clip(centre + np.sqrt(count / (count - 1)) * (chosen - centre), 0, 1)
    return mean
