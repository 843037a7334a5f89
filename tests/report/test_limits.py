from dataclasses import replace
from pathlib import Path

import pytest

from patchshift.data.splits import read_split, write_split
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.definitions import define_metrics
from patchshift.report.experiments import METRICS
from patchshift.report.sections.limits import _describe_protocol as describe_protocol
from patchshift.report.sections.limits import describe_limits
from tests.report.conftest import MadeStudy

CLEAN = {"title": "Clean", "train": ["d/a"]}


def told(study: MadeStudy, **settings: object) -> dict[str, str]:
    return {
        limit.heading: " ".join(limit.sentences) for limit in describe_limits(study.data, study.provenance | settings)
    }


def test_sizes_of_test_sets_and_what_one_mistake_weighs(made):
    said = told(made)["Test images"]
    assert said.startswith(
        "4 test sets, each of one category, domain and split: 6 good and 6 defective images in each."
    )
    assert "one miss of 6 images is 17 % of them and one false alarm of 6 images is 17 % of them" in said
    assert "4 of 4 test sets have fewer than 20 images of a class." in said


def test_intervals_are_measured_not_praised(made):
    results = made.data.results
    cells = {(cell.bank, cell.target): cell for cell in results.all_cells()}.values()
    values = [results.value(cell, "image_auroc") for cell in cells]
    widths = sorted(value.high - value.low for value in values)
    said = told(made)["Intervals"]
    assert f"of {len(values)} rankings" in said
    assert f"{widths[-1]:.3f} at its widest" in said
    chance = sum(value.low <= 0.5 for value in values)
    points = sum(value.low == value.high == 1 for value in values)
    assert (f"{chance} of {len(values)} reach 0.5" in said) == (chance > 0)
    assert f"{points} of {len(values)} are the single point 1" in said
    assert points


def test_f1_is_read_against_its_floor(made):
    results = made.data.results
    cells = results.all_cells()
    reached = sum(results.value(cell, "f1").low <= results.value(cell, "f1_floor").value for cell in cells)
    said = told(made)["F1"]
    assert said.startswith("Calling every image defective has an F1 of 0.667 on these images, its floor.")
    assert f"In {reached} of {len(cells)} rows the interval of F1 reaches its floor" in said


def test_what_is_drawn_once_is_said_to_be(made):
    assert told(made)["Draws"].startswith("One seed per detector")
    assert "One split (s), drawn once" in told(made)["Draws"]


def test_several_seeds_are_said_to_be_in_intervals_of_means_alone(make_study):
    study = make_study(detectors=("sharp",), clean={**CLEAN, "seeds": [0, 1]})
    assert (
        "Some detectors were fitted with up to 2 seeds: intervals of means over them cover that spread, those of "
        "single banks do not."
    ) in told(study)["Draws"]


def test_validation_images_are_counted_and_known_defects_are_named(made):
    said = told(made)["Validation images"]
    assert "Thresholds are set on 3 good validation images." in said
    assert "Threshold f1_max also sees 3 defective ones. A line without known defects" in said
    assert "synthetic" not in said
    drawn = told(made, thresholds={"f1_max": {"defects_from": "x"}})["Validation images"]
    assert "Threshold f1_max also sees 3 defective ones, some of them synthetic." in drawn
    assert "A line without known defects" not in drawn
    rows = [cell for cell in made.cells() if cell.calibration != cell.target]
    assert f"In {len(rows)} of {len(made.cells())} rows the validation images are of another" in said


def test_defects_that_set_a_threshold_are_all_synthetic_where_the_split_validates_on_none(make_study):
    study = make_study(detectors=("sharp",), clean=CLEAN)
    path = Path(study.cells()[0].split)
    split = read_split(path)
    moved = {key: "unused" for key in split.anomalous if split.parts[key] == "val"}
    write_split(path, replace(split, parts=split.parts | moved))
    said = told(study, thresholds={"f1_max": {"defects_from": "x"}})["Validation images"]
    assert "Threshold f1_max also sees 3 defective ones, all synthetic: real defects may need" in said
    assert "known defects" not in said


