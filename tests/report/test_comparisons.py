import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jinja2 import Environment, PackageLoader, StrictUndefined

from patchshift.evaluation.comparisons import compare_aurocs, correct_holm
from patchshift.plan.cells import Cell
from patchshift.plan.experiments import StudyPlan
from patchshift.plan.specs import AnalysisSpec, EvaluationSpec
from patchshift.report.analyses.comparisons import (
    CATEGORY,
    COLUMNS,
    OVER_CATEGORIES,
    Ranker,
    comparisons_table,
    group_cells,
    list_pairs,
)
from patchshift.report.analyses.study_data import StudyData
from patchshift.report.keys import cell_keys
from patchshift.report.pairing import mean_difference
from patchshift.report.sections.comparisons import SHOWN, ComparisonsSection, describe_comparisons
from patchshift.report.templating import make_breakable

SPEC = EvaluationSpec(bootstrap_resamples=100)
LABELS = np.repeat([0, 1], [12, 10])
Scores = Callable[[Cell], np.ndarray]
SKILLS = {"sharp": 2.5, "blunt": 0.5, "middling": 1.2}


def scores_of(cell: Cell) -> np.ndarray:
    """What is hard in an image is hard for all; the rest is a bank's own."""
    image = np.random.default_rng(sum(map(ord, cell.target.path))).normal(0, 1, len(LABELS))
    own = np.random.default_rng(sum(map(ord, cell.scores))).normal(0, 0.5, len(LABELS))
    return np.round(image + own + SKILLS.get(cell.bank.detector, 1.5) * LABELS, 6)


def make_data(
    folder: Path,
    scores: Scores = scores_of,
    *,
    categories: int = 2,
    relabelled: Callable[[Cell], np.ndarray] = lambda cell: np.zeros(len(LABELS), bool),
    select: Mapping[str, Any] | None = None,
    external: Mapping[str, str] | None = None,
    **experiment: Any,
) -> StudyData:
    """A study with one experiment, whose tables hold these scores."""
    chosen = {"splits": ["s"], "backbones": ["net"], "detectors": ["blunt", "sharp"], "thresholds": ["f1_max"]}
    plan = StudyPlan.model_validate(
        {
            "study": "made",
            "select": chosen | dict(select or {}),
            "order": ["tried"],
            "experiments": {"tried": {"title": "Tried", "train": ["d"], **experiment}},
            "datasets": {"d": [f"c{number}" for number in range(categories)]},
            "pools": {},
            "weights": {"net": "net.pth", "other": "random"},
            "external": external or {},
        }
    )
    keys: list[str] = []
    rows: list[dict[str, Any]] = []
    for cell in plan.cells()["tried"]:
        keys = list(cell_keys(cell))
        gone = relabelled(cell)
        for number, score in enumerate(scores(cell)):
            label = int(LABELS[number] and not gone[number])
            image = {"image": f"{number}.png", "label": label, "defect": "hole" if label else ""}
            rows.append({**cell_keys(cell), **image, "relabelled": int(gone[number]), "score": score})
    images = ["image", "label", "defect", "relabelled", "score", "normalised_score", "decision", "threshold"]
    folder.mkdir(exist_ok=True)
    pd.DataFrame(rows, columns=[*keys, *images]).to_csv(folder / "predictions.csv", index=False)
    pd.DataFrame(columns=[*keys, "metric", "value", "low", "high", "undefined"]).to_csv(
        folder / "metrics.csv", index=False
    )
    return StudyData(plan, SPEC, AnalysisSpec(), {}, {}, {}, folder)


def describe(data: StudyData) -> ComparisonsSection | None:
    """The section, from the table as it is written."""
    folder = data.experiment_folder("tried")
    folder.mkdir(parents=True, exist_ok=True)
    comparisons_table(data, "tried").to_csv(folder / "comparisons.csv", index=False)
    return describe_comparisons(data, "tried")


def test_each_category_has_delongs_test_and_all_have_the_mean(tmp_path: Path) -> None:
    data = make_data(tmp_path)
    table = comparisons_table(data, "tried")
    assert list(table.columns) == list(COLUMNS)
    assert list(table["level"]) == [CATEGORY, CATEGORY, OVER_CATEGORIES]
    assert set(table["first_detector"]) == {"sharp"}
    assert set(table["second_detector"]) == {"blunt"}
    assert set(table["comparison"]) == {"pairwise"}
    of_category = {(cell.bank.detector, cell.target.category): cell for cell in data.cells("tried")}
    for row in table.iloc[:2].to_dict("records"):
        sides = [scores_of(of_category[name, row["target_category"]]) for name in ("sharp", "blunt")]
        test = compare_aurocs(LABELS, *sides, 0.95)
        assert (row["difference"], row["low"], row["high"], row["p"]) == pytest.approx(
            (test.difference, test.low, test.high, test.p)
        )
        assert (row["images"], row["left_out"]) == (22, 0)
    assert list(table["p_holm"][:2]) == correct_holm(list(table["p"][:2]))


