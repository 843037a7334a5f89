import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from patchshift.app.detector import Detector, Prediction
from patchshift.app.heatmaps import LARGEST, choose_masks, draw_heatmap, find_mask
from patchshift.app.latency import Latency
from patchshift.app.models import ExportedModel
from patchshift.evaluation.calibration import PixelThreshold, ZoneThresholds
from patchshift.plan.score_specs import ImageScoreSpec
from patchshift.report.pictures import IGNORED_GREY, MASK_COLOUR


@pytest.fixture
def exported(model: Path) -> ExportedModel:
    loaded = ExportedModel.load(model)
    calibration = dataclasses.replace(loaded.calibration, threshold=5.0, pixels=None)
    return dataclasses.replace(loaded, calibration=calibration, patch_range=(1.0, 9.0))


def predict(patches: Any, size: tuple[int, int]) -> Prediction:
    scores = np.array(patches, np.float32)
    anomaly_map = np.kron(scores, np.ones((size[0] // scores.shape[0], size[1] // scores.shape[1]), np.float32))
    return Prediction("a.png", float(scores.max()), 0.0, 5.0, True, None, anomaly_map, scores, Latency())


def test_a_mask_marks_the_patches_at_or_above_the_threshold(exported: ExportedModel) -> None:
    mask = find_mask(exported, predict([[1, 5], [4.99, 9]], (4, 6)))
    assert mask is not None
    np.testing.assert_array_equal(mask, np.repeat([[False] * 3 + [True] * 3], 4, axis=0))
    ignored = dataclasses.replace(exported, ignore=np.array([[False, True], [False, False]]))
    mask = find_mask(ignored, predict([[1, 5], [4.99, 9]], (4, 6)))
    assert mask is not None
    assert not mask[:2].any()
    assert mask[2:, 3:].all()


@pytest.mark.parametrize("score", [{"method": "top_share", "share": 0.1}, {"method": "max", "reweight_neighbours": 3}])
def test_without_a_threshold_of_patches_there_is_no_mask(exported: ExportedModel, score: dict[str, Any]) -> None:
    scoring = exported.scoring.model_copy(update={"image_score": ImageScoreSpec.model_validate(score)})
    other = dataclasses.replace(exported, scoring=scoring)
    assert choose_masks(other) is None
    assert find_mask(other, predict([[9]], (2, 2))) is None


def with_pixels(exported: ExportedModel, threshold: float | None) -> ExportedModel:
    pixels = PixelThreshold("max_normal", threshold, None if threshold else "why", normal=9, anomalous=0)
    return dataclasses.replace(exported, calibration=dataclasses.replace(exported.calibration, pixels=pixels))


def test_a_threshold_of_pixels_marks_the_map_as_it_is_shown(exported: ExportedModel) -> None:
    model = with_pixels(exported, 4.5)
    prediction = dataclasses.replace(predict([[1, 5], [4.99, 9]], (4, 6)), patch_scores=np.zeros((2, 2), np.float32))
    mask = find_mask(model, prediction)
    assert mask is not None
    np.testing.assert_array_equal(mask, prediction.anomaly_map >= 4.5)
    ignored = find_mask(dataclasses.replace(model, ignore=np.array([[False, True], [False, False]])), prediction)
    assert ignored is not None
    assert mask[:2, 3:].all()
    assert not ignored[:2].any()
    np.testing.assert_array_equal(ignored[2:], mask[2:])


def test_without_a_threshold_of_pixels_masks_are_those_of_the_image_threshold(exported: ExportedModel) -> None:
    prediction = predict([[1, 5], [4.99, 9]], (4, 6))
    assert choose_masks(with_pixels(exported, 4.5)) == "pixels"
    undefined = with_pixels(exported, None)
    assert choose_masks(undefined) == "image"
    np.testing.assert_array_equal(find_mask(undefined, prediction), find_mask(exported, prediction))


@pytest.mark.parametrize("score", [{"method": "max"}, {"method": "top_share", "share": 0.1}])
def test_zones_mark_the_patches_at_or_above_the_threshold_of_their_zone(
    exported: ExportedModel, score: dict[str, Any]
) -> None:
    zones = ZoneThresholds(1, 2, (1.0, None), (None, "why"))
    model = dataclasses.replace(
        exported,
        calibration=dataclasses.replace(exported.calibration, zones=zones),
        scoring=exported.scoring.model_copy(update={"image_score": ImageScoreSpec.model_validate(score)}),
    )
    assert choose_masks(model) == "zones"
    mask = find_mask(model, predict([[1, 5], [0.99, 9]], (4, 6)))
    np.testing.assert_array_equal(mask, np.repeat([[True] * 3 + [False] * 3, [False] * 6], 2, axis=0))
    undecided = dataclasses.replace(model.calibration, zones=dataclasses.replace(zones, thresholds=(None, None)))
    assert choose_masks(dataclasses.replace(model, calibration=undecided)) is None


def test_colours_do_not_depend_on_the_threshold_of_pixels(exported: ExportedModel) -> None:
    prediction, grey = predict([[1, 3], [5, 9]], (64, 64)), np.full((64, 64, 3), 128, np.uint8)
    plain, other = (draw_heatmap(each, prediction, grey, None) for each in (exported, with_pixels(exported, 2.0)))
    np.testing.assert_array_equal(plain, other)


def test_colours_brighten_with_the_map_and_the_mask_is_outlined(exported: ExportedModel) -> None:
    prediction, grey = predict([[1, 3], [5, 9]], (64, 64)), np.full((64, 64, 3), 128, np.uint8)
    plain = draw_heatmap(exported, prediction, grey, None).astype(int)
    brightness = [plain[row, column].sum() for row, column in ((16, 16), (16, 48), (48, 16), (48, 48))]
    assert brightness == sorted(brightness)
    assert len(set(brightness)) == 4
    outlined = draw_heatmap(exported, prediction, grey, find_mask(exported, prediction))
    assert (outlined[31, 16] == MASK_COLOUR).all()
    assert (outlined[48, 16] == plain[48, 16]).all()


def test_heatmaps_of_large_images_are_shown_smaller(exported: ExportedModel) -> None:
    prediction, pixels = (
        predict([[1, 9]], (LARGEST // 2, 2 * LARGEST)),
        np.zeros((LARGEST // 2, 2 * LARGEST, 3), np.uint8),
    )
    assert draw_heatmap(exported, prediction, pixels, find_mask(exported, prediction)).shape == (
        LARGEST // 4,
        LARGEST,
        3,
    )


def test_a_real_prediction_can_be_drawn(line: Any, model: Path) -> None:
    detector = Detector.load(model)
    image = detector.open(sorted(line.images.rglob("*.png"))[0])
    (prediction,) = detector.predict([image])
    mask = find_mask(detector.model, prediction)
    assert draw_heatmap(detector.model, prediction, image.pixels, mask).shape == image.pixels.shape


def test_what_is_ignored_is_grey_however_anomalous(exported: ExportedModel) -> None:
    ignored = dataclasses.replace(exported, ignore=np.array([[False, True], [False, False]]))
    prediction, pixels = predict([[1, 9], [9, 1]], (64, 64)), np.full((64, 64, 3), 128, np.uint8)
    heatmap = draw_heatmap(ignored, prediction, pixels, find_mask(ignored, prediction))
    assert np.ptp(heatmap[:32, 34:].astype(int), axis=2).max() == 0
    assert (heatmap[:32, 34:] == IGNORED_GREY).any()  # hatched
    assert np.ptp(heatmap[40:, 4:28].astype(int), axis=2).min() > 50
