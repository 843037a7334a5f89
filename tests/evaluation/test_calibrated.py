import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.optimize import minimize

from patchshift.data.index import ImageRow, add_digests
from patchshift.data.packs import write_pack
from patchshift.evaluation.calibrated import (
    RANKED_ELSEWHERE,
    LogOdds,
    combine_images,
    count_calibrated,
    is_calibrated,
    rank_calibrated,
    read_calibration,
)
from patchshift.evaluation.calibration import PixelThreshold, Probabilities, ZoneThresholds
from patchshift.evaluation.evaluate import IMAGE_METRICS, PIXEL_METRICS, evaluate_images
from patchshift.evaluation.image_metrics import image_auroc
from patchshift.evaluation.log_odds import calibrate_combined, fit_log_odds
from patchshift.evaluation.pixel_thresholds import calibrate_pixels
from patchshift.evaluation.scored import ScoredImages
from patchshift.evaluation.thresholds import calibrate
from patchshift.evaluation.undefined import Undefined
from patchshift.evaluation.zones import calibrate_zones
from patchshift.plan.score_specs import ImageScoreSpec, ScoringSpec
from patchshift.plan.specs import EvaluationSpec
from patchshift.plan.threshold_specs import ThresholdSpec
from patchshift.runtime.files import write_json

F1_MAX = ThresholdSpec(policy="f1_max")
PROTOCOL = EvaluationSpec(bootstrap_resamples=100, smoothing_sigma=0)
SIDE = 8  # pixels, of 4 x 4 patches
MAX = ImageScoreSpec()


def make(count: int = 8, *, seed: int = 0, image_score: ImageScoreSpec = MAX, first: int = 0) -> ScoredImages:
    """Images of which every other one has a defect in its first patch: n is higher there, and p lower."""
    random = np.random.default_rng(seed)
    negative, positive = (random.lognormal(0, 0.5, (count, 4, 4)).astype(np.float32) for _ in range(2))
    labels = np.arange(count) % 2
    negative[labels == 1, 0, 0] += 1
    positive[labels == 1, 0, 0] /= 3
    return ScoredImages(
        images=[f"{first + number}" for number in range(count)],
        labels=labels,
        relabelled=np.zeros(count, bool),
        defects=["spot" * label for label in labels.tolist()],
        scores=np.log(negative / positive).max(axis=(1, 2)),
        maps=np.log(negative / positive),
        input_size=(SIDE, SIDE),
        parts={"negative": negative, "positive": positive},
        facts={},
        members=[],
        scoring=ScoringSpec(combination="calibrated", image_score=image_score),
    )


@pytest.fixture
def pack(tmp_path: Path) -> Any:
    """The pack of some images; `unmarked` ones have no mask."""

    def write(images: ScoredImages, unmarked: str = "", ignore: slice | None = None) -> Path:
        Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "image.png")
        mask, ignored = np.zeros((SIDE, SIDE), np.uint8), np.zeros((SIDE, SIDE), np.uint8)
        mask[:2, :2] = 1
        Image.fromarray(mask).save(tmp_path / "mask.png")
        if ignore:
            ignored[:, ignore] = 1
            Image.fromarray(ignored).save(tmp_path / "ignore.png")
        rows = [
            ImageRow(
                "image.png", "mask.png" if label and key not in unmarked else "", "", int(label), "spot" * label, key,
                ignore="ignore.png" if ignore else "",
            )
            for key, label in zip(images.images, images.labels.tolist(), strict=True)
        ]  # fmt: skip
        path = tmp_path / f"pack{images.images[0]}.h5"
        write_pack(path, add_digests(rows, tmp_path), tmp_path, {})
        return path

    return write


def logistic(images: ScoredImages, kept: np.ndarray) -> np.ndarray:
    """Intercept and weights by a general minimiser: the penalised likelihood of standardised logarithms."""
    points = np.stack([np.log(images.parts[name].astype(float) + 1e-6) for name in ("negative", "positive")], -1)[kept]
    labels = np.zeros(images.maps.shape, bool)
    labels[images.labels == 1, 0, 0] = True
    sign = np.where(labels[kept], 1, -1)
    mean, deviation = points.mean(0), points.std(0)
    standard = (points - mean) / deviation

    def loss(weights: np.ndarray) -> float:
        margin = sign * (weights[0] + standard @ weights[1:])
        return float(np.logaddexp(0, -margin).sum() + (weights[1:] ** 2).sum() / 2)

    found = minimize(loss, np.zeros(3), tol=1e-9).x
    slopes = found[1:] / deviation
    return np.array([found[0] - slopes @ mean, *slopes])


def weights_of(odds: LogOdds) -> list[float]:
    return [odds.intercept, odds.negative, odds.positive]


def test_log_odds_are_those_of_a_penalised_logistic_regression_on_patches(pack: Any) -> None:
    images = make()
    odds = fit_log_odds([(images, pack(images))])
    np.testing.assert_allclose(weights_of(odds), logistic(images, np.ones((8, 4, 4), bool)), rtol=1e-4)
    assert odds.negative > 0 > odds.positive


