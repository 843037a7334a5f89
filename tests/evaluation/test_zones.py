import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from patchshift.data.index import ImageRow, add_digests
from patchshift.data.packs import write_pack
from patchshift.evaluation.calibration import ZoneThresholds
from patchshift.evaluation.policies import POLICIES
from patchshift.evaluation.scored import ScoredImages
from patchshift.evaluation.undefined import Undefined
from patchshift.evaluation.zones import (
    NO_DEFECT,
    calibrate_zones,
    judge_zones,
    name_zone,
    number_zones,
    score_zones,
    spread_thresholds,
)
from patchshift.plan.score_specs import ScoringSpec
from patchshift.plan.threshold_specs import PolicySpec, ZonesSpec

SIDE = 16
F1_MAX = PolicySpec(policy="f1_max")
MAX_NORMAL = PolicySpec(policy="max_normal")
HALVES = ZonesSpec(rows=1, columns=2)
MakePack = Callable[..., Path]


def scored(maps: np.ndarray, labels: list[int] | np.ndarray) -> ScoredImages:
    maps = np.asarray(maps, np.float32)
    return ScoredImages(
        images=[str(number) for number in range(len(maps))],
        labels=np.asarray(labels, np.int64),
        relabelled=np.zeros(len(maps), bool),
        defects=["spot" * int(label) for label in labels],
        scores=maps.reshape(len(maps), -1).max(axis=1),
        maps=maps,
        input_size=(SIDE, SIDE),
        parts={},
        facts={},
        members=[],
        scoring=ScoringSpec(),
    )


