from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from patchshift.evaluation.ranks import rank_treatments
from patchshift.plan.cells import Cell
from patchshift.plan.experiments import StudyPlan
from patchshift.plan.specs import AnalysisSpec, EvaluationSpec
from patchshift.report.analyses.ranks import COLUMNS, ranks_table
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.keys import cell_keys

SKILLS = {"best": 0.95, "second": 0.85, "third": 0.6, "fourth": 0.55}


def auroc_of(cell: Cell) -> float | None:
    """Better by detector, a little by backbone and category; never the same twice."""
    place = int(cell.target.category[1:])
    return SKILLS[cell.bank.detector] - 0.02 * len(cell.bank.backbone) + 0.001 * place + 0.0001 * cell.bank.seed


def make_data(
    folder: Path,
    auroc: Callable[[Cell], float | None] = auroc_of,
    *,
    detectors: Sequence[str] = ("third", "best", "second"),
    backbones: Sequence[str] = ("net",),
    categories: int = 8,
    external: Mapping[str, str] | None = None,
    **experiment: Any,
) -> StudyData:
    """A study with one experiment, whose tables hold these image AUROCs."""
    plan = StudyPlan.model_validate(
        {
            "study": "made",
            "select": {
                "splits": ["s"],
                "backbones": backbones,
                "detectors": detectors,
                "thresholds": ["f1_max"],
            },
            "order": ["tried"],
            "experiments": {"tried": {"title": "Tried", "train": ["d"], **experiment}},
            "datasets": {"d": [f"c{number}" for number in range(categories)]},
            "pools": {},
            "weights": {"net": "net.pth", "longer": "random", "longest": "none"},
            "external": external or {},
        }
    )
    cells = plan.cells()["tried"]
    rows = [
        {**cell_keys(cell, ranking=True), "metric": "image_auroc", "value": auroc(cell), "undefined": ""}
        for cell in cells
    ]
    keys = list(cell_keys(cells[0]))
    columns = [*keys, "metric", "value", "low", "high", "undefined"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "metrics.csv", index=False)
    pd.DataFrame(columns=keys).to_csv(folder / "predictions.csv", index=False)
    return StudyData(plan, EvaluationSpec(), AnalysisSpec(), {}, {}, {}, folder)


def test_detectors_are_ranked_over_categories_best_first(tmp_path: Path) -> None:
    data = make_data(tmp_path)
    table = ranks_table(data, "tried")
    assert list(table.columns) == list(COLUMNS)
    assert list(table["detector"]) == ["best", "second", "third"]
    assert list(table["average_rank"]) == [1, 2, 3]
    assert set(table["blocks"]) == {8}
    values = np.array([[SKILLS[name] for name in ("best", "second", "third")]] * 8)
    expected = rank_treatments(values, 0.95)
    assert set(table["friedman"]) == {expected.friedman}
    assert set(table["critical_difference"]) == {expected.critical_difference}
    assert list(table["groups"]) == ["1", "1 2", "2"]  # 1.17 apart is apart
    assert "all blocks rank alike" in table["undefined"][0]


def test_conditions_and_seeds_do_not_multiply_the_blocks(tmp_path: Path) -> None:
    single = ranks_table(make_data(tmp_path), "tried")
    data = make_data(tmp_path, target_domains=["clean", "dark"], seeds=[0, 1, 2])
    table = ranks_table(data, "tried")
    assert set(table["blocks"]) == {8}
    assert list(table["critical_difference"]) == list(single["critical_difference"])
    assert table["image_auroc"][0] == pytest.approx(single["image_auroc"][0] + 0.0001)  # the mean of three seeds


def test_backbones_are_ranked_too_where_there_are_three(tmp_path: Path) -> None:
    table = ranks_table(make_data(tmp_path, backbones=["longer", "net", "longest"]), "tried")
    assert list(table["ranked"]) == ["detector"] * 3 + ["backbone"] * 3
    assert list(table["backbone"][3:]) == ["net", "longer", "longest"]
    assert list(table["weights"][3:]) == ["net.pth", "random", "none"]


def test_setups_are_ranked_where_neither_part_can_be(tmp_path: Path) -> None:
    data = make_data(tmp_path, detectors=["best", "third"], backbones=["net", "longer"])
    table = ranks_table(data, "tried")
    assert set(table["ranked"]) == {"setup"}
    assert (table["detector"][0], table["backbone"][0]) == ("best", "net")


def test_only_what_all_share_is_compared(tmp_path: Path) -> None:
    exclude = [{"detector": "best", "backbone": "longer"}]
    table = ranks_table(make_data(tmp_path, backbones=["net", "longer"], exclude=exclude), "tried")
    assert list(table["ranked"]) == ["detector"] * 3
    assert table["image_auroc"][0] == pytest.approx(0.95 - 0.06 + 0.0035)  # of `net` alone


def test_scores_of_another_method_have_no_backbone(tmp_path: Path) -> None:
    data = make_data(
        tmp_path, detectors=["best", "fourth"], backbones=["net", "longer", "longest"], external={"best": ""}
    )
    table = ranks_table(data, "tried")
    assert set(table["ranked"]) == {"backbone"}
    assert table["image_auroc"][0] == pytest.approx(SKILLS["fourth"] - 0.06 + 0.0035)


def test_a_category_without_an_auroc_is_left_out(tmp_path: Path) -> None:
    def broken(cell: Cell) -> float | None:
        return None if cell.target.category == "c3" and cell.bank.detector == "best" else auroc_of(cell)

    table = ranks_table(make_data(tmp_path, broken), "tried")
    assert set(table["blocks"]) == {7}
    assert set(table["left_out"]) == {1}


def test_no_one_is_told_apart_where_all_could_be_alike(tmp_path: Path) -> None:
    def shuffled(cell: Cell) -> float:
        order = (list(SKILLS).index(cell.bank.detector) + int(cell.target.category[1:])) % 4
        return 0.5 + 0.1 * order

    table = ranks_table(make_data(tmp_path, shuffled, detectors=list(SKILLS)), "tried")
    assert set(table["average_rank"]) == {2.5}
    assert set(table["groups"]) == {"1"}
    assert set(table["iman_davenport_p"]) == {1.0}


@pytest.mark.parametrize("change", [{"detectors": ["best", "third"]}, {"categories": 1}])
def test_too_little_to_rank_gives_the_columns_alone(tmp_path: Path, change: dict[str, Any]) -> None:
    table = ranks_table(make_data(tmp_path, **change), "tried")
    assert table.empty
    assert list(table.columns) == list(COLUMNS)
