"""AUPIMO: how much of each defective image is found while hardly any pixel of normal images is called defective.

Tested in tests/evaluation/test_pixel_metrics.py.
"""

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.pixel_metrics import Images, pool_images
from patchshift.evaluation.pixel_pool import Floating, ImagePixels, PixelPool
from patchshift.evaluation.statistics import draw_images
from patchshift.evaluation.undefined import Undefined

Float64 = npt.NDArray[np.float64]

_LEVELS = 2048  # of the bootstrap
_RANKS = 1024  # scores of each normal image that its levels are chosen from


def aupimo(
    masks: Images,
    anomaly_maps: Images,
    *,
    fpr_bounds: tuple[float, float] = (1e-5, 1e-4),
    ignore: Images | None = None,
) -> Float64:
    """Per-image recall at very low shared false-positive rates (Bertoldo et al. 2024, AUPIMO, arXiv 2401.01984).

    The shared rate of a threshold is the mean, over the images without defect, of the share of their pixels at or above
    it. An image's recall at rate f is the share of its defect pixels at or above the lowest threshold whose shared rate
    does not exceed f. The result is its mean over log f between the bounds.

    Args:
        masks: N masks [H, W]; an image is normal if no defect pixel of its mask is left.
        anomaly_maps: N maps [H, W], higher is more anomalous.
        fpr_bounds: (lower, upper) shared rates, 0 < lower < upper <= 1.
        ignore: N ignore masks [H, W]; None: none. A normal image that is ignored as a whole has no share in the rate.

    Returns:
        [N] float64 in [0, 1]; NaN for normal images.

    Raises:
        Undefined: without any normal image, or with NaN in a map.
        ValueError: if shapes or bounds are impossible.
    """
    pool = pool_images(masks, anomaly_maps, ignore)
    values = np.full(len(masks), np.nan)
    values[pool.places] = measure_aupimo(pool, fpr_bounds)
    return values


def measure_aupimo(pool: PixelPool, fpr_bounds: tuple[float, float]) -> Float64:
    """AUPIMO of each pooled image, NaN for normal ones; arguments and errors as for `aupimo`."""
    lower, upper = fpr_bounds
    if not 0 < lower < upper <= 1:
        raise ValueError(f"fpr_bounds must be 0 < lower < upper <= 1, got {fpr_bounds}")
    levels, rates = _shared_rates(_normal_scores(pool), upper)
    # a pixel that normal pixels of shared rate r match or outscore counts at all rates f >= r
    credit = _credit(np.append(rates, 0.0), fpr_bounds)
    return np.array([_mean_credit(image, levels, credit) for image in pool.images])


def bootstrap_aupimo(
    pool: PixelPool, exact: Float64, fpr_bounds: tuple[float, float], *, resamples: int, seed: int
) -> Float64:
    """The mean AUPIMO of each bootstrap resample; images with and without defect pixels are drawn separately.

    Of all normal scores some 2000 are levels, 0.7 % of the shared rate apart, or all where they are fewer; what lies
    between two levels has the rate of the upper one. What that changes of the mean itself is taken off every resample.

    Args:
        pool: the images.
        exact: what `measure_aupimo` says of them.
        fpr_bounds: (lower, upper) shared rates.
        resamples: number of resamples R.
        seed: bootstrap seed.

    Returns:
        [R] values in [0, 1].
    """
    defective = np.array([image.defect.size > 0 for image in pool.images])
    normal = _normal_scores(pool)
    levels = _choose_levels(normal, fpr_bounds[0])
    # [n, K + 1]: shares of normal pixels at or above each level, and above all; of defect pixels up to each, and above
    rates = np.array([1 - np.searchsorted(one, levels) / one.size for one in normal])
    rates = np.pad(rates, ((0, 0), (0, 1)))
    found = np.array([_split_defect(image, levels) / image.defect.size for image in pool.images if image.defect.size])

    def mean_of(draws: Float64) -> Float64:
        shared = draws[:, ~defective] @ rates / len(rates)
        values: Float64 = (_credit(shared, fpr_bounds) * (draws[:, defective] @ found)).sum(axis=1) / len(found)
        return values

    values = mean_of(draw_images(defective, resamples, seed=seed))
    return np.clip(values + (np.nanmean(exact) - mean_of(np.ones((1, len(defective))))), 0, 1)


def _normal_scores(pool: PixelPool) -> list[Floating]:
    """Ascending scores of each image without defect.

    Raises:
        Undefined: if there is none.
    """
    scores = [image.normal for image in pool.images if image.normal.size and not image.defect.size]
    if not scores:
        raise Undefined("no image is without defect")
    return scores


def _shared_rates(normal: list[Floating], upper: float) -> tuple[Floating, Float64]:
    """Distinct normal scores, ascending, and the shared rate at or above each, up to the first rate above `upper`."""
    # above a threshold of shared rate `upper` lie at most this many pixels of an image; one more to pass it
    kept = [min(one.size, int(upper * len(normal) * one.size) + 1) for one in normal]
    scores = np.concatenate([one[one.size - keep :] for one, keep in zip(normal, kept, strict=True)])
    shares = np.repeat([1 / (one.size * len(normal)) for one in normal], kept)
    levels, group = np.unique(scores, return_inverse=True)
    rates: Float64 = np.flip(np.cumsum(np.flip(np.bincount(group, shares)), dtype=np.float64))
    first = max(0, int((rates >= upper).sum()) - 1)  # what lies below has no credit
    return levels[first:], rates[first:]


def _credit(rates: Float64, fpr_bounds: tuple[float, float]) -> Float64:
    """Share of the bounds, in log f, at which a pixel counts that normal pixels of these rates match or outscore."""
    low, high = np.log(fpr_bounds)
    credit: Float64 = (high - np.log(np.clip(rates, *fpr_bounds))) / (high - low)
    return credit


def _mean_credit(image: ImagePixels, levels: Floating, credit: Float64) -> float:
    """Of an image's defect pixels; `credit` [K + 1] is of scores up to each level, and above all."""
    if not image.defect.size:
        return np.nan
    return float((credit * _split_defect(image, levels)).sum() / image.defect.size)


def _split_defect(image: ImagePixels, levels: Floating) -> npt.NDArray[np.int64]:
    """[K + 1] defect pixels above one level and up to the next, the first up to the lowest, the last above all."""
    return np.diff(np.searchsorted(image.defect, levels, "right"), prepend=0, append=image.defect.size)


def _choose_levels(normal: list[Floating], lower: float) -> Floating:
    """Ascending normal scores whose shared rates lie evenly in log f, from far below `lower` up to 1, nearly."""
    scores, shares = [], []
    for one in normal:
        ranks = np.unique(np.geomspace(1, one.size, _RANKS).astype(np.int64))
        scores.append(one[one.size - ranks])
        shares.append(np.diff(ranks, prepend=0) / (one.size * len(normal)))
    descending = np.argsort(-np.concatenate(scores), kind="stable")
    rates = np.cumsum(np.concatenate(shares)[descending])
    chosen = np.searchsorted(rates, np.geomspace(lower / 10, 1, _LEVELS)).clip(max=rates.size - 1)
    return np.unique(np.concatenate(scores)[descending[chosen]])
