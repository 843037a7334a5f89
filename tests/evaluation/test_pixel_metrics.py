import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from patchshift.evaluation.aupimo import aupimo, bootstrap_aupimo, measure_aupimo
from patchshift.evaluation.pixel_metrics import (
    FPR_LIMITS,
    aupro,
    bootstrap_pixel_metrics,
    measure_pool,
    pixel_metrics,
    pool_images,
)
from patchshift.evaluation.pixel_pool import PixelPool
from patchshift.evaluation.statistics import draw_images
from patchshift.evaluation.undefined import Undefined

Maps = list[npt.NDArray[np.float32]]
Masks = list[npt.NDArray[np.uint8]]
Ignored = list[npt.NDArray[np.bool_]]
Golden = tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], dict[str, float]]

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.fixture(scope="module")
def golden() -> Golden:
    with np.load(GOLDEN / "metrics.npz") as arrays:
        return arrays["masks"], arrays["anomaly_maps"], json.loads((GOLDEN / "metrics.json").read_text())


@st.composite
def tiny_images(draw: st.DrawFn) -> tuple[Masks, Maps]:
    """Images of different sizes with many tied scores; the first is normal, the last has both kinds of pixel."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.integers(1, 12))
    masks: Masks = [np.zeros((3, 4), np.uint8)]
    for _ in range(draw(st.integers(1, 4))):
        size = generator.integers(2, 8, 2)
        masks.append((generator.random(size) < draw(st.sampled_from([0.1, 0.4]))).astype(np.uint8) * 255)
    masks[-1][0, :2] = [0, 1]
    return masks, [generator.integers(0, levels, mask.shape).astype(np.float32) for mask in masks]


def nothing(masks: Masks) -> Ignored:
    return [np.zeros(mask.shape, bool) for mask in masks]


@st.composite
def ignored_images(draw: st.DrawFn) -> tuple[Masks, Maps, Ignored]:
    """The same with ignore masks; one normal image is ignored as a whole, a pixel of each kind is not."""
    masks, maps = draw(tiny_images())
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    ignore: Ignored = [generator.random(mask.shape) < 0.4 for mask in masks]
    ignore[-1][0, :2] = ignore[0][0, 0] = False
    return [*masks, np.zeros((2, 2), np.uint8)], [*maps, maps[0][:2, :2]], [*ignore, np.ones((2, 2), bool)]


def brute_force_aupro(masks: Masks, maps: Maps, limit: float, ignore: Ignored | None = None) -> float:
    """The definition: rates at every threshold, linear interpolation at the limit, trapezoids."""
    rates, overlaps = [0.0], [0.0]
    images = list(zip(masks, maps, ignore or nothing(masks), strict=True))
    normal = np.concatenate([one[(mask == 0) & ~ignored] for mask, one, ignored in images])
    for threshold in sorted({value for one in maps for value in one.ravel()}, reverse=True):
        shares = []
        for mask, one, ignored in images:
            regions, count = label((mask != 0) & ~ignored, structure=np.ones((3, 3)))
            shares += [(one[regions == region] >= threshold).mean() for region in range(1, count + 1)]
        rate, overlap = float((normal >= threshold).mean()), float(np.mean(shares))
        if rate > limit:
            part = (limit - rates[-1]) / (rate - rates[-1])
            overlaps.append(overlaps[-1] + part * (overlap - overlaps[-1]))
            rates.append(limit)
            break
        rates.append(rate)
        overlaps.append(overlap)
    return float(np.trapezoid(overlaps, rates)) / limit


def brute_force_aupimo(
    masks: Masks, maps: Maps, lower: float, upper: float, ignore: Ignored | None = None
) -> list[float]:
    """The definition, by its piecewise constant recall between the rates at which the shared threshold moves."""
    images = list(zip(masks, maps, ignore or nothing(masks), strict=True))
    pixels = [(mask[~ignored], one[~ignored]) for mask, one, ignored in images]
    normal = [one for mask, one in pixels if one.size and not mask.any()]
    thresholds = sorted({value for one in normal for value in one.ravel()}, reverse=True)
    rates = [float(np.mean([(one >= threshold).mean() for one in normal])) for threshold in thresholds]
    results = []
    for mask, one in pixels:
        if not mask.any():
            results.append(np.nan)
            continue
        area = 0.0
        for index, threshold in enumerate(thresholds):
            start = max(lower, rates[index - 1] if index else 0.0)
            end = min(upper, rates[index])
            if end > start:
                area += float((one[mask != 0] > threshold).mean()) * (np.log(end) - np.log(start))
        results.append(area / np.log(upper / lower))
    return results


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_aupro_agrees_with_the_reference(golden: Golden, limit: float) -> None:
    masks, maps, reference = golden
    value = aupro(masks, maps, fpr_limit=limit)
    assert value == pytest.approx(reference[f"exact_aupro_{limit}"], abs=1e-12)
    assert value == pytest.approx(reference[f"anomalib_aupro_{limit}"], abs=1e-5)


def test_pixel_auroc_and_average_precision_agree_with_the_reference(golden: Golden) -> None:
    masks, maps, reference = golden
    metrics = pixel_metrics(masks, maps)
    assert metrics["pixel_auroc"] == pytest.approx(reference["pixel_auroc"], abs=1e-12)
    assert metrics["pixel_ap"] == pytest.approx(reference["pixel_ap"], abs=1e-12)


@given(images=tiny_images(), limit=st.sampled_from([0.05, 0.3, 0.5, 1.0]))
@settings(deadline=None)
def test_aupro_equals_brute_force_with_ties_and_mixed_sizes(images: tuple[Masks, Maps], limit: float) -> None:
    assert aupro(*images, fpr_limit=limit) == pytest.approx(brute_force_aupro(*images, limit), abs=1e-12)


@given(images=tiny_images())
@settings(deadline=None)
def test_pixel_auroc_average_precision_and_best_f1_equal_sklearn(images: tuple[Masks, Maps]) -> None:
    defect = np.concatenate([mask.ravel() != 0 for mask in images[0]])
    scores = np.concatenate([one.ravel() for one in images[1]])
    metrics = pixel_metrics(*images)
    assert metrics["pixel_auroc"] == pytest.approx(roc_auc_score(defect, scores), abs=1e-12)
    assert metrics["pixel_ap"] == pytest.approx(average_precision_score(defect, scores), abs=1e-12)
    precision, recall, _ = precision_recall_curve(defect, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    assert metrics["pixel_f1_oracle"] == pytest.approx(f1.max(), abs=1e-12)


@given(images=ignored_images(), limit=st.sampled_from([0.05, 0.3, 1.0]))
@settings(deadline=None)
def test_metrics_with_ignored_pixels_are_those_of_the_pixels_that_are_left(
    images: tuple[Masks, Maps, Ignored], limit: float
) -> None:
    masks, maps, ignore = images
    metrics = pixel_metrics(masks, maps, fpr_limits={"pro": limit}, ignore=ignore)
    assert metrics["pro"] == pytest.approx(brute_force_aupro(masks, maps, limit, ignore), abs=1e-12)
    assert aupro(masks, maps, fpr_limit=limit, ignore=ignore) == metrics["pro"]
    left = [~ignored for ignored in ignore]
    defect = np.concatenate([mask[kept] != 0 for mask, kept in zip(masks, left, strict=True)])
    scores = np.concatenate([one[kept] for one, kept in zip(maps, left, strict=True)])
    assert metrics["pixel_auroc"] == pytest.approx(roc_auc_score(defect, scores), abs=1e-12)
    assert metrics["pixel_ap"] == pytest.approx(average_precision_score(defect, scores), abs=1e-12)


@pytest.mark.parametrize("bounds", [(1e-4, 1e-2), (1e-3, 1e-1)])
def test_aupimo_agrees_with_the_reference(golden: Golden, bounds: tuple[float, float]) -> None:
    masks, maps, reference = golden
    with np.load(GOLDEN / "metrics.npz") as arrays:
        per_image = arrays[f"aupimo_{bounds[0]}_{bounds[1]}"]
    values = aupimo(masks, maps, fpr_bounds=bounds)
    np.testing.assert_allclose(values, per_image, atol=5e-3)  # the reference samples thresholds
    assert np.nanmean(values) == pytest.approx(reference[f"anomalib_aupimo_{bounds[0]}_{bounds[1]}_mean"], abs=5e-4)


@given(images=tiny_images(), bounds=st.sampled_from([(0.01, 0.1), (0.05, 0.6), (0.2, 1.0)]))
@settings(deadline=None)
def test_aupimo_equals_brute_force(images: tuple[Masks, Maps], bounds: tuple[float, float]) -> None:
    np.testing.assert_allclose(aupimo(*images, fpr_bounds=bounds), brute_force_aupimo(*images, *bounds), atol=1e-12)


@given(images=ignored_images(), bounds=st.sampled_from([(0.01, 0.1), (0.05, 0.6), (0.2, 1.0)]))
@settings(deadline=None)
def test_aupimo_with_ignored_pixels_equals_brute_force(
    images: tuple[Masks, Maps, Ignored], bounds: tuple[float, float]
) -> None:
    masks, maps, ignore = images
    found = aupimo(masks, maps, fpr_bounds=bounds, ignore=ignore)
    np.testing.assert_allclose(found, brute_force_aupimo(masks, maps, *bounds, ignore), atol=1e-12)


@given(images=tiny_images())
@settings(deadline=None)
def test_ignoring_no_pixel_changes_no_bit(images: tuple[Masks, Maps]) -> None:
    none = nothing(images[0])
    assert pixel_metrics(*images, ignore=none) == pixel_metrics(*images)
    np.testing.assert_array_equal(aupimo(*images, ignore=none), aupimo(*images))


@given(images=tiny_images(), seed=st.integers(0, 999))
@settings(deadline=None)
def test_an_image_that_is_ignored_as_a_whole_might_as_well_not_be_there(images: tuple[Masks, Maps], seed: int) -> None:
    masks, maps = images
    wild = np.random.default_rng(seed).normal(0, 99, (2, 3, 5)).astype(np.float32)
    wild[0, 0, 0] = np.nan
    more = ([*masks, np.eye(3, 5, dtype=np.uint8), np.zeros((3, 5), np.uint8)], [*maps, *wild])
    ignore = nothing(masks) + [np.ones((3, 5), bool)] * 2
    assert pixel_metrics(*more, ignore=ignore) == pixel_metrics(masks, maps)
    np.testing.assert_array_equal(aupimo(*more, ignore=ignore), [*aupimo(masks, maps), np.nan, np.nan])


def test_a_region_that_an_ignored_strip_cuts_in_two_counts_twice_and_a_covered_one_not_at_all() -> None:
    mask = np.zeros((5, 9), np.uint8)
    mask[1], mask[4, :2] = 1, 1
    ignore = np.zeros((5, 9), np.uint8)
    ignore[:2, 3], ignore[4] = 7, 7
    pool = PixelPool()
    pool.add(mask, np.zeros((5, 9)), ignore)
    assert pool.region_count == 2
    assert float(pool.total.defect) == 8
    assert float(pool.total.normal) == 45 - 8 - 2 - 9


def test_perfect_and_inverted_maps_score_one_and_zero() -> None:
    mask = np.zeros((1, 8, 8), bool)
    mask[0, 2:4, 2:4] = True
    masks = np.concatenate([mask, np.zeros_like(mask)])
    perfect = masks.astype(np.float32)
    assert pixel_metrics(masks, perfect)["pro"] == pixel_metrics(masks, perfect)["pixel_ap"] == 1.0
    assert aupimo(masks, perfect)[0] == 1.0
    assert aupro(masks, -perfect) == pixel_metrics(masks, -perfect)["pixel_auroc"] == aupimo(masks, -perfect)[0] == 0.0


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_no_rounding_takes_a_perfect_score_past_one(seed: int) -> None:
    generator = np.random.default_rng(seed)
    masks = generator.random((3, 9, 11)) < 0.3
    masks[0], masks[1, 0, 0] = False, True
    maps = generator.random(masks.shape).astype(np.float32) + masks
    assert max(*pixel_metrics(masks, maps).values(), np.nanmax(aupimo(masks, maps))) <= 1.0
    assert min(*pixel_metrics(masks, maps).values(), np.nanmin(aupimo(masks, maps))) >= 1 - 1e-12


def test_scores_that_differ_only_in_double_precision_do_not_tie() -> None:
    masks = np.array([[[0, 1]]])
    assert pixel_metrics(masks, np.array([[[1.0, 1.0 + 1e-12]]]))["pixel_auroc"] == 1.0


@pytest.mark.parametrize(
    ("mask", "reason"),
    [([[0, 0]], "no image has a defect pixel"), ([[1, 1]], "no image has a normal pixel")],
)
def test_pixel_metrics_without_a_class_are_undefined(mask: list[list[int]], reason: str) -> None:
    with pytest.raises(Undefined, match=reason):
        aupro(np.array([mask]), np.zeros((1, 1, 2)))


def test_nan_and_missing_images_are_undefined() -> None:
    with pytest.raises(Undefined, match="image 1 has NaN"):
        aupro(np.eye(2)[None].repeat(2, 0), np.array([[[1.0, 2], [3, 4]], [[1, np.nan], [3, 4]]]))
    with pytest.raises(Undefined, match="image 0 has NaN"):
        aupimo(np.eye(2)[None], np.full((1, 2, 2), np.nan))
    with pytest.raises(Undefined, match="no image is without defect"):
        aupimo(np.eye(2)[None], np.ones((1, 2, 2)))
    with pytest.raises(Undefined, match="no image has a defect pixel"):
        aupro([], [])
    with pytest.raises(Undefined, match="no image has a defect pixel"):
        aupro(np.eye(2)[None], np.ones((1, 2, 2)), ignore=np.eye(2)[None])
    with pytest.raises(Undefined, match="no image is without defect"):
        aupimo(np.zeros((1, 2, 2)), np.ones((1, 2, 2)), ignore=np.ones((1, 2, 2)))


def test_impossible_arguments_are_refused() -> None:
    masks, maps = np.eye(2)[None], np.ones((1, 2, 2))
    with pytest.raises(ValueError, match="1 masks but 2 anomaly maps"):
        aupro(masks, maps.repeat(2, 0))
    with pytest.raises(ValueError, match="image 0: mask"):
        aupro(masks, np.ones((1, 2, 3)))
    with pytest.raises(ValueError, match="image 0: mask"):
        aupimo(masks, np.ones((1, 2, 3)))
    with pytest.raises(ValueError, match="1 masks but 2 ignore masks"):
        aupro(masks, maps, ignore=masks.repeat(2, 0))
    with pytest.raises(ValueError, match=r"image 0: ignore mask \(2, 3\)"):
        aupimo(masks, maps, ignore=np.ones((1, 2, 3)))
    with pytest.raises(ValueError, match="fpr_limit"):
        aupro(masks, maps, fpr_limit=0.0)
    with pytest.raises(ValueError, match="fpr_bounds"):
        aupimo(masks, maps, fpr_bounds=(1e-3, 1e-3))


def made_images(count: int = 6) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Half of the images without defect; scores without ties."""
    generator = np.random.default_rng(1)
    masks = (generator.random((count, 24, 24)) < 0.1).astype(np.uint8)
    masks[: count // 2] = 0
    return masks, (generator.normal(size=masks.shape) + 1.5 * masks).astype(np.float32)


def test_bootstrap_equals_metrics_of_the_repeated_images() -> None:
    masks, maps = made_images()
    pool = pool_images(masks, maps, None)
    exact = measure_pool(pool, fpr_limits=FPR_LIMITS)
    resampled = bootstrap_pixel_metrics(pool.per_image(512), exact, fpr_limits=FPR_LIMITS, resamples=150, seed=4)
    draws = draw_images(np.arange(len(masks)) >= len(masks) // 2, 150, seed=4).astype(int)
    for resample in (0, 99, 149):
        chosen = np.repeat(np.arange(6), draws[resample])
        for name, value in pixel_metrics(masks[chosen], maps[chosen]).items():
            assert resampled[name][resample] == pytest.approx(value, abs=4e-3), name


@pytest.mark.parametrize("bounds", [(1e-3, 1e-2), (1e-2, 1e-1)])
def test_aupimo_bootstrap_equals_aupimo_of_the_repeated_images(bounds: tuple[float, float]) -> None:
    masks, maps = made_images(10)
    pool = pool_images(masks, maps, None)
    exact = measure_aupimo(pool, bounds)
    np.testing.assert_array_equal(exact, aupimo(masks, maps, fpr_bounds=bounds))
    resampled = bootstrap_aupimo(pool, exact, bounds, resamples=150, seed=4)
    draws = draw_images(np.arange(len(masks)) >= len(masks) // 2, 150, seed=4).astype(int)
    values = []
    for draw in draws[:20]:
        chosen = np.repeat(np.arange(10), draw)
        values.append(np.nanmean(aupimo(masks[chosen], maps[chosen], fpr_bounds=bounds)))
    assert np.std(values) > 0.01
    np.testing.assert_allclose(resampled[:20], values, atol=2e-4)


@given(images=tiny_images(), factor=st.sampled_from([0.25, 3.0]), offset=st.integers(-5, 5))
def test_strictly_increasing_maps_of_scores_change_no_pixel_metric(
    images: tuple[Masks, Maps], factor: float, offset: int
) -> None:
    masks, maps = images
    moved = [np.exp(factor * one.astype(np.float64)) + offset for one in maps]
    assert pixel_metrics(masks, moved) == pixel_metrics(masks, maps)
    np.testing.assert_array_equal(aupimo(masks, moved), aupimo(masks, maps))


@given(images=tiny_images())
def test_swapped_classes_and_negated_scores_keep_the_area(images: tuple[Masks, Maps]) -> None:
    masks, maps = images
    swapped = pixel_metrics([mask == 0 for mask in masks], [-one for one in maps])
    assert swapped["pixel_auroc"] == pytest.approx(pixel_metrics(masks, maps)["pixel_auroc"], abs=1e-12)


@given(images=tiny_images())
def test_no_threshold_has_a_better_f1_than_the_oracle(images: tuple[Masks, Maps]) -> None:
    defect = np.concatenate([mask.ravel() != 0 for mask in images[0]])
    scores = np.concatenate([one.ravel() for one in images[1]])
    best = max(2 * (defect & (scores >= t)).sum() / ((scores >= t).sum() + defect.sum()) for t in np.unique(scores))
    assert pixel_metrics(*images)["pixel_f1_oracle"] == pytest.approx(best, abs=1e-12)


def test_images_of_equal_scores_rank_like_chance() -> None:
    masks, _ = made_images()
    metrics = pixel_metrics(masks, np.full(masks.shape, 2.5))
    assert metrics["pixel_auroc"] == 0.5
    assert metrics["pixel_ap"] == pytest.approx(masks.mean())
    assert metrics["pixel_f1_oracle"] == pytest.approx(2 * masks.mean() / (1 + masks.mean()))
    assert (metrics["pro"], metrics["pro_strict"]) == pytest.approx((0.15, 0.025))
    assert np.nanmax(aupimo(masks, np.full(masks.shape, 2.5))) == 0.0
