from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from patchshift.evaluation.failures import SharedErrors
from patchshift.plan.cells import Bank, Cell, Target
from patchshift.report.analyses.co_failures import co_failures_table, count_shared, pair_detectors
from patchshift.report.analyses.failures import Judged, read_judged
from patchshift.report.analyses.study_data import StudyData
from tests.report.conftest import MadeStudy
from tests.report.test_failures import copy_study, edit_predictions, judge, open_study

TILE = Target("d", "a", "clean")
DARK = Target("d", "a", "dark")


@pytest.fixture
def data(made: MadeStudy) -> StudyData:
    return open_study(made)


def scored(
    detector: str, *, backbone: str = "net", seed: int = 0, target: Target = TILE, fitted: bool = True
) -> Judged:
    bank = Bank(TILE, "s", backbone, detector, seed, is_fitted=fitted)
    return replace(judge([1, 3], [0, 1]), cell=Cell(bank, target, TILE, "f1_max"))


def names(cells: list[Judged]) -> list[tuple[str, str]]:
    return [(first.cell.bank.detector, second.cell.bank.detector) for first, second in pair_detectors(cells)]


def test_detectors_are_paired_on_the_same_images_features_and_seed() -> None:
    assert names([scored("one"), scored("two"), scored("three")]) == [
        ("one", "two"), ("one", "three"), ("two", "three")
    ]  # fmt: skip
    assert names([scored("one"), scored("one", backbone="other")]) == []
    assert names([scored("one"), scored("two", backbone="other")]) == []
    assert names([scored("one"), scored("two", seed=1)]) == []
    assert names([scored("one"), scored("two", target=DARK)]) == []


def test_scores_of_another_method_are_paired_whatever_their_backbone_is_called() -> None:
    other = scored("other", backbone="theirs", seed=7, fitted=False)
    assert names([scored("one"), other, scored("two", backbone="deep")]) == [("one", "other"), ("other", "two")]


def test_errors_of_one_label_are_counted() -> None:
    first, second = judge([1, 1, 3, 3, 3], [1, 1, 1, 0, 0]), judge([1, 3, 1, 3, 1], [1, 1, 1, 0, 0])
    assert count_shared(first, second, 1) == SharedErrors(both_right=0, first_wrong=1, second_wrong=1, both_wrong=1)
    assert count_shared(first, second, 0) == SharedErrors(both_right=0, first_wrong=1, second_wrong=0, both_wrong=1)


def test_detectors_on_different_images_are_not_paired() -> None:
    first, second = scored("one"), scored("two")
    second = replace(second, images=replace(second.images, names=["x", "y"]))
    with pytest.raises(ValueError, match="hold different test images"):
        count_shared(first, second, 1)


def test_the_table_has_a_row_for_each_pair_and_one_for_each_image_that_both_get_wrong(data: StudyData) -> None:
    table = co_failures_table(data, "clean")
    pairs, images = (table[table["record"] == record] for record in ("pair", "image"))
    assert list(zip(pairs["detector"], pairs["other_detector"], strict=True)) == [("sharp", "blunt")] * 4
    assert pairs["kind"].tolist() == ["missed", "false alarm"] * 2
    counts = pairs[["both_right", "first_wrong", "second_wrong", "both_wrong"]]
    assert (counts.sum(axis=1) == pairs["images"]).all()
    assert (pairs["images"] == 6).all()
    assert len(images) == pairs["both_wrong"].sum()
    first = next(one for one in read_judged(data, data.cells("clean")) if one.cell.bank.detector == "sharp")
    listed = pairs[(pairs["target_category"] == first.cell.target.category) & (pairs["kind"] == "missed")].iloc[0]
    assert listed["first_wrong"] + listed["both_wrong"] == int(first.wrong[first.images.labels == 1].sum())


def test_images_that_both_get_wrong_are_named(
    made_once: tuple[Path, MadeStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = copy_study(made_once, tmp_path, monkeypatch)
    edit_predictions(data, lambda frame: frame.__setitem__("decision", np.where(frame["label"] == 1, "0", "0")))
    table = co_failures_table(data, "clean")
    images = table[table["record"] == "image"]
    assert set(images["kind"]) == {"missed"}
    assert images["image"].nunique() == 12
    assert (images["defect"] != "").all()
    pairs = table[(table["record"] == "pair") & (table["kind"] == "missed")]
    assert (pairs["both_wrong"] == 6).all()
    assert pairs["phi"].isna().all()
    assert (pairs["p"] == 1).all()


def test_one_detector_has_no_pairs(make_study: Callable[..., MadeStudy]) -> None:
    study = make_study(detectors=("sharp",), clean={"title": "", "train": ["d/a"]})
    table = co_failures_table(open_study(study), "clean")
    assert table.empty
    assert {"other_detector", "phi", "p", "image", "undefined"} < set(table)
