import numpy as np
import pytest

from patchshift.evaluation.pixel_metrics import FPR_LIMITS, measure_counts, measure_pool
from patchshift.evaluation.pixel_pool import PixelCounts, PixelPool, count_regions


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
    (counts,) = pool.blocks()
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
    histograms, counts = pool.per_image(64), pool.total
    assert histograms.normal.shape[0] == 3
    assert histograms.normal.shape[1] <= 64
    assert histograms.normal.sum(axis=1).tolist() != [0, 0, 0]
    for part in ("normal", "defect", "regions"):
        assert getattr(histograms, part).sum() == pytest.approx(getattr(counts, part))


def test_histograms_of_few_distinct_scores_are_exact() -> None:
    pool = filled_pool(1)
    histograms = pool.per_image(512)
    whole = type(histograms)(histograms.normal.sum(0), histograms.defect.sum(0), histograms.regions.sum(0))
    exact = measure_pool(pool, fpr_limits=FPR_LIMITS)
    for name, value in measure_counts(whole, fpr_limits=FPR_LIMITS).items():
        assert value == pytest.approx(exact[name], abs=1e-12), name


def test_histograms_come_close_to_exact_metrics() -> None:
    pool = filled_pool(None)
    histograms = pool.per_image(256)
    whole = type(histograms)(histograms.normal.sum(0), histograms.defect.sum(0), histograms.regions.sum(0))
    exact = measure_pool(pool, fpr_limits=FPR_LIMITS)
    for name, value in measure_counts(whole, fpr_limits=FPR_LIMITS).items():
        assert value == pytest.approx(exact[name], abs=0.02), name


@pytest.mark.parametrize("levels", [None, 4, 1])
@pytest.mark.parametrize("size", [1, 20, 300])
def test_small_blocks_say_what_one_block_says(levels: int | None, size: int) -> None:
    pool = filled_pool(levels)
    (whole,) = pool.blocks()
    blocks = list(pool.blocks(size))
    assert len(blocks) > 1
    for kind in ("normal", "defect", "regions"):
        # a block without defect pixels is one group more, and so are the two ends where blocks meet
        joined = np.concatenate([getattr(block, kind) for block in blocks])
        assert joined.sum() == pytest.approx(getattr(whole, kind).sum(), abs=1e-9)
        assert joined[joined > 0].size >= np.count_nonzero(getattr(whole, kind))
    merged = PixelCounts(*(np.concatenate([getattr(block, kind) for block in blocks]) for kind in vars(whole)))
    expected = measure_counts(whole, fpr_limits=FPR_LIMITS)
    for name, value in measure_counts(merged, fpr_limits=FPR_LIMITS).items():
        assert value == pytest.approx(expected[name], abs=1e-12), name


def test_metrics_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = filled_pool(None)
    whole = measure_pool(pool, fpr_limits=FPR_LIMITS)
    small = [list(pool.blocks(size)) for size in (1, 50, 5000)]
    assert [len(blocks) > 1 for blocks in small] == [True, True, False]
    for blocks in small:
        monkeypatch.setattr(PixelPool, "blocks", lambda _, blocks=blocks: iter(blocks))
        for name, value in measure_pool(pool, fpr_limits=FPR_LIMITS).items():
            assert value == pytest.approx(whole[name], abs=1e-12), name


def test_infinite_scores_are_ranked() -> None:
    pool = PixelPool()
    pool.add(np.array([[0, 0, 1, 1]]), np.array([[-np.inf, np.inf, 3, np.inf]]))
    metrics = measure_pool(pool, fpr_limits=FPR_LIMITS)
    assert metrics["pixel_auroc"] == pytest.approx((1 + 0.5 + 1 + 0) / 4)
    assert pool.per_image(16).defect.sum() == 2