def test_the_mean_has_the_interval_of_mean_difference(tmp_path: Path) -> None:
    data = make_data(tmp_path, categories=3)
    row = comparisons_table(data, "tried").iloc[-1]
    cells = data.cells("tried")
    sides = [[cell for cell in cells if cell.bank.detector == name] for name in ("sharp", "blunt")]
    expected = mean_difference(data.results, *sides, SPEC)
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((expected.value, expected.low, expected.high))
    assert row["categories"] == 3
    assert row["t"] > 0
    assert np.isnan(row["wilcoxon"])
    assert "with 3 categories the signed-rank test cannot reach" in row["undefined"]


def test_six_categories_are_enough_for_the_signed_rank_test(tmp_path: Path) -> None:
    row = comparisons_table(make_data(tmp_path, categories=6), "tried").iloc[-1]
    assert row["wilcoxon_p"] == 2 / 2**6
    assert row["rank_biserial"] == 1
    assert row["undefined"] == ""


def test_each_kind_of_test_is_corrected_over_the_experiment(tmp_path: Path) -> None:
    select = {"detectors": ["blunt", "sharp", "middling"]}
    table = comparisons_table(make_data(tmp_path, categories=6, select=select), "tried")
    for name, count in (("p", 18), ("wilcoxon_p", 3), ("t_p", 3)):
        tested = table[table[name].notna()]
        assert len(tested) == count
        assert list(tested[f"{name}_holm"]) == pytest.approx(correct_holm(list(tested[name])))


def test_seeds_are_paired_and_resampled_together(tmp_path: Path) -> None:
    def same_for_all_seeds(cell: Cell) -> np.ndarray:
        return scores_of(Cell(cell.bank.__class__(**{**vars(cell.bank), "seed": 0}), cell.target, cell.target, "t"))

    one = comparisons_table(make_data(tmp_path / "one", same_for_all_seeds), "tried")
    three = comparisons_table(make_data(tmp_path / "three", same_for_all_seeds, seeds=[3, 1, 2]), "tried")
    # banks that differ in nothing know no more of the images, so their interval is no shorter
    numbers = ["difference", "low", "high", "p", "t", "t_p", "cohen_d"]
    assert one[numbers].to_numpy(float) == pytest.approx(three[numbers].to_numpy(float), nan_ok=True)
    assert list(three["seeds"]) == ["1", "1", "1 2 3"]
    assert list(three["images"]) == [22, 22, 44]


def test_delong_is_of_the_lowest_common_seed_and_the_mean_of_all(tmp_path: Path) -> None:
    exclude = [{"detector": "blunt", "seed": 0}]
    data = make_data(tmp_path, seeds=[0, 1, 2], exclude=exclude)
    table = comparisons_table(data, "tried")
    assert list(table["seeds"]) == ["1", "1", "1 2"]
    chosen = {
        (cell.bank.detector, cell.bank.seed): scores_of(cell)
        for cell in data.cells("tried")
        if cell.target.category == "c0"
    }
    assert table["p"][0] == pytest.approx(compare_aurocs(LABELS, chosen["sharp", 1], chosen["blunt", 1], 0.95).p)


def test_without_a_common_seed_nothing_is_tested(tmp_path: Path) -> None:
    exclude = [{"detector": "blunt", "seed": 0}, {"detector": "sharp", "seed": 1}]
    table = comparisons_table(make_data(tmp_path, seeds=[0, 1], exclude=exclude), "tried")
    assert table["p"].isna().all()
    assert set(table["undefined"]) == {"no seed in common", "an image AUROC is undefined"}


def test_relabelled_images_are_left_out_of_both_sides(tmp_path: Path) -> None:
    gone = np.arange(len(LABELS)) >= 20

    def relabel(cell: Cell) -> np.ndarray:
        return gone if cell.target.category == "c0" else np.zeros(len(LABELS), bool)

    data = make_data(tmp_path, relabelled=relabel)
    table = comparisons_table(data, "tried")
    assert list(table["left_out"]) == [2, 0, 2]
    assert list(table["images"]) == [20, 22, 42]
    sides = {cell.bank.detector: scores_of(cell)[~gone] for cell in data.cells("tried") if "c0" in cell.target.path}
    assert table["p"][0] == pytest.approx(compare_aurocs(LABELS[~gone], sides["sharp"], sides["blunt"], 0.95).p)


