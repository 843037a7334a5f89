"""Scores of another method in evaluation: pixel metrics where it gave maps, a reason where it gave none."""

import numpy as np
import pytest

from patchshift.evaluation.evaluate import PIXEL_METRICS, evaluate_target
from patchshift.plan.specs import EvaluationSpec

LABELS = np.array([0, 0, 1, 1])
SCORES = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
MASKS = np.zeros((4, 24, 24), bool)
MASKS[2:, 6:12, 6:12] = True


def test_without_maps_images_are_ranked_and_pixels_are_not() -> None:
    maps = np.zeros((4, 0, 0), np.float32)
    result = evaluate_target(LABELS, SCORES, maps, MASKS, input_size=(0, 0), spec=EvaluationSpec())
    assert result["metrics"]["image_auroc"]["value"] == pytest.approx(1)
    for name in PIXEL_METRICS:
        assert result["metrics"][name] == {"undefined": "the method gave no maps"}
    assert result["counts"] == {"normal": 2, "anomalous": 2, "regions": None}


def test_a_category_without_masks_is_the_reason_that_comes_first() -> None:
    maps = np.zeros((4, 0, 0), np.float32)
    result = evaluate_target(LABELS, SCORES, maps, [], input_size=(0, 0), spec=EvaluationSpec(), has_masks=False)
    assert result["metrics"]["pro"] == {"undefined": "the dataset has no masks for this category"}


def test_maps_of_pixels_are_measured_as_they_are_where_nothing_is_smoothed() -> None:
    random = np.random.default_rng(0)
    maps = (MASKS + random.random(MASKS.shape)).astype(np.float32)
    spec = EvaluationSpec(smoothing_sigma=0.0)
    result = evaluate_target(LABELS, SCORES, maps, MASKS, input_size=(24, 24), spec=spec)
    for name in PIXEL_METRICS:
        assert result["metrics"][name]["value"] == pytest.approx(1)
