"""Pixel metrics at the masks' own resolution: AUROC, average precision, PRO and AUPIMO.

All are exact over all thresholds; equal scores form one threshold. Masks and maps are [N, H, W] arrays or sequences of
[H, W] whose sizes may differ from image to image; any non-zero mask value is defect. Pixels of any non-zero value of an
ignore mask count neither as normal nor as defect: regions are those of the defect pixels that are left.
Tested in tests/evaluation/test_pixel_metrics.py.
"""

from collections.abc import Iterable, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.pixel_pool import PixelCounts, PixelPool, check_image
from patchshift.evaluation.ranking import area_to_limit, auroc, average_precision
from patchshift.evaluation.statistics import draw_images
from patchshift.evaluation.undefined import Undefined

Images = npt.NDArray[Any] | Sequence[npt.NDArray[Any]]
Float64 = npt.NDArray[np.float64]

_BLOCK = 100  # resamples taken at once: bounds memory to a few [100, bins] arrays


def aupro(masks: Images, anomaly_maps: Images, *, fpr_limit: float = 0.3, ignore: Images | None = None) -> float:
    """Area under the per-region overlap curve, up to a false-positive rate, divided by that rate.

    Per-region overlap is the share of a defect region (8-connected) at or above the threshold, averaged over all
    regions of all images; the false-positive rate is over all normal pixels of all images (Bergmann et al. 2021, The
    MVTec Anomaly Detection Dataset). Linear interpolation at the limit.

    Args:
        masks: N masks [H, W].
        anomaly_maps: N maps [H, W], higher is more anomalous.
        fpr_limit: in (0, 1].
        ignore: N ignore masks [H, W]; None: none.

    Returns:
        Area in [0, 1].

    Raises:
        Undefined: without any defect or any normal pixel, or with NaN in a map.
        ValueError: if shapes or the limit are impossible.
    """
    return pixel_metrics(masks, anomaly_maps, fpr_limit=fpr_limit, ignore=ignore)["pro"]


def pixel_metrics(
    masks: Images, anomaly_maps: Images, *, fpr_limit: float = 0.3, ignore: Images | None = None
) -> dict[str, float]:
    """All pixel metrics of images, from one sort of the pixels; arguments and errors as for `aupro`.

    Returns:
        `pixel_auroc` and `pixel_ap` (average precision without interpolation) over all pixels of all images, and `pro`.
    """
    pool = PixelPool(np.result_type(np.float32, *{np.asarray(one).dtype for one in anomaly_maps}))
    for image in _triples(masks, anomaly_maps, ignore):
        pool.add(*image)
    return {name: float(value) for name, value in measure_counts(pool.rank(), fpr_limit=fpr_limit).items()}


def measure_counts(counts: PixelCounts, *, fpr_limit: float) -> dict[str, Float64]:
    """All pixel metrics of counted pixels.

    Args:
        counts: [..., K] pixels per group of scores.
        fpr_limit: false-positive rate in (0, 1] where PRO ends.

    Returns:
        Metric name -> [...] values, NaN where undefined.
    """
    if not 0 < fpr_limit <= 1:
        raise ValueError(f"fpr_limit must be in (0, 1], got {fpr_limit}")
    return {
        "pixel_auroc": auroc(counts.normal, counts.defect),
        "pixel_ap": average_precision(counts.normal, counts.defect),
        "pro": area_to_limit(counts.normal, counts.regions, fpr_limit),
    }


def bootstrap_pixel_metrics(
    per_image: PixelCounts, exact: dict[str, Float64], *, fpr_limit: float, resamples: int, seed: int
) -> dict[str, Float64]:
    """Pixel metrics of each bootstrap resample; images with and without defect pixels are drawn separately.

    Binning takes neighbouring scores for ties. What that changes on the images themselves is taken off every resample.

    Args:
        per_image: [N, K] binned counts of each image.
        exact: the metrics of all images, from unbinned counts.
        fpr_limit: false-positive rate in (0, 1] where PRO ends.
        resamples: number of resamples R.
        seed: bootstrap seed.

    Returns:
        Metric name -> [R] values in [0, 1], NaN where undefined.
    """
    draws = draw_images(per_image.defect.sum(axis=1) > 0, resamples, seed=seed)
    whole = measure_counts(_total(per_image, np.ones((1, draws.shape[1]))), fpr_limit=fpr_limit)
    blocks = [
        measure_counts(_total(per_image, draws[start : start + _BLOCK]), fpr_limit=fpr_limit)
        for start in range(0, resamples, _BLOCK)
    ]
    return {
        name: np.clip(np.concatenate([block[name] for block in blocks]) + (exact[name] - binned), 0, 1)
        for name, binned in whole.items()
    }


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
    lower, upper = fpr_bounds
    if not 0 < lower < upper <= 1:
        raise ValueError(f"fpr_bounds must be 0 < lower < upper <= 1, got {fpr_bounds}")
    normal_maps, defect_scores = [], []
    for index, (mask, anomaly_map, ignored) in enumerate(_triples(masks, anomaly_maps, ignore)):
        defect, good = check_image(index, mask, anomaly_map, ignored)
        defect_scores.append(anomaly_map[defect])
        if good.any() and not defect.any():
            normal_maps.append(anomaly_map.ravel() if ignored is None else anomaly_map[good])
    if not normal_maps:
        raise Undefined("no image is without defect")

    levels, rates = _shared_rates(normal_maps, upper)
    # a pixel that normal pixels of shared rate r match or outscore counts at all rates f >= r
    starts = np.log(np.clip(np.append(rates, 0.0), lower, upper))
    credit = (np.log(upper) - starts) / (np.log(upper) - np.log(lower))
    return np.array(
        [credit[np.searchsorted(levels, scores, "left")].mean() if scores.size else np.nan for scores in defect_scores]
    )


def _shared_rates(normal_maps: list[npt.NDArray[Any]], upper: float) -> tuple[npt.NDArray[Any], Float64]:
    """Distinct normal scores, ascending, and the shared rate at or above each: exact up to `upper`, above it after."""
    scores, shares = [], []
    for flat in normal_maps:
        # above a threshold of shared rate `upper` lie at most this many pixels of the image; one more to pass it
        keep = min(flat.size, int(upper * len(normal_maps) * flat.size) + 1)
        scores.append(np.partition(flat, flat.size - keep)[flat.size - keep :])
        shares.append(np.full(keep, 1 / (flat.size * len(normal_maps))))
    levels, group = np.unique(np.concatenate(scores), return_inverse=True)
    share_at_level = np.bincount(group, np.concatenate(shares))
    return levels, np.flip(np.cumsum(np.flip(share_at_level), dtype=np.float64))


def _total(per_image: PixelCounts, draws: Float64) -> PixelCounts:
    """[R, K] counts of resamples that draw each image draws[r, n] times."""
    return PixelCounts(draws @ per_image.normal, draws @ per_image.defect, draws @ per_image.regions)


def _triples(
    masks: Images, anomaly_maps: Images, ignore: Images | None
) -> Iterable[tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any] | None]]:
    """Mask, map and ignore mask (None: nothing is ignored) of each image."""
    if len(masks) != len(anomaly_maps):
        raise ValueError(f"{len(masks)} masks but {len(anomaly_maps)} anomaly maps")
    if ignore is not None and len(ignore) != len(masks):
        raise ValueError(f"{len(masks)} masks but {len(ignore)} ignore masks")
    ignored = repeat(None, len(masks)) if ignore is None else map(np.asarray, ignore)
    return zip(map(np.asarray, masks), map(np.asarray, anomaly_maps), ignored, strict=True)
