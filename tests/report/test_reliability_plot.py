"""Reliability diagrams."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from patchshift.evaluation.reliability import measure_reliability
from patchshift.evaluation.statistics import wilson_interval
from patchshift.plan.experiments import StudyPlan
from patchshift.plan.specs import AnalysisSpec, EvaluationSpec
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.keys import METRICS_COLUMNS, cell_keys, row_keys
from patchshift.report.labels import group_labels
from patchshift.report.plots.reliability import CAPTION, PANELS, draw_reliability

CLEAN = {"train": ["d"]}
COLUMNS = ["probability", "probability_isotonic"]


@pytest.fixture
def make_probable(tmp_path: Path) -> Callable[..., StudyData]:
    """A study of one experiment, of which only plan and predictions exist: 6 good and 6 defective images of each cell.

    Rows of `without` (column -> value) have no probabilities.
    """

    def make(
        experiment: dict[str, Any],
        *,
        detectors: Sequence[str] = ("blunt", "sharp"),
        without: dict[str, str] | None = None,
    ) -> StudyData:
        selected = {"splits": ["s"], "backbones": ["net"], "detectors": list(detectors), "thresholds": ["f1_max"]}
        plan = StudyPlan.model_validate(
            {
                "study": "made",
                "select": selected,
                "order": ["only"],
                "experiments": {"only": {"title": "Only", **experiment}},
                "datasets": {"d": ["a", "b"]},
                "pools": {"all": ["d"]},
                "aliases": {},
                "weights": {"net": "none"},
            }
        )
        cells, rows = plan.cells()["only"], []
        for number, cell in enumerate(cells):
            for image, score in enumerate(np.random.default_rng(number).normal([0] * 6 + [3] * 6)):
                label, probability = int(image >= 6), 1 / (1 + np.exp(1.5 - score))
                known = {"image": f"{image}.png", "label": label, "defect": "", "relabelled": 0, "score": score}
                decided = {"decision": "", "threshold": "", "probability": probability}
                isotonic = {"probability_isotonic": 1.0 if score > 1.5 else 0.25}
                rows.append({**cell_keys(cell), **known, **decided, **isotonic})
        table = pd.DataFrame(rows).astype(dict.fromkeys(COLUMNS, object))
        for column, value in (without or {}).items():
            table.loc[table[column] == value, COLUMNS] = ""
        table.to_csv(tmp_path / "predictions.csv", index=False)
        pd.DataFrame(columns=[*cell_keys(cells[0]), *METRICS_COLUMNS]).to_csv(tmp_path / "metrics.csv", index=False)
        domains = {"clean": {"shift": "none"}, "dark": {"shift": "photometric", "severity": "severe", "seed": 0}}
        return StudyData(plan, EvaluationSpec(), AnalysisSpec(), domains, {}, {}, tmp_path)

    return make


def test_without_probabilities_there_is_nothing_to_draw(make_probable: Callable[..., StudyData]) -> None:
    assert draw_reliability(make_probable(CLEAN, without={"target_dataset": "d"}), "only") is None


def test_predictions_without_the_columns_have_no_diagram(make_probable: Callable[..., StudyData]) -> None:
    study = make_probable(CLEAN)
    path = study.folder / "predictions.csv"
    pd.read_csv(path).drop(columns=COLUMNS).to_csv(path, index=False)
    assert draw_reliability(study, "only") is None


def test_bins_are_of_the_images_of_all_categories(make_probable: Callable[..., StudyData]) -> None:
    study = make_probable(CLEAN)
    drawn = draw_reliability(study, "only")
    assert drawn is not None
    assert list(dict.fromkeys(drawn.data["group"])) == ["blunt", "sharp"]
    assert set(drawn.data["categories"]) == {2}
    rows = pd.read_csv(study.folder / "predictions.csv")
    rows = rows[rows["detector"] == "sharp"]
    for method, column in zip(("Platt", "isotonic"), COLUMNS, strict=True):
        expected = measure_reliability(rows["label"].to_numpy(), rows[column].to_numpy(), 10)
        marks = drawn.data[(drawn.data["group"] == "sharp") & (drawn.data["method"] == method)]
        assert marks["images"].sum() == len(rows) == 24
        assert marks["brier"].unique() == pytest.approx([expected.brier])
        assert marks["ece"].unique() == pytest.approx([expected.ece])
        filled = [each for each in expected.bins if each.count]
        assert marks["from"].tolist() == [each.low for each in filled]
        assert marks["predicted"].tolist() == [each.predicted for each in filled]
        assert marks["observed"].tolist() == [each.defective / each.count for each in filled]
        limits = [wilson_interval(each.defective, each.count, 0.95) for each in filled]
        assert marks[["observed_low", "observed_high"]].to_numpy().tolist() == [list(limit) for limit in limits]


def test_a_category_without_probabilities_is_left_out(make_probable: Callable[..., StudyData]) -> None:
    drawn = draw_reliability(make_probable(CLEAN, without={"target_category": "b"}), "only")
    assert drawn is not None
    assert set(drawn.data["categories"]) == {1}
    assert drawn.data.groupby(["group", "method"])["images"].sum().tolist() == [12] * 4


def test_images_count_once_whatever_the_policies_seeds_and_domains(make_probable: Callable[..., StudyData]) -> None:
    experiment = {
        "train": ["d"],
        "thresholds": ["f1_max", "strict"],
        "seeds": [0, 1],
        "target_domains": ["clean", "dark"],
    }
    study = make_probable(experiment)
    drawn = draw_reliability(study, "only")
    assert drawn is not None
    assert drawn.data.groupby(["group", "method"])["images"].sum().tolist() == [24] * 4


@pytest.mark.parametrize(
    ("experiment", "shown", "said"),
    [
        (
            {"train": ["d"], "target_domains": ["dark", "dim"], "calibrate_on": "target"},
            ["clean", "dark", "dark"],
            "Bank fitted on clean, probabilities on dark, scored on dark; of 2 combinations of domains",
        ),
        (
            {"train": ["d"], "train_domains": ["dark"]},
            ["dark", "dark", "dark"],
            "Bank and probabilities fitted on dark, scored on dark",
        ),
        (
            {"train": ["pools/all"]},
            ["clean", "clean", "clean"],
            "Bank and probabilities fitted on clean, scored on clean",
        ),
    ],
    ids=["shifted", "adapted", "pool"],
)
def test_an_experiment_that_is_not_in_domain_shows_its_first_domains(
    make_probable: Callable[..., StudyData], experiment: dict[str, Any], shown: list[str], said: str
) -> None:
    drawn = draw_reliability(make_probable(experiment), "only")
    assert drawn is not None
    assert drawn.data["group"].nunique() == 2
    assert (drawn.data.groupby(["group", "method"])["images"].sum() == 24).all()
    domains = ["fitted_on", "scored_on", "calibrated_on"]
    assert drawn.data[domains].drop_duplicates().to_numpy().tolist() == [shown]
    assert said in drawn.figure.get_suptitle().replace("\n", " ")
    assert "in domain" not in CAPTION


def test_of_many_setups_the_first_are_shown(make_probable: Callable[..., StudyData]) -> None:
    names = tuple(f"detector_{number:02}" for number in range(PANELS + 2))
    study = make_probable(CLEAN, detectors=names)
    drawn = draw_reliability(study, "only")
    assert drawn is not None
    cells = study.plan.cells()["only"]
    assert (
        list(dict.fromkeys(drawn.data["group"]))
        == list(dict.fromkeys(group_labels([row_keys(cell) for cell in cells])))[:PANELS]
    )
    assert sum(axes.get_visible() for axes in drawn.figure.axes) == 2 * PANELS


def test_equal_studies_give_equal_files(make_probable: Callable[..., StudyData], tmp_path: Path) -> None:
    study = make_probable(CLEAN, detectors=("sharp",))
    for name in ("one", "two"):
        drawn = draw_reliability(study, "only")
        assert drawn is not None
        drawn.save(tmp_path / name, "reliability")
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["reliability.csv", "reliability.png", "reliability.svg"]
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in files)
