from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from patchshift.evaluation.calibrated import LogOdds
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.cases import CellPictures
from patchshift.report.results import Images, StudyResults
from patchshift.report.shift import compare_shifts
from patchshift.report.shift_exhibits import Exhibit, choose_exhibits, choose_outcomes, find_typical

SPEC = EvaluationSpec(bootstrap_resamples=100)


def test_an_image_is_the_same_in_all_made_domains(results: StudyResults) -> None:
    exhibits = choose_exhibits(results, compare_shifts(results, "clean", SPEC)[0], 1.0)
    assert [exhibit.heading for exhibit in exhibits] == [
        f"{category}: a {noun} image" for category in ("a", "b") for noun in ("defective", "good")
    ]
    for exhibit in exhibits:
        assert [(view.domain, view.condition) for view in exhibit.views] == [
            ("clean", "in domain"),
            ("dark", "no adaptation"),
            ("dark", "adapted"),
        ]
        assert len({view.case.image for view in exhibit.views}) == 1
        assert not any(view.is_other for view in exhibit.views)


def test_a_natural_shift_is_shown_by_one_typical_image_of_its_own(make_study: Callable[..., Any]) -> None:
    study = make_study(
        camera=True,
        detectors=("sharp",),
        clean={"title": "", "train": ["d/a"]},
        other={"title": "", "train": ["d/a"], "target_domains": ["camera_b"]},
        adapted={"title": "", "train": ["d/a"], "train_domains": ["camera_b"]},
    )
    results = StudyResults(study.plan, study.folder)
    (shift,) = compare_shifts(results, "clean", SPEC)
    for exhibit, label in zip(choose_exhibits(results, shift, 1.0), (1, 0), strict=True):
        start, used, adapted = exhibit.views
        assert [view.is_other for view in exhibit.views] == [False, True, True]
        assert used.case.picture == adapted.case.picture != start.case.picture
        images = results.images(shift.outcomes["a"][1].cell)
        assert used.case.image == images.names[find_typical(images, label)]


def test_maps_of_other_weights_have_colours_of_their_own(
    make_study: Callable[..., Any], calibrate_cell: Callable[..., None]
) -> None:
    shifted = {"title": "", "train": ["d/a"], "target_domains": ["dark"]}
    study = make_study(
        detectors=("sharp",),
        clean={"title": "", "train": ["d/a"]},
        shifted=shifted,
        recalibrated=shifted | {"calibrate_on": "target"},
    )
    results = StudyResults(study.plan, study.folder)
    for cell in results.all_cells():
        calibrate_cell(cell, LogOdds(1000, 2, -2) if cell.calibration.domain == "dark" else LogOdds(0, 1, -1))
    (shift,) = compare_shifts(results, "clean", SPEC)
    (exhibit, _) = choose_exhibits(results, shift, 1.0)
    assert [view.condition for view in exhibit.views] == ["in domain", "no adaptation", "recalibrated"]
    own = []
    for outcome, view in zip(shift.outcomes["a"], exhibit.views, strict=True):
        pictures = CellPictures.read(results, outcome.cell, 1.0)
        own.append(pictures.show([pictures.images.names.index(view.case.image)])[0] == view.case)
    assert own == [True, False, True]  # without adaptation: the colours of the bank's own domain


def test_typical_is_the_middle_score_of_a_label_and_never_an_undefined_one() -> None:
    images = Images(
        names=list("abcde"),
        labels=np.array([1, 1, 1, 1, 0]),
        relabelled=np.zeros(5, np.bool_),
        defects=["x"] * 4 + [""],
        scores=np.array([9.0, 1.0, 2.0, np.nan, np.nan]),
        decisions=None,
        threshold=None,
    )
    assert images.names[find_typical(images, 1)] == "c"
    assert find_typical(images, 0) is None


def test_too_many_views_are_thinned_to_one_condition_of_each_domain(results: StudyResults) -> None:
    start, used, adapted = compare_shifts(results, "clean", SPEC)[0].outcomes["a"]
    shifted = [replace(row, domain=f"dark_{n}") for n in range(8) for row in (used, adapted)]
    assert [(row.domain, row.condition) for row in choose_outcomes([start, *shifted])] == [
        ("clean", "in domain"),
        *((f"dark_{n}", "no adaptation") for n in range(8)),
    ]
    assert choose_outcomes([start, used, adapted]) == [start, used, adapted]


@pytest.mark.parametrize(("views", "columns"), [(2, 5), (5, 5), (7, 7), (8, 5), (9, 5), (12, 6), (14, 7)])
def test_views_fill_their_rows_evenly(views: int, columns: int) -> None:
    assert Exhibit("", [None] * views, ignores=False).columns == columns
