from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from patchshift.data.splits import write_split
from patchshift.detectors.scores import Scores, write_scores
from patchshift.evaluation.anomaly_maps import upsample_map
from patchshift.evaluation.aupimo import aupimo
from patchshift.evaluation.evaluate import IMAGE_METRICS, PIXEL_METRICS, decide_target, evaluate_target
from patchshift.evaluation.image_metrics import DECISION_METRICS, rank_images
from patchshift.evaluation.pixel_metrics import pixel_metrics
from patchshift.evaluation.thresholds import calibrate
from patchshift.plan.score_specs import AnomalyMapSpec, ScoringSpec
from patchshift.plan.specs import EvaluationSpec
from patchshift.runtime.files import read_json

SPEC = EvaluationSpec(bootstrap_resamples=200, smoothing_sigma=1.0)
INPUT_SIZE = (32, 32)


class Target:
    """Twelve images of three sizes; every other one has a defect that its map sees, mostly."""

    def __init__(self) -> None:
        generator = np.random.default_rng(2)
        self.labels = np.arange(12) % 2
        self.patch_maps = generator.normal(size=(12, 8, 8)).astype(np.float32)
        self.masks: list[npt.NDArray[np.bool_]] = []
        for image, label in enumerate(self.labels):
            mask = np.zeros([(40, 40), (32, 56), (21, 30)][image % 3], bool)
            if label:
                height, width = mask.shape
                mask[: height // 4, : width // 2] = True
                self.patch_maps[image, :2, :4] += 1.5
            self.masks.append(mask)
        self.scores = self.patch_maps.max(axis=(1, 2))


@pytest.fixture(scope="module")
def target() -> Target:
    return Target()


def test_evaluation_equals_its_parts_and_intervals_hold_the_values(target: Target) -> None:
    result = evaluate_target(
        target.labels, target.scores, target.patch_maps, target.masks, input_size=INPUT_SIZE, spec=SPEC
    )
    assert result["counts"] == {"normal": 6, "anomalous": 6, "regions": 6}
    maps = [
        upsample_map(one, INPUT_SIZE, mask.shape, 1.0)
        for one, mask in zip(target.patch_maps, target.masks, strict=True)
    ]
    expected = pixel_metrics(target.masks, maps)
    expected["aupimo"] = float(np.nanmean(aupimo(target.masks, maps)))
    expected |= rank_images(target.labels, target.scores)
    for name, value in expected.items():
        assert result["metrics"][name]["value"] == pytest.approx(value, abs=1e-12), name
    assert set(result["metrics"]) == {*IMAGE_METRICS, *PIXEL_METRICS} == set(expected)
    for name, metric in result["metrics"].items():
        assert 0 <= metric["low"] <= metric["value"] <= metric["high"] <= 1, name


def test_limits_and_bounds_of_the_spec_are_those_of_the_metrics(target: Target) -> None:
    limits = {"pro": 0.6, "pro_strict": 0.2}
    spec = SPEC.model_copy(
        update={"pro_fpr_limit": 0.6, "pro_strict_fpr_limit": 0.2, "aupimo_fpr_bounds": (0.01, 0.3), "confidence": 0.8}
    )
    arguments = (target.labels, target.scores, target.patch_maps, target.masks)
    ours = evaluate_target(*arguments, input_size=INPUT_SIZE, spec=SPEC)["metrics"]
    result = evaluate_target(*arguments, input_size=INPUT_SIZE, spec=spec)["metrics"]
    maps = [
        upsample_map(one, INPUT_SIZE, mask.shape, 1.0)
        for one, mask in zip(target.patch_maps, target.masks, strict=True)
    ]
    expected = pixel_metrics(target.masks, maps, fpr_limits=limits)
    expected["aupimo"] = float(np.nanmean(aupimo(target.masks, maps, fpr_bounds=(0.01, 0.3))))
    for name, value in expected.items():
        assert result[name]["value"] == pytest.approx(value, abs=1e-12), name
    for name in ("pro", "pro_strict", "aupimo"):
        assert result[name]["value"] != ours[name]["value"], name
    assert ours["image_auroc"]["low"] < result["image_auroc"]["low"]


def test_a_detector_with_its_own_way_to_pixels_is_evaluated_by_it(target: Target) -> None:
    way = AnomalyMapSpec(upsampling="nearest", border="mirror")
    arguments = (target.labels, target.scores, target.patch_maps, target.masks)
    result = evaluate_target(*arguments, input_size=INPUT_SIZE, spec=SPEC, anomaly_map=way)
    maps = [
        upsample_map(one, INPUT_SIZE, mask.shape, 1.0, way)
        for one, mask in zip(target.patch_maps, target.masks, strict=True)
    ]
    ours = evaluate_target(*arguments, input_size=INPUT_SIZE, spec=SPEC)
    for name, value in pixel_metrics(target.masks, maps).items():
        assert result["metrics"][name]["value"] == pytest.approx(value, abs=1e-12), name
        assert result["metrics"][name] != ours["metrics"][name], name
    assert result["metrics"]["image_auroc"] == ours["metrics"]["image_auroc"]


def test_evaluation_reads_maps_and_masks_one_at_a_time(target: Target) -> None:
    alive = 0

    def stream() -> Iterator[npt.NDArray[np.bool_]]:
        nonlocal alive
        for mask in target.masks:
            alive += 1
            yield mask

    def maps() -> Iterator[npt.NDArray[np.float32]]:
        for index, patch_map in enumerate(target.patch_maps):
            assert alive == index
            yield patch_map

    streamed = evaluate_target(target.labels, target.scores, maps(), stream(), input_size=INPUT_SIZE, spec=SPEC)
    assert streamed == evaluate_target(
        target.labels, target.scores, target.patch_maps, target.masks, input_size=INPUT_SIZE, spec=SPEC
    )


def test_evaluation_leaves_ignored_pixels_out_of_pixel_metrics_alone(target: Target) -> None:
    ignore: list[npt.NDArray[np.bool_]] = [np.zeros(mask.shape, bool) for mask in target.masks]
    for one in ignore[::3]:
        one[:, : one.shape[1] // 4] = True
    arguments = (target.labels, target.scores, target.patch_maps, target.masks)
    result = evaluate_target(*arguments, input_size=INPUT_SIZE, spec=SPEC, ignore=iter(ignore))
    whole = evaluate_target(*arguments, input_size=INPUT_SIZE, spec=SPEC)
    maps = [
        upsample_map(one, INPUT_SIZE, mask.shape, 1.0)
        for one, mask in zip(target.patch_maps, target.masks, strict=True)
    ]
    for name, value in pixel_metrics(target.masks, maps, ignore=ignore).items():
        metric = result["metrics"][name]
        assert metric["value"] == pytest.approx(value, abs=1e-12), name
        assert metric["low"] <= metric["value"] <= metric["high"], name
        assert metric != whole["metrics"][name], name
    for name in IMAGE_METRICS:
        assert result["metrics"][name] == whole["metrics"][name]


def test_evaluation_with_empty_ignore_masks_changes_no_bit(target: Target) -> None:
    arguments = (target.labels, target.scores, target.patch_maps, target.masks)
    none = [np.zeros(mask.shape, bool) for mask in target.masks]
    ignoring = evaluate_target(*arguments, input_size=INPUT_SIZE, spec=SPEC, ignore=none)
    assert ignoring == evaluate_target(*arguments, input_size=INPUT_SIZE, spec=SPEC)


def test_without_masks_only_image_metrics_are_defined(target: Target) -> None:
    result = evaluate_target(
        target.labels, target.scores, target.patch_maps, [], input_size=INPUT_SIZE, spec=SPEC, has_masks=False
    )
    assert result["counts"]["regions"] is None
    assert "value" in result["metrics"]["image_auroc"]
    for name in PIXEL_METRICS:
        assert result["metrics"][name] == {"undefined": "the dataset has no masks for this category"}


def test_a_target_of_normal_images_has_reasons_instead_of_values(target: Target) -> None:
    normal = target.labels == 0
    result = evaluate_target(
        target.labels[normal],
        target.scores[normal],
        target.patch_maps[normal],
        [mask for mask in target.masks if not mask.any()],
        input_size=INPUT_SIZE,
        spec=SPEC,
    )
    for names, reason in ((IMAGE_METRICS, "no anomalous image"), (PIXEL_METRICS, "no image has a defect pixel")):
        assert all(result["metrics"][name] == {"undefined": reason} for name in names)


def test_a_target_of_anomalous_images_has_all_pixel_metrics_but_aupimo(target: Target) -> None:
    anomalous = target.labels == 1
    masks = [mask for mask in target.masks if mask.any()]
    metrics = evaluate_target(
        target.labels[anomalous], target.scores[anomalous], target.patch_maps[anomalous], masks,
        input_size=INPUT_SIZE, spec=SPEC,
    )["metrics"]  # fmt: skip
    assert all(metrics[name] == {"undefined": "no normal image"} for name in IMAGE_METRICS)
    assert metrics.pop("aupimo") == {"undefined": "no image is without defect"}
    for name in set(PIXEL_METRICS) - {"aupimo"}:
        assert 0 <= metrics[name]["low"] <= metrics[name]["value"] <= metrics[name]["high"] <= 1, name


def test_equal_scores_and_maps_are_chance_with_intervals(target: Target) -> None:
    flat = np.ones_like(target.patch_maps)
    metrics = evaluate_target(
        target.labels, flat.max(axis=(1, 2)), flat, target.masks, input_size=INPUT_SIZE, spec=SPEC
    )["metrics"]
    expected = {"image_auroc": 0.5, "image_ap": 0.5, "image_f1_oracle": 2 / 3, "fpr_at_95_tpr": 1.0,
                "pixel_auroc": 0.5, "pro": 0.15, "pro_strict": 0.025, "aupimo": 0.0}  # fmt: skip
    for name, value in expected.items():
        assert metrics[name]["value"] == pytest.approx(value), name
        assert metrics[name]["low"] == pytest.approx(metrics[name]["high"]), name


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("normal", [1, 2, 5])
@pytest.mark.parametrize("anomalous", [1, 2])
def test_targets_of_a_few_images_have_finite_intervals_without_warnings(
    target: Target, normal: int, anomalous: int
) -> None:
    chosen = np.concatenate([np.flatnonzero(target.labels == 0)[:normal], np.flatnonzero(target.labels)[:anomalous]])
    masks = [target.masks[image] for image in chosen]
    labels, scores = target.labels[chosen], target.scores[chosen]
    ranked = evaluate_target(labels, scores, target.patch_maps[chosen], masks, input_size=INPUT_SIZE, spec=SPEC)
    calibration = calibrate("f1_max", np.array([0, np.median(scores)], np.float32), np.array([0, 1]))
    for name, metric in {**ranked["metrics"], **decide_target(labels, scores, calibration, SPEC)["metrics"]}.items():
        if "low" in metric:
            assert 0 <= metric["low"] <= metric["value"] <= metric["high"] <= 1, name
        else:
            assert "undefined" in metric or name == "f1_floor"


def test_a_target_without_images_has_reasons_instead_of_values() -> None:
    empty = np.empty(0, np.int64)
    result = evaluate_target(empty, empty.astype(np.float32), [], [], input_size=INPUT_SIZE, spec=SPEC)
    assert result["metrics"]["image_auroc"] == {"undefined": "no image"}
    assert result["metrics"]["pixel_ap"] == {"undefined": "no image has a defect pixel"}


def test_nan_makes_metrics_undefined_with_that_reason(target: Target) -> None:
    patch_maps, scores = target.patch_maps.copy(), target.scores.copy()
    patch_maps[5, 0, 0], scores[5] = np.nan, np.nan
    metrics = evaluate_target(target.labels, scores, patch_maps, target.masks, input_size=INPUT_SIZE, spec=SPEC)[
        "metrics"
    ]
    assert metrics["image_ap"] == {"undefined": "the score of 1 of 12 images is not finite"}
    assert metrics["pixel_ap"] == {"undefined": "the anomaly map of image 5 has NaN"}


def test_too_few_masks_are_refused(target: Target) -> None:
    with pytest.raises(ValueError, match="zip"):
        evaluate_target(
            target.labels, target.scores, target.patch_maps, target.masks[:-1], input_size=INPUT_SIZE, spec=SPEC
        )


def test_decisions_call_scores_at_the_threshold_defective() -> None:
    labels, scores = np.array([0, 0, 1, 1, 1]), np.array([1, 2, 2, 3, 1], np.float32)
    calibration = calibrate("f1_max", np.array([0, 2], np.float32), np.array([0, 1]))
    result = decide_target(labels, scores, calibration, SPEC)
    assert result["counts"] == {"tp": 2, "fp": 1, "tn": 1, "fn": 1}
    assert result["metrics"]["f1"]["value"] == pytest.approx(2 / 3)
    assert set(result["metrics"]) == set(DECISION_METRICS)
    assert result["metrics"].pop("f1_floor") == {"value": 0.75}
    for name, metric in result["metrics"].items():
        assert 0 <= metric["low"] <= metric["value"] <= metric["high"] <= 1, name


@pytest.mark.parametrize("name", ["f1", "accuracy", "balanced_accuracy", "precision"])
def test_no_decision_is_certain_where_all_are_right_or_all_are_called_defective(name: str) -> None:
    labels = np.repeat([0, 1], [20, 20])
    calibration = calibrate("f1_max", np.array([0, 1], np.float32), np.array([0, 1]))
    for called in (labels, np.ones(40)):
        metric = decide_target(labels, called.astype(np.float32), calibration, SPEC)["metrics"][name]
        assert metric["high"] - metric["low"] > 0.05


def test_decisions_without_a_threshold_are_undefined_with_its_reason() -> None:
    calibration = calibrate("f1_max", np.array([0.0]), np.array([0]))
    result = decide_target(np.array([0, 1]), np.array([0.0, 1.0]), calibration, SPEC)
    assert result["counts"] is None
    assert set(result["metrics"]) == set(DECISION_METRICS)
    assert all(metric == {"undefined": "no anomalous validation image"} for metric in result["metrics"].values())


def test_decisions_keep_what_a_one_class_target_still_defines() -> None:
    calibration = calibrate("f1_max", np.array([0, 2], np.float32), np.array([0, 1]))
    metrics = decide_target(np.array([0, 0, 0]), np.array([0.0, 1.0, 5.0]), calibration, SPEC)["metrics"]
    assert metrics["specificity"]["value"] == pytest.approx(2 / 3)
    assert metrics["f1"] == metrics["miss_rate"] == {"undefined": "no anomalous image"}
    assert metrics["balanced_accuracy"] == {"undefined": "one of the two classes has no image"}


def test_nan_scores_are_not_decided() -> None:
    calibration = calibrate("f1_max", np.array([0, 2], np.float32), np.array([0, 1]))
    metrics = decide_target(np.array([0, 1]), np.array([0.0, np.nan]), calibration, SPEC)["metrics"]
    assert metrics["recall"] == {"undefined": "the score of 1 of 2 images is not finite"}


def test_the_script_evaluates_maps_as_the_scores_say(make_category: Callable[..., Any], tmp_path: Path) -> None:
    category = make_category()
    write_split(tmp_path / "split.csv", category.split)
    images = category.split.of("test")
    maps = np.random.default_rng(0).normal(size=(len(images), 8, 6)).astype(np.float32)
    metrics = {}
    for name, way in (("ours", AnomalyMapSpec()), ("theirs", AnomalyMapSpec(upsampling="nearest", border="mirror"))):
        scores = Scores(maps.max(axis=(1, 2)), maps, scoring=ScoringSpec(anomaly_map=way))
        write_scores(tmp_path / "scores.h5", scores, images, (32, 24), {})
        files = {"scores": "scores.h5", "pack": "pack.h5", "split": "split.csv", "metrics": f"{name}.json"}
        arguments = [part for key, file in files.items() for part in (f"--{key}", str(tmp_path / file))]
        import_module("evaluate").main([*arguments, "--spec", SPEC.canonical(), "--stage", "1"])
        metrics[name] = read_json(tmp_path / f"{name}.json")["metrics"]
        rows = category.pack.rows(images)
        masks = [category.pack.mask(row) for row in rows]
        pixels = [upsample_map(one, (32, 24), mask.shape, 1.0, way) for one, mask in zip(maps, masks, strict=True)]
        expected = pixel_metrics(masks, pixels)
        assert metrics[name]["pixel_auroc"]["value"] == pytest.approx(expected["pixel_auroc"], abs=1e-12)
    assert metrics["ours"]["pixel_auroc"]["value"] != metrics["theirs"]["pixel_auroc"]["value"]
    assert metrics["ours"]["image_auroc"] == metrics["theirs"]["image_auroc"]
