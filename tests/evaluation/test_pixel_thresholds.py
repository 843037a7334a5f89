import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import f1_score

from patchshift.data.index import ImageRow, add_digests
from patchshift.data.packs import Pack, write_pack
from patchshift.evaluation import pixel_thresholds
from patchshift.evaluation.anomaly_maps import upsample_map
from patchshift.evaluation.pixel_thresholds import PixelScores, calibrate_pixels
from patchshift.evaluation.policies import POLICIES
from patchshift.evaluation.scored import ScoredImages
from patchshift.plan.score_specs import AnomalyMapSpec, ScoringSpec
from patchshift.plan.threshold_specs import FROM_BOTH, PolicySpec

SIDE, GRID, SIGMA = 24, 6, 2.0
SPECS = {
    "f1_max": {},
    "youden": {},
    "cost": {"miss_cost": 20, "false_alarm_cost": 1, "prevalence": 0.02},
    "max_normal": {},
    "normal_quantile": {"quantile": 0.99},
    "mean_std": {"deviations": 2.5},
    "evt": {"false_alarm_rate": 0.001, "tail_share": 0.1},
}
POLICY = {name: PolicySpec.model_validate({"policy": name, **settings}) for name, settings in SPECS.items()}
MakePack = Callable[..., Path]


def make(count: int = 8, seed: int = 0, first: int = 0, **scoring: Any) -> ScoredImages:
    """Images of which every other one has a defect in its upper left corner."""
    random = np.random.default_rng(seed)
    maps = random.lognormal(0, 0.3, (count, GRID, GRID)).astype(np.float32)
    labels = np.arange(count) % 2
    maps[labels == 1, :2, :2] += 1
    return ScoredImages(
        images=[f"{first + number}" for number in range(count)],
        labels=labels,
        relabelled=np.zeros(count, bool),
        defects=["spot" * label for label in labels.tolist()],
        scores=maps.max(axis=(1, 2)),
        maps=maps,
        input_size=(12, 12),
        parts={},
        facts={},
        members=[],
        scoring=ScoringSpec(**scoring),
    )


@pytest.fixture
def pack(tmp_path: Path) -> MakePack:
    """The pack of some images; those named have no mask."""

    def write(images: ScoredImages, unmarked: str = "", ignored: bool = False) -> Path:
        Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "image.png")
        mask, ignore = np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), np.uint8)
        mask[:7, :7], ignore[:3] = 1, 1
        Image.fromarray(mask).save(tmp_path / "mask.png")
        Image.fromarray(ignore).save(tmp_path / "ignore.png")
        rows = [
            ImageRow(
                "image.png", "mask.png" if label and key not in unmarked else "", "", int(label), "spot" * label, key,
                ignore="ignore.png" if ignored else "",
            )
            for key, label in zip(images.images, images.labels.tolist(), strict=True)
        ]  # fmt: skip
        path = tmp_path / f"pack{images.images[0]}.h5"
        write_pack(path, add_digests(rows, tmp_path), tmp_path, {})
        return path

    return write