def test_scores_that_are_not_finite_leave_their_category_out(tmp_path: Path) -> None:
    def broken(cell: Cell) -> np.ndarray:
        spoilt = cell.target.category == "c0" and cell.bank.detector == "sharp"
        return np.where(np.arange(len(LABELS)) == 3, np.nan, scores_of(cell)) if spoilt else scores_of(cell)

    table = comparisons_table(make_data(tmp_path, broken), "tried")
    assert "not finite" in table["undefined"][0]
    assert np.isnan(table["p"][0])
    assert table["p_holm"][1] == table["p"][1]  # the undefined one is no test
    assert (table["categories"][2], table["images"][2]) == (1, 22)
    assert table["difference"][2] == pytest.approx(table["difference"][1])


def test_one_setup_alone_gives_no_row_but_the_columns(tmp_path: Path) -> None:
    data = make_data(tmp_path, select={"detectors": ["sharp"]})
    table = comparisons_table(data, "tried")
    assert table.empty
    assert list(table.columns) == list(COLUMNS)
    assert describe(data) is None


def test_setups_are_compared_within_a_condition_only(tmp_path: Path) -> None:
    data = make_data(tmp_path, target_domains=["clean", "dark"])
    table = comparisons_table(data, "tried")
    assert list(table["target_domain"]) == ["clean"] * 3 + ["dark"] * 3
    assert {(condition.trained_on, condition.train_domain) for condition in group_cells(data.cells("tried"))} == {
        ("own category", "clean")
    }


def test_thresholds_do_not_multiply_the_pairs(tmp_path: Path) -> None:
    data = make_data(tmp_path, select={"thresholds": ["f1_max", "normal_quantile"]})
    assert len(comparisons_table(data, "tried")) == 3


def test_scores_of_another_method_are_no_setup_of_every_backbone(tmp_path: Path) -> None:
    select = {"detectors": ["sharp", "flow"], "backbones": ["net", "other"]}
    table = comparisons_table(make_data(tmp_path, select=select, external={"flow": ""}), "tried")
    pairs = set(zip(table["first_detector"], table["first_backbone"], table["second_backbone"], strict=True))
    assert pairs == {("flow", "net", "net"), ("flow", "net", "other"), ("sharp", "other", "net")}


def test_the_baseline_stands_second() -> None:
    setups = [Ranker("net", "a"), Ranker("net", "base"), Ranker("other", "a"), Ranker("other", "base")]
    a, base, other_a, other_base = setups
    assert list_pairs(setups, "base", pairwise=True) == [
        (other_base, base), (a, base), (other_a, base), (a, other_base), (other_a, other_base), (other_a, a),
    ]  # fmt: skip
    assert list_pairs(setups, "base", pairwise=False) == [(other_base, base), (a, base), (other_a, other_base)]
    assert list_pairs([a, other_a], "absent", pairwise=False) == [(other_a, a)]
    assert list_pairs([base, Ranker("third", "a")], "base", pairwise=False) == [(Ranker("third", "a"), base)]


def test_many_setups_are_compared_with_the_baseline_alone(tmp_path: Path) -> None:
    detectors = [f"d{number}" for number in range(13)]
    data = make_data(tmp_path, categories=1, select={"detectors": detectors})
    table = comparisons_table(data, "tried")
    assert set(table["comparison"]) == {"with baseline"}
    assert set(table["second_detector"]) == {"d0"}
    assert list(table["first_detector"].unique()) == detectors[1:]
    section = describe(data)
    assert section is not None
    assert "There are many setups, so each is compared with the baseline alone." in section.sentences


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    tables = [comparisons_table(make_data(tmp_path, categories=6), "tried").to_csv() for _ in range(2)]
    assert tables[0] == tables[1]


def test_the_section_names_the_higher_first_and_says_what_is_told_apart(tmp_path: Path) -> None:
    data = make_data(tmp_path, categories=8, select={"detectors": ["sharp", "blunt", "middling"]})
    section = describe(data)
    assert section is not None
    assert section.table == "experiments/tried/comparisons.csv"
    assert (section.rows[0].higher, section.rows[0].lower) == ("sharp", "blunt")
    assert all(row.difference.value is not None and row.difference.value >= 0 for row in section.rows)
    assert all(row.told_apart for row in section.rows)
    assert section.rows[0].over == "8 categories"
    assert section.rows[0].test == "Wilcoxon"
    assert section.sentences[0].startswith("3 of 3 pairs of setups on net are told apart on the same images.")
    assert section.sentences[1].startswith("The largest difference told apart is that of sharp over blunt: 0.")
    assert "higher in" in section.rows[0].by_category
    assert section.hidden == 0
    assert not section.has_conditions


