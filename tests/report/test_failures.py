import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu

from patchshift.data.image_facts import DEFECT_FACTS, FACTS, IMAGE_FACTS
from patchshift.data.packs import Pack
from patchshift.evaluation.comparisons import correct_holm
from patchshift.plan.specs import AnalysisSpec
from patchshift.report.analyses.co_failures import co_failures_table
from patchshift.report.analyses.defects import defects_table
from patchshift.report.analyses.failures import (
    BEST,
    FAILURE,
    WORST,
    Judged,
    choose_images,
    compare_facts,
    failure_factors_table,
    failures_table,
    key_columns,
    read_judged,
    read_table,
    row_names,
)
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.results import Images
from patchshift.runtime.files import write_text
from tests.report.conftest import SPEC, MadeStudy

TABLES = {
    "failures": failures_table,
    "defects": defects_table,
    "failure_factors": failure_factors_table,
    "co_failures": co_failures_table,
}


def open_study(study: MadeStudy, *, cases: int = 4, baselines: dict[str, str] | None = None) -> StudyData:
    """What analyses take, of a study in the working folder."""
    domains = study.provenance["domains"]
    return StudyData(study.plan, SPEC, AnalysisSpec(cases=cases), domains, {}, baselines or {}, study.folder)


def copy_study(made_once: tuple[Path, MadeStudy], folder: Path, patch: pytest.MonkeyPatch) -> StudyData:
    """A copy of the made-up study that a test may write to, as the working folder."""
    source, study = made_once
    shutil.copytree(source, folder / "copy")
    patch.chdir(folder / "copy")
    return open_study(study)


def recommend_nothing(patch: pytest.MonkeyPatch) -> None:
    """Studies read after this support no setup."""
    patch.setattr("patchshift.report.analyses.study_data.recommend", lambda *_: None)


def write_tables(data: StudyData, experiment: str) -> None:
    for name, table in TABLES.items():
        write_text(data.experiment_folder(experiment) / f"{name}.csv", table(data, experiment).to_csv(index=False))


def edit_predictions(data: StudyData, edit: Callable[[pd.DataFrame], None]) -> None:
    path = data.folder / "predictions.csv"
    frame = pd.read_csv(path, keep_default_na=False, dtype={"score": object, "decision": object, "threshold": object})
    edit(frame)
    frame.to_csv(path, index=False)


def forget_masks() -> None:
    for path in Path("results/packs").rglob("*.h5"):
        with h5py.File(path, "a") as file:
            for name in DEFECT_FACTS:
                file["facts"][name][:] = np.nan


def no_decisions(frame: pd.DataFrame) -> None:
    frame["decision"] = frame["threshold"] = ""


def lose_scores(frame: pd.DataFrame) -> None:
    frame.loc[frame.groupby("target_category").head(1).index, ["score", "decision"]] = ""
    frame["decision"] = ""


def one_class(label: int) -> Callable[[pd.DataFrame], None]:
    def edit(frame: pd.DataFrame) -> None:
        frame["label"], frame["defect"] = label, "hole" if label else ""

    return edit


def equal_scores(frame: pd.DataFrame) -> None:
    frame["score"], frame["decision"] = "1.5", "1"


BAD: dict[str, Callable[[pd.DataFrame], None]] = {
    "no threshold": no_decisions,
    "a score that is not finite": lose_scores,
    "no normal image": one_class(1),
    "no anomalous image": one_class(0),
    "equal scores": equal_scores,
    "no masks": lambda frame: forget_masks(),
}


def judge(scores: list[float], labels: list[int], threshold: float | None = 2.0, **facts: list[float]) -> Judged:
    """Images of a cell that is nowhere on disk."""
    count = len(scores)
    values, decided = np.array(scores), threshold is not None and np.isfinite(scores).all()
    images = Images(
        names=[f"{number}.png" for number in range(count)],
        labels=np.array(labels),
        relabelled=np.zeros(count, np.bool_),
        defects=["hole" if label else "" for label in labels],
        scores=values,
        decisions=(values >= threshold).astype(np.int64) if decided else None,
        threshold=threshold,
    )
    known = {name: np.array(facts.get(name, [np.nan] * count), np.float64) for name in FACTS}
    margins = values - (np.nan if threshold is None else threshold)
    return Judged(None, images, known, margins, margins, "" if decided else "no threshold")  # type: ignore[arg-type]


