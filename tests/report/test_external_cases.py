"""Images of detectors that are scores of another method: without maps, and with maps of a unit of their own."""

from dataclasses import replace

import h5py
import numpy as np
import pytest

from patchshift.report.cases import CellPictures
from patchshift.report.page import render_report
from patchshift.report.results import StudyResults


@pytest.fixture
def external(make_study):
    """A study whose detector `sharp` is scores of another method."""
    study = make_study(clean={"title": "In domain", "train": ["d"]})
    study.plan = study.plan.model_copy(update={"external": {"sharp": study.plan.weights["net"]}})
    return study


def rewrite_maps(study, change):
    for path in {cell.scores for cell in study.cells() if cell.bank.detector == "sharp"}:
        with h5py.File(path, "a") as file:
            maps = change(file["maps"][:])
            del file["maps"]
            file.create_dataset("maps", data=maps)


def find(study, detector):
    results = StudyResults(study.plan, study.folder)
    cell = next(cell for cell in results.all_cells() if cell.bank.detector == detector)
    return CellPictures.read(results, cell, 1.0)


def test_without_maps_images_are_shown_with_masks_and_decisions_but_no_heatmap(external):
    rewrite_maps(external, lambda maps: np.zeros((len(maps), 0, 0), np.float32))
    pictures = find(external, "sharp")
    assert pictures.scale is None
    for case in pictures.show(range(12)):
        assert (case.heatmap, bool(case.mask), bool(case.verdict)) == ("", True, True)
    assert all(case.heatmap for case in find(external, "blunt").show(range(12)))


def test_the_report_says_that_there_are_no_heatmaps(external):
    with_maps = external.render()
    rewrite_maps(external, lambda maps: np.zeros((len(maps), 0, 0), np.float32))
    page = external.render()
    said, shown = "no heatmap: the detector gives no maps", 'alt="heatmap"'
    assert (said in with_maps, shown in with_maps) == (False, True)
    assert (said in page, shown in page) == (True, False)
    assert 'alt="mask"' in page


def test_colours_follow_the_maps_of_another_method_and_not_its_threshold(external):
    rewrite_maps(external, lambda maps: 1000 * (maps + 5))  # all above 0, the threshold is below 10
    pictures = find(external, "sharp")
    assert pictures.images.threshold < 10
    assert pictures.scale.low < pictures.scale.high
    assert pictures.scale.high == pytest.approx(np.quantile(pictures.scored.maps, 0.999))
    rewrite_maps(external, lambda maps: maps / 1e6)
    tiny = find(external, "sharp")
    assert tiny.scale.high == pytest.approx(np.quantile(tiny.scored.maps, 0.999))


def test_the_threshold_is_not_marked_among_colours_of_another_unit(external):
    page = external.render()
    assert "mark: the threshold" not in page
    fitted = external.plan.model_copy(update={"external": {}})
    assert "mark: the threshold" in render_report(replace(external.data, plan=fitted), external.provenance)


def test_the_backbone_that_only_labels_scores_is_not_recommended_with_them(external):
    page = external.render()
    assert "Use <code>sharp</code>;" in page
    assert "Of sharp, domain clean" in page
    assert "sharp on net" not in page
