"""Pixel metrics at the masks' own resolution: AUROC, average precision, best F1 and PRO (AUPIMO: `aupimo`).

All are exact over all thresholds; equal scores form one threshold. Masks and maps are [N, H, W] arrays or sequences of
[H, W] whose sizes may differ from image to image; any non-zero mask value is defect. Pixels of any non-zero value of an
ignore mask count neither as normal nor as defect: regions are those of the defect pixels that are left.
Tested in tests/evaluation/test_pixel_metrics.py.
"""

from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.pixel_pool import PixelCounts, PixelPool
from patchshift.evaluation.ranking import Place, area_to_limit, auroc, average_precision, best_f1
from patchshift.evaluation.statistics import draw_images

Images = npt.NDArray[Any] | Sequence[npt.NDArray[Any]]
Limits = Mapping[str, float]
Float64 = npt.NDArray[np.float64]

FPR_LIMITS: Limits = {"pro": 0.3, "pro_strict": 0.05}

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
    return pixel_metrics(masks, anomaly_maps, fpr_limits={"pro": fpr_limit}, ignore=ignore)["pro"]


def pixel_metrics(
    masks: Images, anomaly_maps: Images, *, fpr_limits: Limits = FPR_LIMITS, ignore: Images | None = None
) -> dict[str, float]:
    """The pixel metrics of images that compare all pixels; other arguments and errors as for `aupro`.

    Args:
        fpr_limits: name of a PRO -> false-positive rate in (0, 1] where it ends.

    Returns:
        `pixel_auroc`, `pixel_ap` (average precision without interpolation) and `pixel_f1_oracle` (the largest F1 of any
        threshold on these very pixels) over all pixels of all images, and each PRO.
    """
    return measure_pool(pool_images(masks, anomaly_maps, ignore), fpr_limits=fpr_limits)


def pool_images(masks: Images, anomaly_maps: Images, ignore: Images | None) -> PixelPool:
    """The pixels of all images; arguments and errors as for `aupro`."""
    if len(masks) != len(anomaly_maps):
        raise ValueError(f"{len(masks)} masks but {len(anomaly_maps)} anomaly maps")
    if ignore is not None and len(ignore) != len(masks):
        raise ValueError(f"{len(masks)} masks but {len(ignore)} ignore masks")
    ignored = repeat(None, len(masks)) if ignore is None else map(np.asarray, ignore)
    pool = PixelPool(np.result_type(np.float32, *{np.asarray(one).dtype for one in anomaly_maps}))
    for image in zip(map(np.asarray, masks), map(np.asarray, anomaly_maps), ignored, strict=True):
        pool.add(*image)
    return pool


def measure_pool(pool: PixelPool, *, fpr_limits: Limits) -> dict[str, float]:
    """Pixel metrics over all thresholds, block by block.

    Raises:
        Undefined: without any defect or any normal pixel.
    """
    whole, above, values = pool.total, PixelCounts(*np.zeros(3)), dict[str, float]()
    for block in pool.blocks():
        pixels = Place(above.normal, above.defect, whole.normal, whole.defect)
        regions = Place(above.normal, above.regions, whole.normal, whole.regions)
        for name, part in measure_counts(block, fpr_limits=fpr_limits, pixels=pixels, regions=regions).items():
            known, found = values.get(name, 0.0), float(part)
            values[name] = max(known, found) if name == "pixel_f1_oracle" else min(known + found, 1.0)
        above = PixelCounts(*(getattr(above, kind) + getattr(block, kind).sum() for kind in vars(above)))
    return values


def measure_counts(
    counts: PixelCounts, *, fpr_limits: Limits, pixels: Place | None = None, regions: Place | None = None
) -> dict[str, Float64]:
    """Pixel metrics of counted pixels.

    Args:
        counts: [..., K] pixels per group of scores.
        fpr_limits: name of a PRO -> false-positive rate in (0, 1] where it ends.
        pixels: where the groups stand among all, with defect pixels as positives; None: they are all.
        regions: the same with shares of regions.

    Returns:
        Metric name -> [...] values, NaN where undefined; of a block, its part of the area, or its best F1.
    """
    if not all(0 < limit <= 1 for limit in fpr_limits.values()):
        raise ValueError(f"fpr_limits must be in (0, 1], got {dict(fpr_limits)}")
    return {
        "pixel_auroc": auroc(counts.normal, counts.defect, pixels),
        "pixel_ap": average_precision(counts.normal, counts.defect, pixels),
        "pixel_f1_oracle": best_f1(counts.normal, counts.defect, pixels),
        **{name: area_to_limit(counts.normal, counts.regions, end, regions) for name, end in fpr_limits.items()},
    }


def bootstrap_pixel_metrics(
    per_image: PixelCounts, exact: dict[str, float], *, fpr_limits: Limits, resamples: int, seed: int
) -> dict[str, Float64]:
    """Pixel metrics of each bootstrap resample; images with and without defect pixels are drawn separately.

    Binning takes neighbouring scores for ties. What that changes on the images themselves is taken off every resample.

    Args:
        per_image: [N, K] binned counts of each image.
        exact: the metrics of all images, from unbinned counts.
        fpr_limits: name of a PRO -> false-positive rate in (0, 1] where it ends.
        resamples: number of resamples R.
        seed: bootstrap seed.

    Returns:
        Metric name -> [R] values in [0, 1], NaN where undefined.
    """
    draws = draw_images(per_image.defect.sum(axis=1) > 0, resamples, seed=seed)
    whole = measure_counts(_draw(per_image, np.ones((1, draws.shape[1]))), fpr_limits=fpr_limits)
    blocks = [
        measure_counts(_draw(per_image, draws[start : start + _BLOCK]), fpr_limits=fpr_limits)
        for start in range(0, resamples, _BLOCK)
    ]
    return {
        name: np.clip(np.concatenate([block[name] for block in blocks]) + (exact[name] - binned), 0, 1)
        for name, binned in whole.items()
    }


def _draw(per_image: PixelCounts, draws: Float64) -> PixelCounts:
    """[R, K] counts of resamples that draw each image draws[r, n] times."""
    return PixelCounts(draws @ per_image.normal, draws @ per_image.defect, draws @ per_image.regions)