def test_ignored_patches_and_defective_images_without_mask_are_left_out(pack: Any) -> None:
    images = make(12)
    path = pack(images, unmarked="3", ignore=slice(4, 6))
    kept = np.ones((12, 4, 4), bool)
    kept[3], kept[:, :, 2] = False, False
    np.testing.assert_allclose(weights_of(fit_log_odds([(images, path)])), logistic(images, kept), rtol=1e-4)


def test_synthetic_defects_join_with_masks_of_their_own(pack: Any) -> None:
    images, made = make(), make(seed=1, first=20)
    joined = fit_log_odds([(images, pack(images)), (made, pack(made))])
    together = images.join(made)
    np.testing.assert_allclose(weights_of(joined), logistic(together, np.ones((16, 4, 4), bool)), rtol=1e-4)


@pytest.mark.parametrize("image_score", [MAX, ImageScoreSpec(method="top_share", share=0.25)])
@pytest.mark.parametrize("ignore", [None, slice(0, 4)])
def test_combined_maps_are_log_odds_and_scores_follow_the_detectors_own_rule(
    pack: Any, image_score: ImageScoreSpec, ignore: slice | None
) -> None:
    images = make(image_score=image_score)
    combined = combine_images(images, LogOdds(-1, 2, -0.5), pack(images, ignore=ignore))
    negative, positive = images.parts["negative"], images.parts["positive"]
    expected = -1 + 2 * np.log(negative + 1e-6) - 0.5 * np.log(positive + 1e-6)
    np.testing.assert_allclose(combined.maps, expected, rtol=1e-4, atol=1e-5)
    assert (combined.maps.dtype, combined.scores.dtype) == (np.float32, np.float32)
    seen = np.sort((combined.maps[:, :, 2:] if ignore else combined.maps).reshape(8, -1))
    count = 1 if image_score.share is None else round(0.25 * seen.shape[1])
    np.testing.assert_allclose(combined.scores, seen[:, -count:].mean(axis=1), rtol=1e-5)
    assert combined.images == images.images


def test_thresholds_are_of_the_combined_scores(pack: Any) -> None:
    images = make()
    path = pack(images)
    calibration, odds = calibrate_combined(F1_MAX, [(images, path)], smoothing_sigma=0)
    assert odds == fit_log_odds([(images, path)])
    combined = combine_images(images, odds, path)
    assert calibration == calibrate(F1_MAX, combined.scores, images.labels)
    assert calibration.threshold in combined.scores
    assert calibration.threshold not in images.scores


def test_other_detectors_are_calibrated_on_their_scores_as_they_are(pack: Any) -> None:
    images = make()
    path = pack(images)
    for other in (
        dataclasses.replace(images, scoring=ScoringSpec(combination="log_ratio")),
        dataclasses.replace(images, parts={}),  # no positive bank: a single one
    ):
        assert not is_calibrated(other)
        calibration, odds = calibrate_combined(F1_MAX, [(other, path)], smoothing_sigma=0)
        assert odds is None
        assert calibration == calibrate(F1_MAX, images.scores, images.labels)


def test_without_a_mask_on_validation_images_there_is_neither_combination_nor_threshold(pack: Any) -> None:
    images = make()
    calibration, odds = calibrate_combined(F1_MAX, [(images, pack(images, unmarked="01234567"))], smoothing_sigma=0)
    assert (calibration.threshold, calibration.criterion, odds) == (None, None, None)
    assert "no validation image has a mask that marks a defect" in str(calibration.undefined)
    assert (calibration.normal, calibration.anomalous) == (4, 4)


EVERYWHERE = ThresholdSpec.model_validate(
    {"policy": "f1_max", "pixels": {"policy": "youden"}, "zones": {"rows": 2, "columns": 2}}
)


def test_thresholds_of_pixels_and_zones_are_of_the_combined_maps(pack: Any) -> None:
    images = make()
    path = pack(images)
    calibration, odds = calibrate_combined(EVERYWHERE, [(images, path)], smoothing_sigma=1.5)
    assert odds is not None
    combined = combine_images(images, odds, path)
    assert EVERYWHERE.pixels is not None
    assert EVERYWHERE.zones is not None
    assert calibration.pixels == calibrate_pixels(EVERYWHERE.pixels, [(combined, path)], smoothing_sigma=1.5)
    assert calibration.zones == calibrate_zones(EVERYWHERE, EVERYWHERE.zones, [(combined, path)])[0]
    other = calibrate_pixels(EVERYWHERE.pixels, [(images, path)], smoothing_sigma=1.5)
    assert calibration.pixels.threshold != other.threshold
    assert calibration.threshold in combined.scores


def test_without_weights_nothing_has_a_threshold(pack: Any) -> None:
    images = make()
    calibration, _ = calibrate_combined(EVERYWHERE, [(images, pack(images, unmarked="01234567"))], smoothing_sigma=0)
    reason = calibration.undefined
    assert calibration.pixels == PixelThreshold("youden", None, reason, 0, 0)
    assert calibration.zones == ZoneThresholds(2, 2, (None,) * 4, (reason,) * 4)
    assert calibration.probabilities == Probabilities(None, None, (), (), reason)


