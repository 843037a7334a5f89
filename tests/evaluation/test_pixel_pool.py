import numpy as np
import pytest

from patchshift.evaluation.pixel_metrics import measure_counts
from patchshift.evaluation.pixel_pool import PixelPool, count_regions


def filled_pool(levels: int | None) -> PixelPool:
    generator = np.random.default_rng(0)
    pool = PixelPool()
    for size in [(20, 30), (31, 7), (16, 16)]:
        mask = generator.random(size) < 0.1
        scores = generator.normal(size=size) + mask
        pool.add(mask, (scores if levels is None else np.floor(levels * scores)).astype(np.float32))
    return pool


def test_regions_are_eight_connected_and_count_one_each() -> None:
    pool = PixelPool()
    pool.add(np.array([[1, 0, 0], [0, 7, 0], [0, 0, 0], [0, 0, 1]]), np.ones((4, 3)))
    counts = pool.rank()
    assert pool.region_count == 2
    assert counts.regions.sum() == pytest.approx(2)
    assert (counts.normal.sum(), counts.defect.sum()) == (9, 3)


def test_regions_counted_without_scores_are_those_of_the_pool() -> None:
    generator = np.random.default_rng(0)
    pool, counted = PixelPool(), []
    for ignore in (None, generator.random((9, 12)) < 0.3):
        mask = 5 * (generator.random((9, 12)) < 0.2)
        pool.add(mask, np.zeros((9, 12)), ignore)
        counted.append(count_regions(mask, ignore))
    assert min(counted) > 1
    assert sum(counted) == pool.region_count


def test_histograms_keep_every_pixel_and_region() -> None:
    pool = filled_pool(None)
    histograms, counts = pool.per_image(64), pool.rank()
    assert histograms.normal.shape[0] == 3
    assert histograms.normal.shape[1] <= 64
    assert histograms.normal.sum(axis=1).tolist() != [0, 0, 0]
    for part in ("normal", "defect", "regions"):
        assert getattr(histograms, part).sum() == pytest.approx(getattr(counts, part).sum())


def test_histograms_of_few_distinct_scores_are_exact() -> None:
    pool = filled_pool(1)
    histograms = pool.per_image(512)
    whole = type(histograms)(histograms.normal.sum(0), histograms.defect.sum(0), histograms.regions.sum(0))
    exact = measure_counts(pool.rank(), fpr_limit=0.3)
    for name, value in measure_counts(whole, fpr_limit=0.3).items():
        assert value == pytest.approx(exact[name], abs=1e-12), name


def test_histograms_come_close_to_exact_metrics() -> None:
    pool = filled_pool(None)
    histograms = pool.per_image(256)
    whole = type(histograms)(histograms.normal.sum(0), histograms.defect.sum(0), histograms.regions.sum(0))
    exact = measure_counts(pool.rank(), fpr_limit=0.3)
    for name, value in measure_counts(whole, fpr_limit=0.3).items():
        assert value == pytest.approx(exact[name], abs=0.02), name


def test_histograms_after_ranking_are_refused() -> None:
    pool = filled_pool(None)
    pool.rank()
    with pytest.raises(ValueError, match="before rank"):
        pool.per_image(8)