def test_without_validation_images_the_reason_is_said_and_no_threshold_is(make_study):
    study = make_study(validation=False, detectors=("sharp",), clean=CLEAN)
    said = told(study, splits={"s": {"protocol": "published"}})
    assert said["Validation images"] == "1 of 1 threshold is undefined: no validation image (1)."
    assert said["Protocol"].startswith("Split s divides images as the literature does and leaves none to validate")
    assert "F1" not in said
    assert "recall" not in said["Undefined"]
    assert "F1 in 1 of 1 row (no validation image)" in said["Undefined"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"protocol": "source_plan"}, "Split s moves part of the datasets' defective test images to validation"),
        ({"train_contamination": 0.1}, "Split s trains on defective images taken for good"),
        ({"train_limit": 4}, "s (at most 4)"),
    ],
)
def test_what_a_split_does_to_the_figures_is_said(made, settings, words):
    assert words in told(made, splits={"s": settings})["Protocol"]
    assert "Protocol" not in told(made)


def test_several_splits_are_named_in_the_plural(made):
    cells = [replace(cell, bank=replace(cell.bank, split=split)) for cell in made.cells()[:1] for split in ("A", "B")]
    moved = {name: {"protocol": "source_plan", "train_contamination": 0.1} for name in ("A", "B")}
    said = describe_protocol(cells, {"splits": moved})
    assert said[0].startswith("Splits A and B move part of the datasets' defective test images to validation, so these")
    assert said[1] == "Splits A and B train on defective images taken for good, on purpose."
    published = {name: {"protocol": "published"} for name in ("A", "B")}
    assert describe_protocol(cells, {"splits": published})[0].startswith("Splits A and B divide images")


def test_what_images_are_not_is_said(made):
    assert "Shifted images (dark) are computed from the clean ones" in told(made)["Images"]
    assert "drawn by a program" not in told(made)["Images"]
    assert (
        "nothing here is measured on a real product at all"
        in told(made, datasets={"d": {"generate": {"seed": 0}}})["Images"]
    )
    assert "at most so many of each class: d (9)" in told(made, datasets={"d": {"max_per_class": 9}})["Images"]


def test_defects_that_left_the_frame_are_counted_once_a_target(make_study):
    shifted = make_study(gone=2, detectors=("sharp",), shifted={**CLEAN, "target_domains": ["dark"]})
    assert "2 test images whose defect left the frame or is ignored count as good" in told(shifted)["Images"]
    one = make_study(gone=1, detectors=("sharp",), shifted={**CLEAN, "target_domains": ["dark"]})
    assert "1 test image whose defect left the frame or is ignored counts as good" in told(one)["Images"]
    assert "Images" not in told(make_study(detectors=("sharp",), clean=CLEAN))


def test_untrained_weights_are_named(make_study):
    study = make_study(weights="random", detectors=("sharp",), clean=CLEAN)
    assert "Backbone net has weights that were never trained" in told(study)["Weights"]


def test_every_metric_of_the_tables_is_defined_with_the_protocols_numbers():
    definitions = define_metrics(EvaluationSpec(pro_fpr_limit=0.25))
    assert set(METRICS.values()) <= set(definitions)
    assert "up to 0.25" in definitions["PRO"]
    assert "between 1e-05 and 0.0001" in definitions["AUPIMO"]


def test_the_page_has_limits_definitions_and_configuration(made_page):
    assert '<section id="limits">' in made_page
    assert "<dt>Test images</dt>" in made_page
    assert "<dt>false-alarm rate</dt>" in made_page
    for words in (
        "<code>clean</code><pre>title: In domain &lt;b&gt;bold&lt;/b&gt;",
        "bootstrap_resamples: 100",
        "cases: 4",
    ):
        assert words in made_page