@pytest.fixture
def data(made: MadeStudy) -> StudyData:
    return open_study(made)


def choose(images: Judged, count: int) -> dict[tuple[str, str], list[int]]:
    chosen: dict[tuple[str, str], list[int]] = {}
    for kind, choice, rank, row in choose_images(images, count):
        chosen.setdefault((kind, choice), []).append(row)
        assert rank == len(chosen[kind, choice])
    return chosen


def test_all_failures_are_chosen_and_of_the_others_the_worst_and_the_best() -> None:
    images = judge([1, 0, 1.5, 9, 3, 5, 4, 1.2, 0.3, 7, 2.5, 0.1], [1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0])
    assert choose(images, 1) == {
        ("missed", FAILURE): [1, 0, 2],
        ("false alarm", FAILURE): [9, 10],
        ("found", WORST): [4],
        ("found", BEST): [3],
        ("passed", WORST): [7],
        ("passed", BEST): [11],
    }


def test_no_image_is_chosen_twice() -> None:
    assert choose(judge([3, 4, 5], [1, 1, 1]), 2) == {("found", WORST): [0, 1], ("found", BEST): [2]}


def test_without_a_threshold_nothing_is_a_failure() -> None:
    assert choose(judge([3, 1, 0, 2], [1, 1, 0, 0], None), 1) == {
        ("defective", WORST): [1],
        ("defective", BEST): [0],
        ("good", WORST): [3],
        ("good", BEST): [2],
    }


def test_images_whose_score_is_not_finite_are_left_out() -> None:
    chosen = choose(judge([np.nan, 3, np.nan], [1, 1, 0]), 4)
    assert chosen == {("defective", WORST): [1]}


def test_failures_are_those_of_the_predictions_and_facts_those_of_the_pack(data: StudyData) -> None:
    table = failures_table(data, "clean")
    failures = table[table["choice"] == FAILURE]
    counts = {}
    for cell in data.cells("clean"):
        images = data.results.images(cell)
        assert images.decisions is not None
        counts[cell.target.category, cell.bank.detector] = int((images.decisions != images.labels).sum())
    found = failures.groupby(["target_category", "detector"]).size().to_dict()
    assert found == {key: count for key, count in counts.items() if count}
    assert found
    np.testing.assert_allclose(table["margin"], table["score"] - table["threshold"])
    row = table[table["defect"] != ""].iloc[0]
    with Pack(Path(f"results/packs/d/{row['target_category']}/clean.h5")) as pack:
        for name in FACTS:
            assert np.float32(row[name]) == np.float32(pack.facts[name][pack.rows([row["image"]])[0]])


def test_as_many_others_are_listed_as_the_config_asks_for(made: MadeStudy) -> None:
    table = failures_table(open_study(made, cases=2), "clean")
    others = table[table["choice"] != FAILURE].groupby(["target_category", "detector", "kind", "choice"]).size()
    assert others.max() == 2


