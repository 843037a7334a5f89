from dataclasses import replace

import h5py
import numpy as np

from patchshift.evaluation.calibrated import LogOdds
from patchshift.plan.score_specs import AnomalyMapSpec, ScoringSpec
from patchshift.report.cases import CellPictures, select_cases
from patchshift.report.results import Images, StudyResults


def images(anomalous, normal, threshold):
    scores = np.array([*anomalous, *normal], np.float64)
    decisions = None if threshold is None else (scores >= threshold).astype(np.int64)
    labels = np.repeat([1, 0], [len(anomalous), len(normal)])
    defects = [("hole", "scratch")[row % 2] if label else "" for row, label in enumerate(labels)]
    names, relabelled = [str(row) for row in range(len(scores))], np.zeros(len(scores), np.bool_)
    return Images(names, labels, relabelled, defects, scores, decisions, threshold)


def test_failures_come_first_and_worst_first():
    chosen = select_cases(images([5, 1, 2, 9], [0, 4, 3, 1], 2.5), 4)
    assert list(chosen)[:2] == ["Missed defects", "False alarms"]
    assert chosen["Missed defects"] == [1, 2]
    assert chosen["False alarms"] == [5, 6]


def test_best_are_the_highest_scored_of_different_defects():
    chosen = select_cases(images([1, 1, 1, 1, 50, 8, 40, 7], [0], 0.5), 4)
    assert chosen["Defects with the highest scores"][:2] == [4, 5]


def test_no_image_stands_under_two_headings():
    chosen = select_cases(images(range(20), range(-3, 17), 8.5), 4)
    rows = [row for group in chosen.values() for row in group]
    assert len(rows) == len(set(rows))


def test_as_many_are_shown_as_the_config_asks_for():
    scored = images(range(20), range(-3, 17), 8.5)
    for count in (1, 3, 5):
        assert {len(rows) for rows in select_cases(scored, count).values()} == {count}


def test_without_threshold_nothing_is_called_a_failure():
    chosen = select_cases(images([5, 1], [0, 4], None), 4)
    assert chosen["Lowest-scored defects"] == [1, 0]
    assert chosen["Highest-scored good images"] == [3, 2]
    assert "Missed defects" not in chosen


def test_unranked_images_are_left_out():
    assert 0 not in [row for group in select_cases(images([np.nan, 3], [1], 2), 4).values() for row in group]


def test_verdicts_are_those_of_the_predictions(results):
    cell = next(cell for cell in results.cells["clean"] if cell.bank.detector == "blunt")
    pictures = CellPictures.read(results, cell, 1.0)
    shown = pictures.show(range(12))
    meaning = {(0, 0): "passed", (0, 1): "false alarm", (1, 0): "missed", (1, 1): "found"}
    decided = zip(pictures.images.labels, pictures.images.decisions, strict=True)
    assert [case.verdict for case in shown] == [meaning[pair] for pair in decided]
    assert all(case.mask.startswith("data:image/jpeg;base64,") for case in shown)


def test_colours_are_those_of_the_patches_that_are_not_ignored(make_study):
    study = make_study(ignore=True, validation=False)  # without a threshold, the largest distances end the colours
    results = StudyResults(study.plan, study.folder)
    cell = results.all_cells()[0]
    with h5py.File(cell.scores, "a") as file:
        maps = file["maps"][:]
        maps[:, 3, 3] = 1e6  # the ignored corner
        file["maps"][:] = maps
    pictures = CellPictures.read(results, cell, 1.0)
    assert pictures.ignores
    assert pictures.scale.high < 100


def test_pictures_of_a_calibrated_detector_are_of_the_log_odds_that_its_threshold_is_of(make_study, calibrate_cell):
    study = make_study(detectors=("sharp",), clean={"title": "", "train": ["d/a"]})
    results = StudyResults(study.plan, study.folder)
    (cell,) = results.all_cells()
    plain, weights = CellPictures.read(results, cell, 1.0), LogOdds(100.0, 2.0, -0.5)
    calibrate_cell(cell, weights)
    pictures = CellPictures.read(results, cell, 1.0)
    assert (plain.weights, pictures.weights) == (None, weights)
    np.testing.assert_array_equal(pictures.scored.maps, weights.weigh(pictures.scored.parts))
    assert pictures.scale.low == np.median(pictures.scored.maps[pictures.scored.labels == 0]) > plain.scale.high
    calibrate_cell(cell, None)
    unweighed = CellPictures.read(results, cell, 1.0)
    assert unweighed.weights is None
    np.testing.assert_array_equal(unweighed.scored.maps, plain.scored.maps)


def test_pictures_of_images_without_ignored_regions_have_none(results):
    assert not CellPictures.read(results, results.all_cells()[0], 1.0).ignores


def test_heatmaps_are_brought_to_pixels_as_the_scores_say(results):
    pictures = CellPictures.read(results, results.all_cells()[0], 0.0)
    scoring = ScoringSpec(anomaly_map=AnomalyMapSpec(upsampling="nearest"))
    (ours,) = pictures.show([0])
    (theirs,) = replace(pictures, scored=replace(pictures.scored, scoring=scoring)).show([0])
    assert ours.heatmap != theirs.heatmap
    assert ours.mask == theirs.mask