def test_only_what_is_asked_for_is_calibrated(pack: Any) -> None:
    images = make()
    calibration, _ = calibrate_combined(F1_MAX, [(images, pack(images))], smoothing_sigma=0)
    assert (calibration.pixels, calibration.zones) == (None, None)


def test_the_guarantee_is_that_of_what_decides(pack: Any) -> None:
    images = dataclasses.replace(make(count=80), parts={})
    path = pack(images)
    whole = ThresholdSpec(policy="conformal", false_alarm_rate=0.1)
    zoned = ThresholdSpec.model_validate({**whole.model_dump(exclude_none=True), "zones": {"rows": 1, "columns": 2}})
    one, many = (calibrate_combined(spec, [(images, path)], smoothing_sigma=0)[0] for spec in (whole, zoned))
    assert one.guarantee == calibrate(whole, images.scores, images.labels).guarantee
    assert "each of the 2 zones at most 5 % (Bonferroni)" in str(many.guarantee)
    assert many.threshold == one.threshold  # what heatmaps are coloured by


@pytest.mark.parametrize("zones", [None, {"rows": 1, "columns": 2}])
def test_weights_fitted_to_the_images_that_set_the_threshold_leave_no_guarantee(
    pack: Any, zones: dict[str, int] | None
) -> None:
    images = make(count=80)
    spec = ThresholdSpec.model_validate({"policy": "conformal", "false_alarm_rate": 0.1, "zones": zones})
    calibration, odds = calibrate_combined(spec, [(images, pack(images))], smoothing_sigma=0)
    assert odds is not None
    assert calibration.threshold is not None
    assert calibration.zones is None or None not in calibration.zones.thresholds
    assert calibration.guarantee is None


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_distances_that_are_no_numbers_leave_it_undefined(pack: Any, value: float) -> None:
    images = make()
    images.parts["negative"][0, 1, 1] = value
    with pytest.raises(Undefined, match="not a finite number"):
        fit_log_odds([(images, pack(images))])


def test_validation_images_that_are_defective_all_over_leave_it_undefined(pack: Any) -> None:
    images = make()
    parts = {name: part[:, :1] for name, part in images.parts.items()}  # one row of patches, all but the first ignored
    images = dataclasses.replace(images, labels=np.ones(8, int), maps=images.maps[:, :1], parts=parts)
    with pytest.raises(Undefined, match="no patch of a validation image is normal"):
        fit_log_odds([(images, pack(images, ignore=slice(2, 8)))])


def test_ranking_is_that_of_combined_scores_and_maps(pack: Any) -> None:
    images = make()
    path = pack(images)
    odds = LogOdds(0, -1, 1)  # the wrong way round, so that scores as they are would rank better
    combined, metrics = rank_calibrated(images, odds, "", path, PROTOCOL)
    assert metrics["image_auroc"]["value"] == image_auroc(images.labels == 1, combined.scores)
    assert metrics["image_auroc"]["value"] < image_auroc(images.labels == 1, images.scores)
    assert metrics["pixel_auroc"]["value"] < 0.5
    np.testing.assert_array_equal(combined.maps, combine_images(images, odds, path).maps)


@pytest.mark.parametrize("ignore", [None, slice(0, 1)])
def test_what_each_calibration_ranks_is_counted_once_and_not_ranked(pack: Any, ignore: slice | None) -> None:
    images = make()
    path = pack(images, ignore=ignore)
    whole, counted = evaluate_images(images, path, PROTOCOL), count_calibrated(images, path)
    assert counted["counts"] == whole["counts"] == {"normal": 4, "anomalous": 4, "regions": 4}
    assert counted["metrics"] == {name: {"undefined": RANKED_ELSEWHERE} for name in whole["metrics"]}
    unmarked = pack(images, unmarked="01234567")
    assert count_calibrated(images, unmarked)["counts"]["regions"] is None


def test_without_weights_there_are_no_scores_and_no_ranking_but_a_reason(pack: Any) -> None:
    images = make()
    combined, metrics = rank_calibrated(images, None, "no mask", pack(images), PROTOCOL)
    assert np.isnan(combined.scores).all()
    assert set(metrics) == {*IMAGE_METRICS, *PIXEL_METRICS}
    assert all(estimate == {"undefined": "no mask"} for estimate in metrics.values())


def test_a_threshold_file_keeps_the_weights(tmp_path: Path, pack: Any) -> None:
    images = make()
    for parts, known in ((images.parts, True), ({}, False)):
        calibration, odds = calibrate_combined(
            F1_MAX, [(dataclasses.replace(images, parts=parts), pack(images))], smoothing_sigma=0
        )
        kept = dataclasses.asdict(odds) if odds else None
        write_json(
            tmp_path / "threshold.json", {**dataclasses.asdict(calibration), "combination": kept, "provenance": {}}
        )
        assert read_calibration(tmp_path / "threshold.json") == (calibration, odds)
        assert (odds is not None) == known
