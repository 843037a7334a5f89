"""All metrics of one target: how scores rank its test images and pixels, and what decisions at a threshold are worth.

Callers fix the number of numerical threads (`runtime.threads`); the matrix products here are fastest with one.
Tested in tests/evaluation/test_evaluate.py.
"""

from collections.abc import Iterable
from dataclasses import asdict
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.data.packs import Pack
from patchshift.evaluation.anomaly_maps import upsample_map
from patchshift.evaluation.aupimo import bootstrap_aupimo, measure_aupimo
from patchshift.evaluation.calibration import Calibration
from patchshift.evaluation.image_metrics import (
    DECISION_METRICS,
    Labels,
    Scores,
    as_anomalous,
    check_scores,
    count_decisions,
    rank_images,
)
from patchshift.evaluation.pixel_metrics import bootstrap_pixel_metrics, measure_pool
from patchshift.evaluation.pixel_pool import PixelPool
from patchshift.evaluation.ranking import IMAGE_RANKINGS
from patchshift.evaluation.rates import decision_interval
from patchshift.evaluation.scored import ScoredImages
from patchshift.evaluation.statistics import (
    bca_interval,
    bootstrap_image_ranking,
    jackknife_image_ranking,
    percentile_interval,
    wilson_interval,
)
from patchshift.evaluation.undefined import Estimate, Undefined, estimate, undefined
from patchshift.plan.score_specs import AnomalyMapSpec
from patchshift.plan.specs import EvaluationSpec

IMAGE_METRICS = tuple(IMAGE_RANKINGS)
PIXEL_METRICS = ("pixel_auroc", "pixel_ap", "pixel_f1_oracle", "pro", "pro_strict", "aupimo")
PROPORTIONS = {
    "recall": ("tp", "anomalous"),
    "specificity": ("tn", "normal"),
    "miss_rate": ("fn", "anomalous"),
    "false_alarm_rate": ("fp", "normal"),
}
"""Decision metrics with a Wilson interval, which is honest at 0 and 1 too: the counts they are the ratio of."""

_BINS = 2048  # of the pixel bootstrap


def evaluate_target(
    labels: Labels,
    scores: Scores,
    patch_maps: Iterable[npt.NDArray[np.float32]],
    masks: Iterable[npt.NDArray[Any]],
    *,
    input_size: tuple[int, int],
    spec: EvaluationSpec,
    has_masks: bool = True,
    ignore: Iterable[npt.NDArray[Any]] | None = None,
    anomaly_map: AnomalyMapSpec | None = None,
) -> dict[str, Any]:
    """Ranking metrics of the test images of one target, with bootstrap intervals.

    Args:
        labels: [N] 0 normal, 1 anomalous.
        scores: [N] image scores, higher is more anomalous.
        patch_maps: N maps [h, w] at patch resolution; read one at a time.
        masks: N masks [H, W] at their own size, any non-zero value is defect; read one at a time.
        input_size: (height, width) of the network input in pixels.
        spec: the evaluation protocol.
        has_masks: False if the dataset has no masks for this category: `masks` is not read.
        ignore: N ignore masks [H, W], pixels of any non-zero value are left out of pixel metrics; read one at a time.
            None: nothing is ignored.
        anomaly_map: how maps are brought to pixels, if not as the protocol has it.

    Returns:
        `metrics`: metric name -> value with interval, or the reason why it is undefined; `counts`: `normal` and
        `anomalous` images, and defect `regions` that are not ignored (None without masks).

    Raises:
        ValueError: if shapes do not match, or maps or masks are fewer or more than labels.
    """
    anomalous = as_anomalous(labels)
    metrics = _image_metrics(anomalous, np.asarray(scores), spec)
    if has_masks:
        ignored = repeat(None, len(anomalous)) if ignore is None else ignore
        images = zip(anomalous, patch_maps, masks, ignored, strict=True)
        pixels, regions = _pixel_metrics(images, input_size, spec, anomaly_map)
    else:
        pixels, regions = dict.fromkeys(PIXEL_METRICS, undefined("the dataset has no masks for this category")), None
    counts = {"normal": int((~anomalous).sum()), "anomalous": int(anomalous.sum()), "regions": regions}
    return {"metrics": metrics | pixels, "counts": counts}


def evaluate_images(images: ScoredImages, pack: Path, spec: EvaluationSpec) -> dict[str, Any]:
    """What `evaluate_target` says of scored images whose masks are in a pack.

    Raises:
        UserError: if an image is not in the pack.
    """
    with Pack(pack) as packed:
        rows = packed.rows(images.images)
        return evaluate_target(
            images.labels,
            images.scores,
            images.maps,
            map(packed.mask, rows),
            input_size=images.input_size,
            spec=spec,
            has_masks=packed.has_masks,
            ignore=map(packed.ignore, rows) if packed.has_ignore else None,
            anomaly_map=images.scoring.anomaly_map,
        )


