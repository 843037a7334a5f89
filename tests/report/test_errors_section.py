from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from jinja2 import Environment, PackageLoader, StrictUndefined

from patchshift.report.analyses.study_data import StudyData
from patchshift.report.sections.defect_groups import DefectGroup, tell_types
from patchshift.report.sections.errors import SHOWN, ErrorsSection, describe_errors
from patchshift.report.templating import make_breakable
from tests.report.conftest import NASTY, MadeStudy
from tests.report.test_failures import copy_study, edit_predictions, no_decisions, recommend_nothing, write_tables


@pytest.fixture
def data(made_once: tuple[Path, MadeStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyData:
    recommend_nothing(monkeypatch)  # so that `blunt`, the baseline, is shown: it fails in every way
    data = copy_study(made_once, tmp_path, monkeypatch)
    write_tables(data, "clean")
    return data


def describe(data: StudyData) -> ErrorsSection:
    section = describe_errors(data, "clean")
    assert section is not None
    return section


def edit_table(data: StudyData, name: str, **columns: object) -> pd.DataFrame:
    """The table, with columns set to one value, kept."""
    path = data.experiment_folder("clean") / name
    frame = pd.read_csv(path, keep_default_na=False, dtype=str).assign(**columns)
    frame.to_csv(path, index=False)
    return frame


def set_defects(data: StudyData, found: dict[tuple[str, str], tuple[int, int]]) -> None:
    """Give groups of defects.csv (images, called defective)."""
    path = data.experiment_folder("clean") / "defects.csv"
    frame = pd.read_csv(path, keep_default_na=False, dtype=str)
    for (by, value), (images, called) in found.items():
        rows = (frame["by"] == by) & (frame["value"] == value)
        frame.loc[rows, ["images", "called_defective", "called_good"]] = [
            str(images),
            str(called),
            str(images - called),
        ]
    frame.to_csv(path, index=False)


def test_the_section_is_of_the_recommended_setup_and_names_its_tables(
    made_once: tuple[Path, MadeStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = copy_study(made_once, tmp_path, monkeypatch)
    section = describe(data)
    assert section.shown == (
        "sharp on net, the setup that the study recommends: fitted on clean, scored on clean, threshold f1_max"
    )
    assert section.is_recommended
    assert section.tables["defects.csv"] == "experiments/clean/defects.csv"
    assert all((data.folder / path).is_file() for path in section.tables.values())


def test_without_a_recommendation_the_section_is_of_the_baseline_and_says_why(data: StudyData) -> None:
    section = describe(data)
    assert section.shown.startswith("blunt on net, the experiment's baseline, since the study recommends none: ")
    assert not section.is_recommended
    assert describe(replace(data, baselines={"clean": "sharp"})).shown.startswith("sharp")


def test_counts_of_several_categories_are_said_to_be_pooled(data: StudyData) -> None:
    assert describe(data).sentences[0].startswith("Of all 2 categories together, ")


def test_types_stand_with_the_least_found_first(data: StudyData) -> None:
    rows = describe(data).rows
    assert len(rows) == 4
    assert [row.found.value for row in rows] == sorted(row.found.value for row in rows)
    assert all(row.found.total == 3 and row.auroc.low is not None for row in rows)


def test_the_rest_of_many_types_is_counted(data: StudyData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patchshift.report.sections.errors.SHOWN", 3)
    section = describe(data)
    assert (len(section.rows), section.hidden) == (3, 1)
    assert SHOWN > 3


def test_types_that_stand_alone_in_their_categories_are_not_said_to_be_like_others() -> None:
    types = [DefectGroup(name, {"value": "ko", "images": "20", "called_defective": "9"}) for name in ("a", "b", "c")]
    assert tell_types(types, 0.95) == []


def test_a_type_is_told_from_the_others_only_where_the_intervals_do_not_overlap(data: StudyData) -> None:
    nothing = "No defect type is told from the others of its category by its recall: the intervals overlap."
    assert nothing in describe(data).sentences
    set_defects(data, {("defect", "hole"): (20, 4), ("defect", NASTY): (20, 19)})
    sentences = describe(data).sentences
    assert nothing not in sentences
    assert (
        "a: hole is found less often than the other defects, 4 of 20 (0.08 to 0.42) against 19 of 20 (0.76 to 0.99)."
        in sentences
    )
    set_defects(data, {("defect", "hole"): (20, 13), ("defect", NASTY): (20, 19)})
    assert nothing in describe(data).sentences


def set_places(data: StudyData, found: dict[tuple[str, str], tuple[int, int]]) -> None:
    """Give places of defects.csv (images, called defective), by category; what is not named has no row."""
    path = data.experiment_folder("clean") / "defects.csv"
    frame = pd.read_csv(path, keep_default_na=False, dtype=str)
    shown = (frame["detector"] == "blunt") & (frame["by"] == "all") & (frame["value"] == "defective")
    rows = []
    for (category, value), (images, called) in found.items():
        row = frame[shown & (frame["target_category"] == category)].iloc[0].to_dict()
        row |= {"by": "position", "value": value, "images": str(images), "called_defective": str(called)}
        rows.append(row | {"called_good": str(images - called)})
    frame = pd.concat([frame[frame["by"] != "position"], pd.DataFrame(rows)])
    frame.to_csv(path, index=False)


def place_of(**places: dict[str, tuple[int, int]]) -> dict[tuple[str, str], tuple[int, int]]:
    return {(category, value): counts for value, found in places.items() for category, counts in found.items()}


def tell_places(data: StudyData) -> list[str]:
    return [sentence for sentence in describe(data).sentences if "at the border" in sentence]


def test_small_and_large_defects_are_compared_within_categories(data: StudyData) -> None:
    set_defects(data, {("size", "small"): (10, 1), ("size", "large"): (10, 10)})
    (said,) = (sentence for sentence in describe(data).sentences if "mall defects" in sentence)
    assert said.startswith("Small defects are found less often than large ones of the same category (90 of 100 fewer, ")
    assert said.endswith("; over 2 categories 2 of 20 against 20 of 20).")
    set_defects(data, {("size", "small"): (10, 8), ("size", "large"): (10, 10)})
    assert not any("mall defects" in sentence for sentence in describe(data).sentences)


def test_a_hard_category_whose_defects_lie_at_the_border_makes_no_border_effect(data: StudyData) -> None:
    # pooled, 18 of 50 at the border against 46 of 50 at the centre; in each category as many are found there as here
    set_places(
        data, {("a", "border"): (45, 14), ("a", "centre"): (5, 2), ("b", "border"): (5, 4), ("b", "centre"): (45, 44)}
    )
    assert tell_places(data) == []


def test_a_border_effect_within_categories_is_told_though_pooling_hides_it(data: StudyData) -> None:
    # pooled, 43 of 60 are found at the border and 42 of 60 at the centre
    set_places(
        data,
        {("a", "border"): (10, 1), ("a", "centre"): (40, 24), ("b", "border"): (50, 42), ("b", "centre"): (20, 18)},
    )
    (said,) = tell_places(data)
    assert said.startswith("Defects at the border are found less often than those at the centre of the same category (")


def test_a_place_that_only_one_category_has_is_not_compared(data: StudyData) -> None:
    set_places(data, {("a", "border"): (30, 5), ("b", "centre"): (30, 29)})
    assert tell_places(data) == [
        "No category has both defects at the border and those at the centre: they cannot be compared."
    ]
    set_places(data, {("a", "border"): (30, 5)})
    assert tell_places(data) == []


def test_the_one_category_that_can_be_compared_is_named(data: StudyData) -> None:
    set_places(data, {("a", "border"): (30, 5), ("a", "centre"): (30, 29), ("b", "centre"): (30, 29)})
    assert tell_places(data) == [
        "a: defects at the border are found less often than those at the centre, 5 of 30 against 29 of 30 (80 of 100 "
        "fewer, 58 to 90)."
    ]


def test_facts_are_corrected_over_all_categories_of_the_section(data: StudyData) -> None:
    table = edit_table(
        data, "failure_factors.csv", p="", p_corrected="", effect=-0.5, median_failures=1, median_successes=2
    )

    def tell(p: dict[str, str]) -> list[str]:
        """The sentences where two facts of category a and one of b are tested."""
        for number, (category, fact) in enumerate((("a", "brightness"), ("a", "contrast"), ("b", "defect_area"))):
            rows = (table["fact"] == fact) & (table["target_category"] == category) & (table["kind"] == "missed")
            rows &= table["detector"] == "blunt"
            assert rows.sum() == 1
            table.loc[rows, ["p", "failures", "successes"]] = [p.get(fact, "0.5"), "3", str(20 + number)]
        table.to_csv(data.experiment_folder("clean") / "failure_factors.csv", index=False)
        return [sentence for sentence in describe(data).sentences if "corrected" in sentence or "p =" in sentence]

    # alone in its cell, 0.02 would be told apart
    assert tell({"defect_area": "0.02"}) == [
        "In no fact of the images do failures differ from successes with a p below 0.05, corrected for 3 tests."
    ]
    assert tell({"defect_area": "0.01"}) == [
        "b: images whose defect is missed tend to have a smaller share of defective pixels than those whose defect is "
        "found (3 missed, 22 found; median 1 against 2, p = 0.03).",
        "These p are corrected for all 3 tests of facts in these categories.",
    ]


def test_errors_shared_with_others_are_counted_over_the_categories(data: StudyData) -> None:
    rows = describe(data).shared
    assert [(row.other, row.kind, row.shared.total) for row in rows] == [
        ("sharp", "missed", 12),
        ("sharp", "false alarm", 12),
    ]
    numbers = {"both_right": 2, "first_wrong": 1, "second_wrong": 2, "both_wrong": 1}
    table = edit_table(data, "co_failures.csv")
    for name, number in numbers.items():
        table.loc[table["record"] == "pair", name] = str(number)
    table.to_csv(data.experiment_folder("clean") / "co_failures.csv", index=False)
    section = describe(data)
    assert [row.shared.both_wrong for row in section.shared] == [2, 2]
    assert "No other detector's missed defects are told from its own in number (McNemar's test)." in section.sentences


def test_a_detector_with_fewer_errors_is_named_with_its_corrected_p(data: StudyData) -> None:
    table = edit_table(data, "co_failures.csv")

    def tell(missed: int) -> list[str]:
        for kind, wrong_here in (("missed", missed), ("false alarm", 1)):
            rows = (table["record"] == "pair") & (table["kind"] == kind)
            counts = {"both_right": 9, "first_wrong": wrong_here, "second_wrong": 0, "both_wrong": 1}
            table.loc[rows, list(counts)] = [str(count) for count in counts.values()]
        table.to_csv(data.experiment_folder("clean") / "co_failures.csv", index=False)
        return [sentence for sentence in describe(data).sentences if "McNemar" in sentence]

    nothing = "No other detector's {} are told from its own in number (McNemar's test)."
    level = [nothing.format("missed defects"), nothing.format("false alarms")]
    assert tell(3) == level  # of both categories 6: p = 0.031, but twice that of two comparisons
    assert describe(data).shared[0].p == pytest.approx(2 * 2 / 2**6)
    assert tell(4) == [
        "sharp has fewer missed defects than blunt: of 28 images 0 are wrong there alone, 8 here alone (McNemar's "
        "test, p = 0.016, corrected for 2 comparisons).",
        nothing.format("false alarms"),
    ]


def test_there_is_no_section_where_nothing_is_decided(data: StudyData) -> None:
    edit_predictions(data, no_decisions)
    again = replace(data)
    write_tables(again, "clean")
    assert describe_errors(again, "clean") is None


def test_the_section_is_escaped_and_links_to_its_tables(data: StudyData) -> None:
    environment = Environment(
        loader=PackageLoader("patchshift.report"),
        autoescape=True,
        undefined=StrictUndefined,
    )
    environment.filters["breakable"] = make_breakable
    template = environment.from_string('{% from "errors.html" import errors %}{{ errors(section) }}')
    text = template.render(section=describe(data))
    assert NASTY not in text
    assert "&lt;script&gt;" in text
    assert 'href="experiments/clean/defects.csv"' in text
    assert "missed defects" in text