def pool(images: ScoredImages, path: Path, numbers: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of all pixels that count, by the definition."""
    scores, labels = [], []
    with Pack(path) as opened:
        for number in numbers:
            row = opened.rows([images.images[number]])[0]
            pixels = upsample_map(
                images.maps[number], images.input_size, (SIDE, SIDE), SIGMA, images.scoring.anomaly_map
            )
            kept = ~opened.ignore(row)
            scores.append(pixels[kept])
            labels.append(opened.mask(row)[kept])
    return np.concatenate(scores), np.concatenate(labels)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("ignored", [False, True])
def test_a_policy_sees_the_pixels_of_smoothed_maps_that_count(pack: MakePack, name: str, ignored: bool) -> None:
    images = make()
    path = pack(images, ignored=ignored)
    found = calibrate_pixels(POLICY[name], [(images, path)], smoothing_sigma=SIGMA)
    scores, labels = pool(images, path, list(range(8)) if name in FROM_BOTH else [0, 2, 4, 6])
    expected = POLICIES[name](POLICY[name], scores, labels)
    assert (found.threshold, found.criterion) == (expected.threshold, expected.criterion)
    assert (found.normal, found.anomalous) == ((~labels).sum(), labels.sum())
    assert (found.policy, found.undefined) == (name, None)


def test_f1_of_pixels_is_the_highest_of_all_thresholds(pack: MakePack) -> None:
    images = make(4)
    path = pack(images)
    found = calibrate_pixels(POLICY["f1_max"], [(images, path)], smoothing_sigma=SIGMA)
    scores, labels = pool(images, path, [0, 1, 2, 3])
    best = max(f1_score(labels, scores >= threshold) for threshold in np.unique(scores)[::7])
    assert found.criterion is not None
    assert found.criterion >= best
    assert f1_score(labels, scores >= np.float32(found.threshold)) == pytest.approx(found.criterion)


def test_maps_come_to_pixels_as_the_detector_says(pack: MakePack) -> None:
    plain, nearest = make(), make(anomaly_map=AnomalyMapSpec(upsampling="nearest"))
    path = pack(plain)
    thresholds = {
        calibrate_pixels(POLICY["max_normal"], [(images, path)], smoothing_sigma=sigma).threshold
        for images in (plain, nearest)
        for sigma in (0.0, SIGMA)
    }
    assert len(thresholds) == 4


def test_defective_images_whose_mask_marks_nothing_are_left_out(pack: MakePack) -> None:
    images = make()
    path = pack(images, unmarked="37")
    found = calibrate_pixels(POLICY["f1_max"], [(images, path)], smoothing_sigma=SIGMA)
    scores, labels = pool(images, path, [0, 1, 2, 4, 5, 6])
    assert found.threshold == POLICIES["f1_max"](POLICY["f1_max"], scores, labels).threshold
    assert found.anomalous == 2 * 49


def test_policies_of_normal_images_never_see_an_anomalous_one(pack: MakePack) -> None:
    images = make()
    path = pack(images)
    changed = dataclasses.replace(images, maps=np.where(images.labels[:, None, None] == 1, np.nan, images.maps))
    for name in SPECS.keys() - set(FROM_BOTH):
        first, second = (
            calibrate_pixels(POLICY[name], [(each, path)], smoothing_sigma=SIGMA) for each in (images, changed)
        )
        assert first == second
        assert first.anomalous == 0


def test_synthetic_defects_join_with_masks_of_their_own(pack: MakePack) -> None:
    images, made = make(), make(seed=1, first=20)
    paths = pack(images), pack(made)
    found = calibrate_pixels(POLICY["youden"], list(zip((images, made), paths, strict=True)), smoothing_sigma=SIGMA)
    parts = [pool(each, path, list(range(8))) for each, path in zip((images, made), paths, strict=True)]
    scores, labels = (np.concatenate(each) for each in zip(*parts, strict=True))
    assert found.threshold == POLICIES["youden"](POLICY["youden"], scores, labels).threshold


def normal_only(images: ScoredImages) -> ScoredImages:
    return dataclasses.replace(images, labels=np.zeros(len(images.images), int))


@pytest.mark.parametrize(
    ("name", "change", "unmarked", "reason"),
    [
        ("f1_max", normal_only, "", "no anomalous validation image"),
        ("f1_max", lambda images: images, "01234567", "no validation image has a mask that marks a defect"),
        ("mean_std", lambda images: dataclasses.replace(images, labels=images.labels | 1), "", "no normal validation"),
        (
            "max_normal",
            lambda images: dataclasses.replace(images, maps=images.maps[:, :0, :0]),
            "",
            "the method gave no maps",
        ),
        (
            "f1_max",
            lambda images: dataclasses.replace(images, maps=np.where(np.arange(8)[:, None, None] < 2, np.nan, 1)),
            "",
            "the map of 2 of 8 validation images is not finite",
        ),
        ("f1_max", lambda images: dataclasses.replace(images, maps=images.maps * 0 + 1), "", "do not differ"),
    ],
)
def test_what_a_policy_lacks_leaves_it_undefined_with_the_reason(
    pack: MakePack, name: str, change: Callable[[ScoredImages], ScoredImages], unmarked: str, reason: str
) -> None:
    images = make()
    path = pack(images, unmarked=unmarked)
    found = calibrate_pixels(POLICY[name], [(change(images), path)], smoothing_sigma=SIGMA)
    assert found.threshold is None
    assert reason in str(found.undefined)


def draw(seed: int, normal: int, defect: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.lognormal(0, 0.4, normal).astype(np.float32), random.lognormal(0.7, 0.4, defect).astype(np.float32)


def gather(images: list[tuple[np.ndarray, np.ndarray]], largest: int) -> PixelScores:
    ends = [float(scores.max()) for image in images for scores in image if scores.size]
    pixels = PixelScores(0.0, max(ends), largest)
    for normal, defect in images:
        pixels.add(normal, defect)
    return pixels


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("defect", [40, 3000])
def test_many_pixels_give_a_threshold_within_the_stated_bound(name: str, defect: int) -> None:
    images = [draw(seed, 20_000, defect if name in FROM_BOTH else 0) for seed in range(5)]
    exact, many = (gather(images, largest).choose(POLICY[name]) for largest in (10**6, 10_000))
    normal, anomalous = (np.concatenate(each) for each in zip(*images, strict=True))
    level = float(max(normal.max(), anomalous.max(initial=0))) / pixel_thresholds.LEVELS
    threshold = np.float32(many.threshold)
    if name in FROM_BOTH:
        assert exact.criterion is not None
        assert many.criterion is not None
        found, flagged = (anomalous >= threshold).sum(), (normal >= threshold).sum()
        again = {
            "f1_max": 2 * found / (found + flagged + len(anomalous)),
            "youden": found / len(anomalous) - flagged / len(normal),
            "cost": 0.4 * (1 - found / len(anomalous)) + 0.98 * flagged / len(normal),
        }[name]
        assert many.criterion == pytest.approx(again, rel=1e-12)  # exact at the threshold that was chosen
        near = [(normal >= exact.threshold - level).sum(), (normal >= exact.threshold).sum()]
        slack = np.ptp(near) / (len(anomalous) if name == "f1_max" else len(normal))
        assert abs(many.criterion - exact.criterion) <= 2 * slack + 1e-12
        assert many.threshold == pytest.approx(exact.threshold, abs=2 * level)
    elif name == "max_normal":
        assert many.threshold == exact.threshold
    else:
        share = abs(int((normal >= threshold).sum()) - int((normal >= exact.threshold).sum())) / len(normal)
        assert share <= (2 / 10_000 if name != "evt" else 1e-4)


def test_the_order_statistics_of_many_pixels_keep_every_share(monkeypatch: pytest.MonkeyPatch) -> None:
    images = [draw(seed, 30_000, 0) for seed in range(3)]
    seen: list[np.ndarray] = []
    choose = POLICIES["max_normal"]
    monkeypatch.setitem(POLICIES, "max_normal", lambda *given: seen.append(given[1]) or choose(*given))
    gather(images, 5000).choose(POLICY["max_normal"])
    normal, (sample,) = np.sort(np.concatenate([scores for scores, _ in images])), seen
    assert sample.shape == (5000,)
    level = float(normal.max()) / pixel_thresholds.LEVELS
    for threshold in np.quantile(normal, np.linspace(0, 1, 301)):
        low, high = ((normal >= threshold + shift).mean() for shift in (level, -level))
        assert low - 1 / 5000 <= (sample >= threshold).mean() <= high + 1 / 5000


@pytest.mark.parametrize("quantile", [0.28, 0.55, 0.9])
def test_a_quantile_of_many_pixels_is_that_of_all(quantile: float) -> None:
    """Where a share is a whole number of pixels no rounding moves it, kept or counted."""
    normal = np.random.default_rng(7).permutation(100_000).astype(np.float32)
    policy = PolicySpec(policy="normal_quantile", quantile=quantile)
    whole = round(quantile * 100_000)
    thresholds = [gather([(normal, normal[:0])], largest).choose(policy).threshold for largest in (10**6, 100)]
    assert thresholds[0] == np.nextafter(np.float32(whole - 1), np.float32(np.inf))
    assert abs(thresholds[1] - thresholds[0]) <= 100_000 / 100


def test_images_are_counted_alike_in_whatever_order_they_come() -> None:
    images = [draw(seed, 7000, 500) for seed in range(4)]
    choices = {gather(order, 9000).choose(POLICY["f1_max"]) for order in (images, images[::-1])}
    assert len(choices) == 1


def test_many_equal_pixels_have_no_threshold_of_two_classes() -> None:
    constant = np.ones(2000, np.float32)
    pixels = PixelScores(1.0, 1.0, largest=100)
    pixels.add(constant, constant)
    with pytest.raises(pixel_thresholds.Undefined, match="do not differ"):
        pixels.choose(POLICY["f1_max"])
    alone = PixelScores(1.0, 1.0, largest=100)
    alone.add(constant, constant[:0])
    assert alone.choose(POLICY["max_normal"]).threshold == np.nextafter(np.float32(1), np.float32(2))