@pytest.fixture
def pack(tmp_path: Path) -> MakePack:
    """The pack of some images, with the rectangles (rows, columns) that their masks mark, and one that is ignored."""

    def write(
        images: ScoredImages,
        marked: dict[int, tuple[slice, slice]] | None = None,
        ignored: tuple[slice, slice] | None = None,
    ) -> Path:
        def draw(name: str, where: tuple[slice, slice]) -> str:
            mask = np.zeros((SIDE, SIDE), np.uint8)
            mask[where] = 1
            Image.fromarray(mask).save(tmp_path / name)
            return name

        Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "image.png")
        rows = []
        for number, (key, label) in enumerate(zip(images.images, images.labels.tolist(), strict=True)):
            where = (marked or {}).get(number)
            mask = draw(f"mask{number}.png", where) if where else ""
            ignore = draw("ignore.png", ignored) if ignored else ""
            rows.append(ImageRow("image.png", mask, "", label, "spot" * label, key, ignore=ignore))
        path = tmp_path / "pack.h5"
        write_pack(path, add_digests(rows, tmp_path), tmp_path, {})
        return path

    return write


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 16), st.integers(1, 16))
def test_zones_are_rectangles_of_patches_whose_sides_differ_by_one_at_most(
    height: int, width: int, rows: int, columns: int
) -> None:
    if height < rows or width < columns:
        with pytest.raises(Undefined, match=f"{rows} x {columns} zones are more than the {height} x {width} patches"):
            number_zones((height, width), rows, columns)
        return
    zones = number_zones((height, width), rows, columns)
    down, across = zones[:, 0] // columns, zones[0] % columns
    np.testing.assert_array_equal(zones, down[:, None] * columns + across)
    for along, count in ((down, rows), (across, columns)):
        sizes = np.bincount(along, minlength=count)
        assert (np.diff(along) >= 0).all()
        assert set(sizes) <= {len(along) // count, -(-len(along) // count)}


def test_a_zones_score_is_its_largest_patch_that_counts() -> None:
    maps = np.random.default_rng(0).normal(size=(5, 6, 4)).astype(np.float32)
    ignored = np.zeros(maps.shape, bool)
    ignored[:, :2, :3] = True
    scores = score_zones(maps, ignored, 3, 2)
    assert scores.shape == (5, 6)
    np.testing.assert_array_equal(scores[:, 0], np.full(5, -np.inf))
    np.testing.assert_array_equal(scores[:, 1], maps[:, :2, 3].max(axis=1))
    np.testing.assert_array_equal(scores[:, 5], maps[:, 4:, 2:].max(axis=(1, 2)))
    np.testing.assert_array_equal(score_zones(maps, None, 1, 1)[:, 0], maps.max(axis=(1, 2)))


def test_each_zone_has_the_threshold_of_its_own_scores(pack: MakePack) -> None:
    maps = np.random.default_rng(0).lognormal(size=(12, 4, 4))
    images = scored(maps, [0] * 8 + [1] * 4)
    marked = {number: (slice(0, 4), slice(0, 4) if number < 10 else slice(9, 14)) for number in range(8, 12)}
    path = pack(images, marked)
    thresholds, guarantee = calibrate_zones(F1_MAX, HALVES, [(images, path)])
    assert (thresholds.rows, thresholds.columns, guarantee) == (1, 2, None)
    left, right = images.maps[:, :, :2].max(axis=(1, 2)), images.maps[:, :, 2:].max(axis=(1, 2))
    # an anomalous image has no part in the zone that its defect does not touch
    first = POLICIES["f1_max"](F1_MAX, left[:10], np.arange(10) >= 8)
    second = POLICIES["f1_max"](F1_MAX, right[[*range(8), 10, 11]], np.arange(10) >= 8)
    assert thresholds.thresholds == (first.threshold, second.threshold)
    assert thresholds.undefined == (None, None)
    normal, _ = calibrate_zones(MAX_NORMAL, HALVES, [(images, path)])
    expected = [np.nextafter(side[:8].max(), np.float32(np.inf)) for side in (left, right)]
    assert normal.thresholds == tuple(map(float, expected))


def test_a_defect_belongs_to_every_zone_that_it_touches_outside_of_ignored_regions(pack: MakePack) -> None:
    images = scored(np.random.default_rng(1).lognormal(size=(6, 4, 4)), [0, 0, 0, 0, 1, 1])
    across = {4: (slice(0, 2), slice(6, 9)), 5: (slice(0, 2), slice(6, 9))}  # a pixel reaches into the right half
    thresholds, _ = calibrate_zones(F1_MAX, HALVES, [(images, pack(images, across))])
    assert thresholds.undefined == (None, None)
    hidden, _ = calibrate_zones(F1_MAX, HALVES, [(images, pack(images, across, (slice(0, 16), slice(8, 9))))])
    assert hidden.undefined == (None, NO_DEFECT)


def test_a_zone_without_defects_has_the_threshold_of_the_whole_image(pack: MakePack) -> None:
    images = scored(np.random.default_rng(2).lognormal(size=(9, 4, 4)), [0] * 6 + [1] * 3)
    path = pack(images, {6: (slice(0, 2), slice(0, 2)), 7: (slice(0, 2), slice(0, 2))})  # image 8 marks nothing
    thresholds, _ = calibrate_zones(F1_MAX, HALVES, [(images, path)])
    assert thresholds.undefined == (None, NO_DEFECT)
    whole = POLICIES["f1_max"](F1_MAX, images.maps.max(axis=(1, 2)), images.labels == 1)
    assert thresholds.thresholds[1] == whole.threshold
    left = images.maps[:8, :, :2].max(axis=(1, 2))
    assert thresholds.thresholds[0] == POLICIES["f1_max"](F1_MAX, left, images.labels[:8] == 1).threshold


def test_without_any_anomalous_image_policies_that_need_one_are_undefined_in_all_zones(pack: MakePack) -> None:
    images = scored(np.ones((4, 4, 4)), [0] * 4)
    thresholds, _ = calibrate_zones(F1_MAX, HALVES, [(images, pack(images))])
    assert thresholds.thresholds == (None, None)
    assert thresholds.undefined == ("no anomalous validation image",) * 2


def test_a_zone_that_is_ignored_everywhere_decides_nothing(pack: MakePack) -> None:
    images = scored(np.random.default_rng(3).lognormal(size=(6, 4, 4)), [0] * 6)
    thresholds, _ = calibrate_zones(MAX_NORMAL, HALVES, [(images, pack(images, ignored=(slice(0, 16), slice(0, 8))))])
    assert thresholds.thresholds[0] is None
    assert thresholds.undefined == ("this zone is ignored in all validation images", None)
    verdict = judge_zones(thresholds, np.full((1, 4, 4), 99, np.float32), None)
    assert verdict.fired == ["r1c2"]


def test_more_zones_than_patches_say_so(pack: MakePack) -> None:
    images = scored(np.ones((3, 2, 2)), [0] * 3)
    thresholds, _ = calibrate_zones(MAX_NORMAL, ZonesSpec(rows=1, columns=3), [(images, pack(images))])
    assert thresholds.undefined == ("1 x 3 zones are more than the 2 x 2 patches of this detector: ask for fewer",) * 3
    none = dataclasses.replace(images, maps=np.zeros((3, 0, 0), np.float32))
    thresholds, _ = calibrate_zones(MAX_NORMAL, HALVES, [(none, pack(none))])
    assert thresholds.undefined == ("the method gave no maps",) * 2


def test_all_zones_together_keep_the_conformal_false_alarm_rate(pack: MakePack) -> None:
    """10 % over 2 x 2 zones of one shared noise and of independent ones: the rate of new images, over many sets."""
    policy, zones = PolicySpec(policy="conformal", false_alarm_rate=0.2), ZonesSpec(rows=2, columns=2)
    random = np.random.default_rng(4)
    alarms = []
    for _ in range(40):
        images = scored(random.normal(size=(39, 2, 2)), [0] * 39)
        path = pack(images)
        thresholds, guarantee = calibrate_zones(policy, zones, [(images, path)])
        new = random.normal(size=(500, 2, 2)).astype(np.float32)
        alarms.append(np.mean([fired != "" for fired in judge_zones(thresholds, new, None).fired]))
    # independent zones: 1 - (1 - 1/20)^4 = 0.185; with the whole rate in each zone it would be 0.59
    assert 0.15 < np.mean(alarms) < 0.2
    assert guarantee == (
        "of new normal images at most 20 % are called defective, on average over validation sets: 39 exchangeable "
        "normal validation images; each of the 4 zones at most 5 % (Bonferroni)"
    )
    few = scored(random.normal(size=(18, 2, 2)), [0] * 18)
    thresholds, guarantee = calibrate_zones(policy, zones, [(few, pack(few))])
    assert guarantee is None
    assert thresholds.undefined[0] == (
        "a false-alarm rate of 5 % needs at least 19 normal validation images, and there are 18 "
        "(the rate is divided by 4 zones)"
    )


@pytest.mark.parametrize(("columns", "count"), [(3, 29), (6, 59)])
def test_the_rate_of_a_zone_is_the_exact_fraction(pack: MakePack, columns: int, count: int) -> None:
    """A rate of 0.1 / 3 takes 29 images, whose highest score the threshold passes; rounded up a little, it takes 30."""
    images = scored(np.random.default_rng(6).normal(size=(count, 1, columns)), [0] * count)
    policy, zones = PolicySpec(policy="conformal", false_alarm_rate=0.1), ZonesSpec(rows=1, columns=columns)
    thresholds, guarantee = calibrate_zones(policy, zones, [(images, pack(images))])
    highest = images.maps[:, 0].max(axis=0)
    assert thresholds.thresholds == tuple(np.nextafter(highest, np.float32(np.inf)).astype(float).tolist())
    assert guarantee is not None
    fewer = scored(images.maps[1:], [0] * (count - 1))
    thresholds, _ = calibrate_zones(policy, zones, [(fewer, pack(fewer))])
    assert thresholds.undefined[0] is not None
    assert f"needs at least {count} normal validation images, and there are {count - 1}" in thresholds.undefined[0]


def test_evt_is_asked_for_the_rate_of_a_zone(pack: MakePack) -> None:
    images = scored(np.random.default_rng(5).lognormal(size=(200, 2, 2)), [0] * 200)
    policy = PolicySpec(policy="evt", false_alarm_rate=0.04, tail_share=0.1)
    thresholds, guarantee = calibrate_zones(policy, HALVES, [(images, pack(images))])
    shared = policy.model_copy(update={"false_alarm_rate": 0.02})
    for side, threshold in enumerate(thresholds.thresholds):
        scores = images.maps[:, :, side].max(axis=1)
        assert threshold == POLICIES["evt"](shared, scores, np.zeros(200, bool)).threshold
    assert guarantee is None


THRESHOLDS = ZoneThresholds(2, 2, (1.0, 2.0, None, 0.1), (None, None, "why", None))


def test_an_image_is_defective_where_any_zone_is_at_or_above_its_threshold() -> None:
    maps = np.array(
        [
            [[0.5, 1.5], [9.0, 0.0]],
            [[1.0, 1.5], [9.0, 0.0]],
            [[3.0, 2.5], [9.0, np.nextafter(np.float32(0.1), np.float32(0))]],
            [[np.nan, 2.5], [9.0, 0.0]],
        ],
        np.float32,
    )
    verdict = judge_zones(THRESHOLDS, maps, None)
    assert verdict.fired[:3] == ["", "r1c1", "r1c1 r1c2"]
    assert (verdict.margins >= 0).tolist() == [False, True, True, False]
    assert verdict.margins[0] == pytest.approx(-0.1)
    assert np.isnan(verdict.margins[3])
    assert verdict.margins.dtype == np.float32
    ignored = np.zeros(maps.shape, bool)
    ignored[:, 0, 0] = True
    assert judge_zones(THRESHOLDS, maps, ignored).fired == ["", "", "r1c2", "r1c2"]
    ignored[:] = True
    assert np.isfinite(judge_zones(THRESHOLDS, maps, ignored).margins).all()  # nothing to see is nothing found


def test_no_image_is_decided_where_no_zone_has_a_threshold() -> None:
    nothing = ZoneThresholds(1, 2, (None, None), ("first", "second"))
    with pytest.raises(Undefined, match="first"):
        judge_zones(nothing, np.ones((1, 2, 2), np.float32), None)


def test_patches_have_the_thresholds_of_their_zones() -> None:
    spread = spread_thresholds(THRESHOLDS, (3, 3))
    np.testing.assert_array_equal(spread, np.array([[1, 1, 2], [1, 1, 2], [np.inf, np.inf, 0.1]], np.float32))


def test_zones_are_named_by_row_and_column_from_the_upper_left() -> None:
    assert [name_zone(zone, 3) for zone in range(6)] == ["r1c1", "r1c2", "r1c3", "r2c1", "r2c2", "r2c3"]