def test_margins_are_also_in_deviations_of_normal_validation_scores(
    made_once: tuple[Path, MadeStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = copy_study(made_once, tmp_path, monkeypatch)

    def normalise(frame: pd.DataFrame) -> None:
        frame["normalised_score"] = (frame["score"].astype(float) - 1.5) / 0.25

    edit_predictions(data, normalise)
    table = failures_table(data, "clean")
    np.testing.assert_allclose(table["margin_deviations"], table["margin"] / 0.25, rtol=1e-6)


def test_facts_of_failures_are_compared_with_those_of_successes_of_the_same_label() -> None:
    areas = [0.1, 0.2, 0.3, 0.35, 0.6, 0.7, 0.8, np.nan, np.nan, np.nan]
    light = [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.1, 0.2, 0.9]
    scores = [0, 0, 0, 5, 5, 5, 5, 0, 0, 5]
    rows = compare_facts(judge(scores, [1] * 7 + [0] * 3, defect_area=areas, brightness=light), 0.95)
    by_fact = {(row["kind"], row["fact"]): row for row in rows}
    assert list(by_fact) == [*(("missed", name) for name in FACTS), *(("false alarm", name) for name in IMAGE_FACTS)]
    area = by_fact["missed", "defect_area"]
    assert (area["failures"], area["successes"]) == (3, 4)
    assert area["median_failures"] == 0.2
    assert area["effect"] == -1.0
    assert area["effect_low"] == -1.0 < area["effect_high"] < 0
    assert area["p"] == mannwhitneyu([0.1, 0.2, 0.3], [0.35, 0.6, 0.7, 0.8]).pvalue
    assert by_fact["missed", "brightness"]["p"] == 1.0
    assert by_fact["missed", "defect_row"]["undefined"] == "fewer than 3 failures"
    assert by_fact["false alarm", "brightness"]["undefined"] == "fewer than 3 failures"
    assert by_fact["false alarm", "brightness"]["median_failures"] == 0.9


def test_p_values_are_corrected_over_all_facts_of_a_cell() -> None:
    generator = np.random.default_rng(0)
    facts = {name: generator.normal(size=40).tolist() for name in IMAGE_FACTS}
    rows = compare_facts(judge([0, 5] * 20, [1] * 20 + [0] * 20, **facts), 0.95)
    assert len([row for row in rows if "p" in row]) == 2 * len(IMAGE_FACTS)
    p_values = [row.get("p") for row in rows]
    assert [row["p_corrected"] for row in rows] == correct_holm(p_values)  # type: ignore[arg-type]


def test_without_decisions_no_fact_is_compared() -> None:
    rows = compare_facts(judge([0, 5, 1, 2], [1, 1, 0, 0], None, brightness=[1, 2, 3, 4]), 0.95)
    assert {row["undefined"] for row in rows} == {"no threshold"}
    assert not any("p" in row for row in rows)


@pytest.mark.parametrize("bad", BAD)
def test_bad_input_leaves_reasons_or_nothing(
    bad: str, made_once: tuple[Path, MadeStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = copy_study(made_once, tmp_path, monkeypatch)
    columns = {name: list(table(data, "clean")) for name, table in TABLES.items()}
    edit_predictions(data, BAD[bad])
    again = replace(data)  # reads its tables anew
    for name, table in TABLES.items():
        made = table(again, "clean")
        assert list(made) == columns[name]
        if "undefined" in made:
            values = made["p"] if "p" in made else made["recall"].fillna(made["false_alarm_rate"])
            explained = made["undefined"].astype(object).fillna("") != ""
            pair = made["record"] == "pair" if "record" in made else True
            assert (values.notna() | explained | ~pd.Series(pair, index=made.index)).all()


def test_a_table_is_read_back_by_the_names_of_its_rows(
    made_once: tuple[Path, MadeStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = copy_study(made_once, tmp_path, monkeypatch)
    write_tables(data, "clean")
    table = read_table(data, "clean", "failures.csv")
    assert set(table) == {row_names(cell) for cell in data.cells("clean")}
    assert sum(map(len, table.values())) == len(failures_table(data, "clean"))
    assert list(failures_table(data, "clean"))[: len(key_columns(data, "clean"))] == key_columns(data, "clean")


def test_tables_of_equal_studies_are_equal(data: StudyData) -> None:
    for table in TABLES.values():
        assert table(data, "clean").to_csv(index=False) == table(replace(data), "clean").to_csv(index=False)


def test_images_are_in_the_order_of_the_predictions(data: StudyData) -> None:
    for cell, images in zip(data.cells("pool"), read_judged(data, data.cells("pool")), strict=True):
        assert images.images.names == data.results.images(cell).names
        assert np.isnan(images.facts["defect_area"]).tolist() == (images.images.labels == 0).tolist()