def decide_target(labels: Labels, scores: Scores, calibration: Calibration, spec: EvaluationSpec) -> dict[str, Any]:
    """Metrics of decisions on the test images of one target, with intervals.

    Args:
        labels: [N] 0 normal, 1 anomalous.
        scores: [N] image scores, higher is more anomalous.
        calibration: the threshold, chosen on validation images.
        spec: the evaluation protocol.

    Returns:
        `metrics`: every name of `DECISION_METRICS` -> value with interval (Wilson for proportions of one class, none
        for the F1 floor, MOVER from Wilson's otherwise), or the reason why it is undefined; `counts`: `tp`, `fp`, `tn`,
        `fn`, or None without a threshold.
    """
    scores = np.asarray(scores)
    try:
        confusion = count_decisions(labels, scores >= _usable_threshold(calibration, scores))
    except Undefined as error:
        return {"metrics": dict.fromkeys(DECISION_METRICS, undefined(str(error))), "counts": None}
    metrics: dict[str, Estimate] = {}
    for name, metric in DECISION_METRICS.items():
        value = float(metric(confusion))
        if np.isnan(value):
            metrics[name] = undefined(metric.reason)
        elif name in PROPORTIONS:
            count, total = (int(getattr(confusion, part)) for part in PROPORTIONS[name])
            metrics[name] = estimate(value, wilson_interval(count, total, spec.confidence))
        elif name == "f1_floor":  # a property of the test set, not of the decisions
            metrics[name] = estimate(value, None)
        else:
            metrics[name] = estimate(value, decision_interval(metric, confusion, spec.confidence))
    return {"metrics": metrics, "counts": asdict(confusion)}


def _image_metrics(anomalous: npt.NDArray[np.bool_], scores: Scores, spec: EvaluationSpec) -> dict[str, Estimate]:
    try:
        exact = rank_images(anomalous, scores)
    except Undefined as error:
        return dict.fromkeys(IMAGE_METRICS, undefined(str(error)))
    resampled = bootstrap_image_ranking(anomalous, scores, resamples=spec.bootstrap_resamples, seed=spec.bootstrap_seed)
    left_out = jackknife_image_ranking(anomalous, scores)
    return {
        name: estimate(value, bca_interval(value, resampled[name], left_out[name], spec.confidence))
        for name, value in exact.items()
    }


def _pixel_metrics(
    images: Iterable[tuple[Any, npt.NDArray[np.float32], npt.NDArray[Any], npt.NDArray[Any] | None]],
    input_size: tuple[int, int],
    spec: EvaluationSpec,
    anomaly_map: AnomalyMapSpec | None,
) -> tuple[dict[str, Estimate], int | None]:
    """Pixel metrics and number of regions of images (label, patch map, mask, ignore mask), read one at a time."""
    pool = PixelPool()
    limits = {"pro": spec.pro_fpr_limit, "pro_strict": spec.pro_strict_fpr_limit}
    try:
        for _, patch_map, mask, ignore in images:
            if not patch_map.size:
                raise Undefined("the method gave no maps")
            pixels = upsample_map(patch_map, input_size, mask.shape, spec.smoothing_sigma, anomaly_map)
            pool.add(mask, pixels, ignore)
        exact = measure_pool(pool, fpr_limits=limits)
    except Undefined as error:
        return dict.fromkeys(PIXEL_METRICS, undefined(str(error))), None
    resampled = bootstrap_pixel_metrics(
        pool.per_image(_BINS),
        exact,
        fpr_limits=limits,
        resamples=spec.bootstrap_resamples,
        seed=spec.bootstrap_seed,
    )
    metrics: dict[str, Estimate] = {
        name: _pixel_estimate(value, resampled[name], spec.confidence) for name, value in exact.items()
    }
    return {**metrics, "aupimo": _mean_aupimo(pool, spec)}, pool.region_count


def _mean_aupimo(pool: PixelPool, spec: EvaluationSpec) -> Estimate:
    """The mean over images with defect pixels."""
    bounds = spec.aupimo_fpr_bounds
    try:
        exact = measure_aupimo(pool, bounds)
    except Undefined as error:
        return undefined(str(error))
    resampled = bootstrap_aupimo(pool, exact, bounds, resamples=spec.bootstrap_resamples, seed=spec.bootstrap_seed)
    return _pixel_estimate(float(np.nanmean(exact)), resampled, spec.confidence)


def _pixel_estimate(value: float, resampled: npt.NDArray[np.float64], confidence: float) -> Estimate:
    """The percentile interval of a pixel metric; one that would not hold the value is extended to it."""
    low, high = percentile_interval(resampled, confidence)
    return estimate(value, (min(low, value), max(high, value)))


def _usable_threshold(calibration: Calibration, scores: Scores) -> float:
    if calibration.threshold is None:
        raise Undefined(calibration.undefined or "no threshold")
    check_scores(scores)
    return calibration.threshold
