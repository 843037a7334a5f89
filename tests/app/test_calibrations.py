import dataclasses
import math

import numpy as np
import pytest

from patchshift.app.calibrations import describe_calibration, judge_images
from patchshift.evaluation.calibration import PixelThreshold, ZoneThresholds
from patchshift.evaluation.probabilities import predict_probabilities
from patchshift.evaluation.thresholds import calibrate

SCORES = np.array([0.5, 1.0, 1.5, 2.0, 2.5, 3.0], np.float32)
CALIBRATION = calibrate("f1_max", SCORES, np.array([0, 0, 0, 1, 0, 1]))
ZONES = ZoneThresholds(1, 2, (2.0, None), (None, "no normal validation image"))
MAPS = np.array([[[1.0, 9.0]], [[2.0, 0.0]]], np.float32)
NEW = MAPS.max(axis=(1, 2))


def test_images_are_decided_by_their_score_and_have_probabilities() -> None:
    assert CALIBRATION.threshold == 2.0
    assert CALIBRATION.probabilities is not None
    verdicts = judge_images(CALIBRATION, NEW - 0.5, MAPS, None)
    assert [verdict.decision for verdict in verdicts] == [True, False]
    assert {verdict.threshold for verdict in verdicts} == {2.0}
    assert {verdict.zone for verdict in verdicts} == {""}
    platt, isotonic = predict_probabilities(CALIBRATION.probabilities, NEW - 0.5)
    assert [verdict.probability for verdict in verdicts] == platt.tolist()
    assert [verdict.probability_isotonic for verdict in verdicts] == isotonic.tolist()


def test_zones_decide_in_place_of_the_score() -> None:
    zoned = dataclasses.replace(CALIBRATION, zones=ZONES)
    verdicts = judge_images(zoned, NEW, MAPS, None)
    assert [verdict.decision for verdict in verdicts] == [False, True]  # the second zone has no threshold
    assert [verdict.zone for verdict in verdicts] == ["", "r1c1"]
    assert {verdict.threshold for verdict in verdicts} == {None}
    ignored = np.broadcast_to(np.array([[True, False]]), MAPS.shape)
    assert [verdict.decision for verdict in judge_images(zoned, NEW, MAPS, ignored)] == [False, False]


def test_what_is_undefined_has_a_reason_and_no_number() -> None:
    nothing = calibrate("f1_max", SCORES[:1], np.array([0]))
    (verdict,) = judge_images(nothing, NEW[:1], MAPS[:1], None)
    assert (verdict.decision, verdict.undefined) == (None, "no anomalous validation image")
    assert (verdict.probability, verdict.probability_isotonic, verdict.normalised_score) == (None, None, None)
    undecided = dataclasses.replace(ZONES, thresholds=(None, None), undefined=("first", "second"))
    (verdict,) = judge_images(dataclasses.replace(CALIBRATION, zones=undecided), NEW[:1], MAPS[:1], None)
    assert (verdict.decision, verdict.undefined, verdict.zone) == (None, "first", "")
    (verdict,) = judge_images(dataclasses.replace(CALIBRATION, probabilities=None), NEW[:1], MAPS[:1], None)
    assert verdict.probability is None


def test_a_calibration_is_told_with_pixels_zones_and_probabilities() -> None:
    pixels = PixelThreshold("max_normal", 1.25, None, normal=1000, anomalous=0)
    told = describe_calibration(dataclasses.replace(CALIBRATION, pixels=pixels, zones=ZONES))
    assert told["pixels"] == {
        "policy": "max_normal", "threshold": 1.25, "validation_pixels": {"normal": 1000, "defective": 0}
    }  # fmt: skip
    assert told["zones"] == {
        "rows": 1,
        "columns": 2,
        "thresholds_of_row_1": [2.0, None],
        "undefined": {"r1c2": "no normal validation image"},
    }
    assert told["probabilities"]["platt_slope"] > 0
    assert told["probabilities"]["isotonic_steps"] >= 2
    assert {"pixels", "zones"}.isdisjoint(describe_calibration(CALIBRATION))


@pytest.mark.parametrize("reasons", [("why", "why"), ("why", "another")])
def test_a_reason_that_all_zones_share_is_told_once(reasons: tuple[str, str]) -> None:
    zones = ZoneThresholds(1, 2, (None, None), reasons)
    told = describe_calibration(dataclasses.replace(CALIBRATION, zones=zones))["zones"]["undefined"]
    assert told == ("why" if reasons[0] == reasons[1] else {"r1c1": "why", "r1c2": "another"})


def test_scores_that_are_not_finite_have_no_probability() -> None:
    scores = np.array([np.nan, 1.0], np.float32)
    missing, known = judge_images(CALIBRATION, scores, MAPS, None)
    assert missing.probability is None
    assert known.probability is not None
    assert math.isfinite(known.probability)


@pytest.mark.parametrize("zones", [None, ZONES])
def test_an_image_whose_score_is_no_number_is_not_decided_and_says_why(zones: ZoneThresholds | None) -> None:
    calibration = dataclasses.replace(CALIBRATION, zones=zones)
    strange, usual = judge_images(calibration, np.array([np.nan, 9.0], np.float32), MAPS, None)
    assert (strange.decision, strange.undefined) == (None, "its score is not finite")
    assert usual.decision is not None
    assert usual.undefined is None
