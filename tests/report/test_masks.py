from dataclasses import replace

import numpy as np
import pytest

from patchshift.evaluation.calibration import Calibration, PixelThreshold, ZoneThresholds
from patchshift.plan.score_specs import ImageScoreSpec
from patchshift.report.masks import MASKS, choose_masks, find_mask, spread_patches

PLAIN = Calibration("f1_max", 5.0, None, normal=9, anomalous=4, criterion=None, guarantee=None)
LARGEST = ImageScoreSpec(method="max")
PATCHES = np.array([[1, 5], [4.99, 9]], np.float32)


def test_a_threshold_of_pixels_goes_before_zones_and_these_before_the_images() -> None:
    pixels = PixelThreshold("max_normal", 4.0, None, normal=9, anomalous=0)
    zones = ZoneThresholds(1, 2, (1.0, None), (None, "why"))
    assert choose_masks(PLAIN, LARGEST) == "image"
    assert choose_masks(replace(PLAIN, zones=zones), LARGEST) == "zones"
    assert choose_masks(replace(PLAIN, zones=zones, pixels=pixels), LARGEST) == "pixels"
    assert choose_masks(replace(PLAIN, pixels=replace(pixels, threshold=None)), LARGEST) == "image"
    assert choose_masks(PLAIN, ImageScoreSpec(method="top_share", share=0.1)) is None
    assert choose_masks(replace(PLAIN, threshold=None), LARGEST) is None


@pytest.mark.parametrize("kind", MASKS)
def test_what_is_ignored_is_never_marked(kind: str) -> None:
    calibration = replace(
        PLAIN,
        pixels=PixelThreshold("max_normal", 0.0, None, normal=9, anomalous=0),
        zones=ZoneThresholds(1, 1, (0.0,), (None,)),
        threshold=0.0,
    )
    ignored = np.array([[False, True], [False, False]])
    mask = find_mask(kind, calibration, PATCHES, spread_patches(PATCHES, (4, 6)), ignored)
    np.testing.assert_array_equal(mask, ~spread_patches(ignored, (4, 6)))


def test_patches_at_the_threshold_are_marked_as_the_rectangles_that_they_are() -> None:
    mask = find_mask("image", PLAIN, PATCHES, np.zeros((4, 5), np.float32), None)
    np.testing.assert_array_equal(mask, [[False] * 3 + [True] * 2] * 4)