def test_equal_detectors_are_not_told_apart(tmp_path: Path) -> None:
    section = describe(make_data(tmp_path, lambda cell: LABELS + np.arange(len(LABELS)) % 3, categories=6))
    assert section is not None
    (row,) = section.rows
    assert (row.told_apart, row.verdict, row.shown_p, row.shown_difference) == (
        False,
        "not told apart",
        "1.00",
        "0.000",
    )
    assert row.by_category == "single categories: told apart in none of 6"
    assert section.sentences[0].startswith("The two setups on net are not told apart on the same images.")
    assert len(section.sentences) == 1


def test_intervals_above_zero_are_told_where_a_test_of_few_categories_confirms_nothing(tmp_path: Path) -> None:
    section = describe(make_data(tmp_path, categories=2, select={"detectors": ["sharp", "blunt", "middling"]}))
    assert section is not None
    assert section.sentences[0].startswith("None of 3 pairs of setups on net is told apart")
    assert section.sentences[1].startswith("Of 3 pairs the interval alone lies above 0: on these test images")


def test_one_category_is_judged_by_delongs_test(tmp_path: Path) -> None:
    section = describe(make_data(tmp_path, categories=1))
    assert section is not None
    (row,) = section.rows
    assert (row.test, row.over, row.by_category) == ("DeLong", "c0", "")


def test_the_t_test_judges_where_signed_ranks_cannot_tell_so_many_pairs_apart(tmp_path: Path) -> None:
    detectors = {"detectors": ["sharp", "blunt", "middling"]}
    alone, three = (
        describe(make_data(tmp_path / name, categories=6, select=select))
        for name, select in (("alone", {}), ("three", detectors))
    )
    assert alone is not None
    assert three is not None
    assert {row.test for row in alone.rows} == {"Wilcoxon"}
    assert {row.test for row in three.rows} == {"paired t"}  # 3 tests of p = 2 / 64 at best


def edit_table(data: StudyData, edit: Callable[[dict[str, str]], dict[str, str]]) -> ComparisonsSection:
    path = data.experiment_folder("tried") / "comparisons.csv"
    with path.open() as file:
        rows = [edit(row) for row in csv.DictReader(file)]
    with path.open("w") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    section = describe_comparisons(data, "tried")
    assert section is not None
    return section


@pytest.mark.parametrize("change", [{"p_holm": "0.2"}, {"low": "-0.001"}, {"p_holm": "0.05"}, {"low": ""}])
def test_told_apart_takes_both_p_and_interval(tmp_path: Path, change: dict[str, str]) -> None:
    data = make_data(tmp_path, categories=1)
    describe(data)
    sure = {"difference": "0.2", "low": "0.1", "high": "0.3", "p_holm": "0.01"}
    assert edit_table(data, lambda row: row | sure).rows[0].told_apart
    assert not edit_table(data, lambda row: row | sure | change).rows[0].told_apart


def test_pairs_that_could_not_be_tested_say_why(tmp_path: Path) -> None:
    section = describe(make_data(tmp_path, lambda cell: np.full(len(LABELS), np.nan)))
    assert section is not None
    assert "not finite" in section.rows[0].verdict
    assert section.sentences[-1] == "1 pair could not be tested."
    assert "undefined" in show(section)


def test_external_detectors_have_no_backbone_and_random_weights_are_said(tmp_path: Path) -> None:
    select = {"detectors": ["sharp", "flow"], "backbones": ["net", "other"]}
    section = describe(make_data(tmp_path, select=select, external={"flow": ""}))
    assert section is not None
    names = {name for row in section.rows for name in (row.higher, row.lower)}
    assert names == {"flow", "sharp on net", "sharp on other (random weights)"}


def test_conditions_are_said_where_they_differ(tmp_path: Path) -> None:
    section = describe(make_data(tmp_path, target_domains=["clean", "dark"]))
    assert section is not None
    assert {row.condition for row in section.rows} == {"clean", "dark"}
    assert "<th>on</th>" in show(section)


def show(section: ComparisonsSection) -> str:
    """The partial, included as a page includes it."""
    environment = Environment(loader=PackageLoader("patchshift.report"), autoescape=True, undefined=StrictUndefined)
    environment.filters["breakable"] = make_breakable
    source = '{% from "comparisons.html" import comparisons %}{{ comparisons(section) }}'
    return environment.from_string(source).render(section=section)


def test_the_page_shows_few_rows_links_all_and_escapes_names(tmp_path: Path) -> None:
    detectors = [f"d{number}" for number in range(7)]
    data = make_data(tmp_path, select={"detectors": detectors})
    describe(data)
    nasty = "<script>x</script>"
    section = edit_table(data, lambda row: row | {"first_detector": row["first_detector"].replace("d6", nasty)})
    assert (len(section.rows), section.hidden) == (SHOWN, 1)
    page = show(section)
    assert page.count("<tr>") == SHOWN + 1
    assert "1 more pair," in page
    assert 'href="experiments/tried/comparisons.csv"' in page
    assert nasty not in page
    assert "&lt;script&gt;" in page
