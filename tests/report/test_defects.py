from pathlib import Path

import numpy as np
import pytest

from patchshift.evaluation.failures import superiority_interval
from patchshift.evaluation.image_metrics import image_auroc
from patchshift.evaluation.statistics import wilson_interval
from patchshift.report.analyses.defects import defects_table, group_images
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.results import Images
from tests.report.conftest import NASTY, MadeStudy
from tests.report.test_failures import copy_study, edit_predictions, forget_masks, judge, no_decisions, open_study


@pytest.fixture
def data(made: MadeStudy) -> StudyData:
    return open_study(made)


def group(**facts: list[float]) -> dict[tuple[str, str], list[int]]:
    images = judge([1, 2, 3, 4, 5], [1, 1, 1, 1, 0], **facts)
    return {(by, value): np.flatnonzero(members).tolist() for by, value, members in group_images(images, 0.1)}


def test_images_are_grouped_by_label_type_size_and_place() -> None:
    groups = group(defect_area=[0.1, 0.3, 0.2, np.nan, np.nan], border_distance=[0, 0.2, 0.1, np.nan, np.nan])
    assert groups == {
        ("all", "good"): [4],
        ("all", "defective"): [0, 1, 2, 3],
        ("defect", "hole"): [0, 1, 2, 3],
        ("size", "small"): [0],
        ("size", "medium"): [2],
        ("size", "large"): [1],
        ("position", "border"): [0, 2],
        ("position", "centre"): [1],
    }


def test_a_defect_at_just_the_border_share_is_at_the_border() -> None:
    exactly = float(np.float32(0.1))  # as a pack has it: a little more than 0.1
    assert exactly > 0.1
    beyond = float(np.nextafter(np.float32(0.1), np.float32(1)))
    groups = group(border_distance=[exactly, beyond, np.nan, np.nan, np.nan])
    assert (groups["position", "border"], groups["position", "centre"]) == ([0], [1])


def test_without_masks_there_are_no_sizes_and_no_places() -> None:
    assert {by for by, _ in group()} == {"all", "defect"}


def test_good_images_have_no_size_even_where_a_pack_has_one() -> None:
    groups = group(defect_area=[0.1, 0.2, 0.3, 0.4, 0.9], border_distance=[0.5] * 5)
    assert all(4 not in members for (by, _), members in groups.items() if by != "all")


def test_every_group_has_recall_and_auroc_with_intervals(data: StudyData) -> None:
    table = defects_table(data, "clean").set_index(["target_category", "detector", "by", "value"])
    for cell in data.cells("clean"):
        images: Images = data.results.images(cell)
        assert images.decisions is not None
        normal = images.labels == 0
        for value in ("hole", NASTY):
            members = np.array(images.defects) == value
            row = table.loc[(cell.target.category, cell.bank.detector, "defect", value)]
            called = int(images.decisions[members].sum())
            assert (row["images"], row["called_defective"], row["called_good"]) == (3, called, 3 - called)
            assert (row["recall_low"], row["recall_high"]) == wilson_interval(called, 3, 0.95)
            kept = members | normal
            auroc = image_auroc(members[kept], images.scores[kept])
            assert row["image_auroc"] == auroc
            ends = (row["image_auroc_low"], row["image_auroc_high"])
            assert ends == superiority_interval(auroc, 3, int(normal.sum()), 0.95)
            assert images.threshold is not None
            assert row["median_margin"] == np.median(images.scores[members] - images.threshold)
            assert row["undefined"] == ""


def test_good_images_have_a_false_alarm_rate_and_no_recall(data: StudyData) -> None:
    table = defects_table(data, "clean")
    good = table[table["value"] == "good"]
    assert len(good) == len(data.cells("clean"))
    assert good["recall"].isna().all()
    assert good["image_auroc"].isna().all()
    assert good["false_alarm_rate"].tolist() == [
        data.results.value(cell, "false_alarm_rate").value for cell in data.cells("clean")
    ]
    assert table[table["value"] != "good"]["false_alarm_rate"].isna().all()


def test_the_rows_of_a_kind_are_a_confusion_matrix(data: StudyData) -> None:
    table = defects_table(data, "clean")
    keys = ["target_category", "detector"]
    whole = table[table["value"] == "defective"].set_index(keys)["called_defective"]
    for by in ("defect", "size", "position"):
        assert (table[table["by"] == by].groupby(keys)["called_defective"].sum().loc[whole.index] == whole).all()


def test_without_a_threshold_there_is_a_ranking_and_a_reason(
    made_once: tuple[Path, MadeStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = copy_study(made_once, tmp_path, monkeypatch)
    edit_predictions(data, no_decisions)
    forget_masks()
    table = defects_table(data, "clean")
    assert set(table["by"]) == {"all", "defect"}
    assert table["recall"].isna().all()
    assert table["called_good"].isna().all()
    assert (table["undefined"] == "no decision").all()  # metrics still have decisions
    assert table[table["value"] != "good"]["image_auroc"].notna().all()
