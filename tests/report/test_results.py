from pathlib import Path

import numpy as np
import pytest

from patchshift.report.results import StudyResults, Value, as_value, read_rows
from patchshift.report.tables import predictions
from patchshift.runtime.files import read_json, write_json, write_text


def test_values_are_those_of_the_artifacts_to_the_last_bit(made, results):
    for cell in results.all_cells():
        for path in (cell.metrics, cell.decisions):
            for metric, estimate in read_json(Path(path))["metrics"].items():
                value = results.value(cell, metric)
                assert (value.value, value.undefined) == (estimate.get("value"), estimate.get("undefined", ""))


def test_images_are_those_of_the_decisions_in_their_order(results):
    cell = results.all_cells()[0]
    images, decided = results.images(cell), read_json(Path(cell.decisions))
    assert images.names == [image["image"] for image in decided["images"]]
    assert images.scores.tolist() == [image["score"] for image in decided["images"]]
    assert images.threshold == decided["threshold"]
    assert results.sizes(cell) == (6, 6)


def test_images_whose_defect_is_gone_are_known_as_relabelled(make_study):
    study = make_study(gone=2)
    results = StudyResults(study.plan, study.folder)
    for name, expected in (("clean", 0), ("shifted", 2)):
        images = results.images(results.cells[name][0])
        assert images.relabelled.dtype == bool
        assert images.relabelled.sum() == expected
        assert images.labels.sum() == 6 - expected


def test_counts_are_whole_numbers(results):
    confusion = results.confusion(results.all_cells()[0])
    assert (confusion.normal, confusion.anomalous) == (6, 6)
    assert isinstance(confusion.tp, int)


def test_study_without_thresholds_has_reasons_and_no_counts(make_study):
    study = make_study(validation=False)
    results = StudyResults(study.plan, study.folder)
    cell = results.all_cells()[0]
    assert results.confusion(cell) is None
    assert results.images(cell).decisions is None
    assert results.value(cell, "f1").undefined == "no validation image"


def test_fields_are_read_as_they_are_written(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("target_category,value\nNA,\n007,0.1\n")
    rows = read_rows(path)
    assert [row["target_category"] for row in rows] == ["NA", "007"]
    assert [as_value(row).value for row in rows] == [None, 0.1]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Value(0.5), "0.500"),
        (Value(-0.5, -0.75, 0.25), "−0.50, −0.75 to 0.25"),
        (Value(None, undefined="no image"), "undefined"),
    ],
)
def test_values_in_words(value, text):
    assert value.plain == text


def test_image_without_a_finite_score_leaves_the_decisions_of_its_cell_out(make_study):
    study = make_study()
    cell, other = study.cells()[:2]
    content = read_json(Path(cell.decisions))
    content["images"][3] |= {"score": None, "decision": None}
    write_json(Path(cell.decisions), content)
    write_text(study.folder / "predictions.csv", predictions(study.cells()).to_csv(index=False))
    results = StudyResults(study.plan, study.folder)
    assert results.images(cell).decisions is None
    assert np.flatnonzero(np.isnan(results.images(cell).scores)).tolist() == [3]
    assert set(results.images(other).decisions) <= {0, 1}
    assert {row["decision"] for row in read_rows(study.folder / "predictions.csv")} == {"", "0", "1"}


def test_a_cell_reached_by_name_and_by_alias_is_one_cell_seen_two_ways(make_study):
    study = make_study(
        camera=True,
        detectors=("sharp",),
        clean={"title": "", "train": ["e/a"]},
        adapted={"title": "", "train": ["d/a"], "train_domains": ["camera_b"]},
    )
    results = StudyResults(study.plan, study.folder)
    assert [cell.domain for cell in results.all_cells()] == ["clean"]
    plain, alias = results.all_views()
    assert (plain.domain, alias.domain) == ("clean", "camera_b")
    assert results.value(plain, "f1") == results.value(alias, "f1")
