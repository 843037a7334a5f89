import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from patchshift.data.packs import Pack
from patchshift.plan.specs import AnalysisSpec
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.plots.confusion import draw_confusion
from patchshift.report.plots.defect_sizes import draw_defect_sizes
from patchshift.report.plots.drawn import Drawn
from patchshift.report.plots.failure_gallery import draw_failure_gallery, is_hottest_at
from patchshift.report.results import read_rows
from tests.report.conftest import NASTY, MadeStudy
from tests.report.test_failures import (
    copy_study,
    edit_predictions,
    forget_masks,
    lose_scores,
    no_decisions,
    recommend_nothing,
    write_tables,
)

PLOTS: dict[str, Callable[[StudyData, str], Drawn | None]] = {
    "defect_sizes": draw_defect_sizes,
    "confusion": draw_confusion,
    "failure_gallery": draw_failure_gallery,
}


@pytest.fixture
def data(made_once: tuple[Path, MadeStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyData:
    recommend_nothing(monkeypatch)  # so that `blunt`, the baseline, is shown: it fails in every way
    data = copy_study(made_once, tmp_path, monkeypatch)
    write_tables(data, "clean")
    return data


def draw(name: str, data: StudyData) -> pd.DataFrame:
    drawn = PLOTS[name](data, "clean")
    assert drawn is not None
    return drawn.data


@pytest.mark.parametrize("name", ["defect_sizes", "confusion"])
def test_a_figure_is_the_same_when_it_is_drawn_again(name: str, data: StudyData, tmp_path: Path) -> None:
    files = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        drawn = PLOTS[name](data, "clean")
        assert drawn is not None
        folder.mkdir()
        drawn.save(folder, name)
        files.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert set(files[0]) == {f"{name}.png", f"{name}.svg", f"{name}.csv"}
    assert files[0] == files[1]


def test_recall_by_size_is_counted_over_all_categories(data: StudyData) -> None:
    drawn = draw("defect_sizes", data)
    rows = [row for row in read_rows(data.experiment_folder("clean") / "defects.csv") if row["by"] == "size"]
    for row in drawn[drawn["by"] == "size"].to_dict("records"):
        members = [line for line in rows if (line["detector"], line["value"]) == (row["detector"], row["value"])]
        assert row["images"] == sum(int(line["images"]) for line in members)
        assert row["found"] == sum(int(line["called_defective"]) for line in members)
        assert row["recall_low"] <= row["recall"] == row["found"] / row["images"] <= row["recall_high"]
    assert drawn[drawn["by"] == "size"].groupby("detector")["images"].sum().tolist() == [12, 12]


def test_confusion_is_by_category_type_and_detector(data: StudyData) -> None:
    drawn = draw("confusion", data)
    assert set(drawn["category"]) == {"a", "b"}
    assert set(drawn["defect"]) == {"", "hole", NASTY}
    assert len(drawn) == 2 * 3 * 2
    assert (drawn["called_defective"] + drawn["called_good"] == drawn["images"]).all()


def test_the_gallery_shows_as_many_of_each_kind_as_asked_for_and_categories_take_turns(data: StudyData) -> None:
    shown = draw("failure_gallery", replace(data, analysis=AnalysisSpec(cases=3)))
    assert shown.groupby("band").size().max() == 3
    assert set(shown["detector"]) == {"blunt"}
    clear = shown[shown["band"].str.startswith("Found most clearly")]
    assert clear["target_category"].tolist()[:2] == ["a", "b"]
    listed = read_rows(data.experiment_folder("clean") / "failures.csv")
    assert set(shown["image"]) <= {row["image"] for row in listed}


def test_the_gallery_shows_failures_that_other_detectors_share_and_names_them(data: StudyData) -> None:
    def miss_all(frame: pd.DataFrame) -> None:
        frame.loc[frame["label"] == 1, "decision"] = "0"

    assert not draw("failure_gallery", data)["band"].str.startswith("Failures that other").any()
    edit_predictions(data, miss_all)
    again = replace(data)
    write_tables(again, "clean")
    shown = draw("failure_gallery", again)
    band = shown[shown["band"].str.startswith("Failures that other")]
    assert len(band) == again.analysis.cases
    assert set(band["also_wrong_for"]) == {"sharp"}
    assert set(band["kind"]) == {"missed"}


def test_the_gallery_has_an_image_a_map_and_an_outline_for_each_case(data: StudyData) -> None:
    drawn = draw_failure_gallery(replace(data, analysis=AnalysisSpec(cases=1)), "clean")
    assert drawn is not None
    axes = drawn.figure.axes
    assert len(axes) == 2 * len(drawn.data)
    outlined = [bool(one.collections) for one in axes[::2]]
    assert outlined == (drawn.data["defect"] != "").tolist()
    words = [text.get_text() for text in drawn.figure.texts]
    for kind in drawn.data["kind"]:
        assert any(text.startswith(f"{kind}: ") for text in words)


def heat(cells: set[str], place: tuple[slice | int, slice | int]) -> None:
    """Make maps hottest in one place, whatever the scores say."""
    for path in cells:
        with h5py.File(path, "a") as file:
            maps = file["maps"][:]
            maps[:, *place] = maps.max() + 5
            file["maps"][:] = maps


def bands_of_found(data: StudyData) -> list[str]:
    shown = draw("failure_gallery", replace(data))
    found = shown[(shown["kind"] == "found") & (shown["choice"] == "best")]
    return sorted({band.partition(":")[0] for band in found["band"]})


CLEARLY, ELSEWHERE = "Found most clearly", "Found, but the map is as hot or hotter elsewhere"


def test_only_defects_that_the_map_is_hottest_at_are_said_to_be_found_clearly(data: StudyData) -> None:
    assert bands_of_found(data) == [CLEARLY]
    heat({cell.scores for cell in data.cells("clean") if cell.target.category == "a"}, (3, 3))
    assert bands_of_found(data) == sorted([CLEARLY, ELSEWHERE])
    shown = draw("failure_gallery", replace(data))
    place = shown["band"].str.partition(":")[0]
    assert set(shown[place == ELSEWHERE]["target_category"]) == {"a"}
    assert set(shown[place == CLEARLY]["target_category"]) == {"b"}


def test_a_map_that_is_hot_all_over_finds_no_defect_clearly(data: StudyData) -> None:
    heat({cell.scores for cell in data.cells("clean")}, (slice(None), slice(None)))
    assert bands_of_found(data) == [ELSEWHERE]


def test_without_masks_nothing_is_said_of_where_a_defect_is_found(
    data: StudyData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pack, "mask", lambda pack, row: np.zeros((24, 24), bool))
    assert [band.partition(" (")[0] for band in bands_of_found(data)] == ["Found with the highest scores"]


def test_a_map_is_hottest_at_a_mask_if_nearly_all_of_what_looks_hottest_lies_near_it() -> None:
    mask = np.zeros((40, 40), bool)
    mask[10:14, 10:14] = True
    level = np.full((40, 40), 0.3)
    level[8:16, 8:16] = 1.0
    assert is_hottest_at(level, mask, 4)
    assert not is_hottest_at(level, mask, 1)  # most of the heat lies around it
    level[30:34, 30:34] = 0.9  # warm, but less so
    assert is_hottest_at(level, mask, 4)
    level[30:34, 30:34] = 0.99  # no eye tells the two apart
    assert not is_hottest_at(level, mask, 4)


def test_decisions_below_a_picture_are_never_cut_short(data: StudyData) -> None:
    drawn = draw_failure_gallery(replace(data, analysis=AnalysisSpec(cases=1)), "clean")
    assert drawn is not None
    words = [text.get_text() for text in drawn.figure.texts]
    decisions = [text for text in words if ", threshold " in text and "fitted on" not in text]
    assert len(decisions) == len(drawn.data)
    assert all(re.fullmatch(r"[a-z ]+: -?[\d.e+-]+, threshold -?[\d.e+-]+", text) for text in decisions)


def test_without_a_threshold_the_gallery_shows_the_worst_and_the_best(data: StudyData) -> None:
    edit_predictions(data, no_decisions)
    again = replace(data, analysis=AnalysisSpec(cases=1))
    write_tables(again, "clean")
    assert set(draw("failure_gallery", again)["kind"]) == {"defective", "good"}
    assert draw_defect_sizes(again, "clean") is None
    assert draw_confusion(again, "clean") is None


def test_without_masks_there_are_no_sizes(data: StudyData) -> None:
    forget_masks()
    write_tables(data, "clean")
    assert draw_defect_sizes(data, "clean") is None
    assert len(draw("confusion", data)) == 12


def test_nothing_is_drawn_of_images_without_finite_scores(data: StudyData) -> None:
    def lose_all(frame: pd.DataFrame) -> None:
        lose_scores(frame)
        frame["score"] = ""

    edit_predictions(data, lose_all)
    again = replace(data)
    write_tables(again, "clean")
    assert [plot(again, "clean") for plot in PLOTS.values()] == [None, None, None]
