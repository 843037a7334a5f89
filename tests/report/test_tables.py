import pandas as pd

from patchshift.report.keys import METRICS_COLUMNS
from patchshift.report.results import IMAGE_COLUMNS
from patchshift.report.tables import experiment_results, format_estimate, predictions, text_table, tidy_metrics


def test_ranking_metrics_stand_once_per_bank_and_target(results):
    frame = tidy_metrics([*results.all_cells(), *results.all_cells()])
    keys = [column for column in frame.columns if column not in ("value", "low", "high", "undefined")]
    assert not frame.duplicated(keys).any()
    assert (frame.loc[frame.metric == "image_auroc", "policy"] == "").all()
    assert (frame.loc[frame.metric == "f1", "policy"] == "f1_max").all()
    assert list(frame.columns[-len(METRICS_COLUMNS) :]) == METRICS_COLUMNS


def test_results_have_one_row_per_cell_and_intervals_beside_values(results):
    frame = experiment_results(results.cells["clean"])
    assert len(frame) == len(results.cells["clean"])
    assert (frame.image_auroc_low <= frame.image_auroc).all()
    assert (frame.image_auroc <= frame.image_auroc_high).all()
    assert (frame.count_tp + frame.count_fn == frame.count_anomalous).all()


def test_predictions_hold_every_test_image_of_every_cell(results):
    frame = predictions(results.all_cells())
    assert len(frame) == 12 * len(results.all_cells())
    assert ((frame.score >= frame.threshold) == (frame.decision == 1)).all()
    assert set(frame.columns[-len(IMAGE_COLUMNS) :]) == set(IMAGE_COLUMNS)
    assert set(frame.relabelled) == {0}


def test_estimates_in_words():
    row = {"f1": 0.5, "f1_low": 0.25, "f1_high": 0.75, "floor": 0.5, "none": None, "nan": float("nan")}
    assert format_estimate(row, "f1") == "0.50 [0.25, 0.75]"
    assert format_estimate(row, "floor") == "0.500"
    assert (
        format_estimate(row, "none") == format_estimate(row, "nan") == format_estimate(pd.Series(row), "absent") == "-"
    )


def test_results_name_the_alias_that_led_to_a_target_and_where_it_started(make_study):
    study = make_study(
        camera=True,
        detectors=("sharp",),
        other={"title": "Two cameras", "train": ["d/a"], "target_domains": ["clean", "camera_b"]},
    )
    frame = experiment_results(study.cells())
    columns = ["target_dataset", "target_domain", "alias", "origin"]
    assert frame[columns].to_numpy().tolist() == [["d", "clean", "", ""], ["e", "clean", "camera_b", "d/a"]]
    assert "alias" not in tidy_metrics(study.cells())
    assert "alias" not in predictions(study.cells())
    text = text_table({"other": ("Two cameras", frame)})
    assert "e/a clean (camera_b)" in text
    assert "d/a clean " in text


def test_every_table_says_which_weights_a_backbone_has(make_study):
    study = make_study(detectors=("sharp",), weights="random")
    for frame in (tidy_metrics(study.cells()), predictions(study.cells()), experiment_results(study.cells())):
        assert set(frame.weights) == {"random"}
    assert "weights random" in text_table({"clean": ("In domain", experiment_results(study.cells()))})
