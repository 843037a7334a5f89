from patchshift.report.experiments import METRICS, bars_of_rows, curve_panels, results_table
from patchshift.report.results import StudyResults, read_rows


def test_every_cell_has_its_row_under_its_category(results):
    table = results_table(results, results.cells["clean"])
    assert {category: [line.group for line in lines] for category, lines in table.lines.items()} == {
        "a": ["blunt", "sharp"],
        "b": ["blunt", "sharp"],
    }


def test_the_highest_of_a_target_is_marked_and_nothing_else(results):
    table = results_table(results, results.cells["clean"])
    position = list(METRICS).index("image_auroc")
    blunt, sharp = (line.entries[position] for line in table.lines["a"])
    assert sharp.value.value > blunt.value.value
    assert (blunt.is_best, sharp.is_best) == (False, True)
    assert table.has_marks


def test_floor_is_neither_compared_nor_uncertain(results):
    table = results_table(results, results.cells["clean"])
    floors = [line.entries[list(METRICS).index("f1_floor")] for lines in table.lines.values() for line in lines]
    assert all(not floor.is_best and not floor.has_interval for floor in floors)


def test_single_row_of_a_target_is_not_the_best_of_anything(results):
    table = results_table(results, [results.cells["pool"][0]])
    assert not table.has_marks


def test_undefined_metrics_point_to_their_reason(make_study):
    study = make_study(validation=False)
    results = StudyResults(study.plan, study.folder)
    table = results_table(results, results.cells["clean"])
    entry = table.lines["a"][0].entries[list(METRICS).index("f1")]
    assert entry.value.value is None
    assert table.notes[entry.note - 1] == "no validation image"


def test_bars_show_each_ranking_once(made, results):
    rows = read_rows(made.folder / "experiments" / "clean" / "results.csv")
    bars = bars_of_rows([*rows, *({**row, "policy": "another"} for row in rows)])
    expected = {(category, group) for category in ("a", "b") for group in ("blunt", "sharp")}
    assert len(bars) == 4
    assert {(bar.category, bar.group) for bar in bars} == expected


def test_curves_are_of_the_categories_that_can_be_ranked(results):
    panels = curve_panels(results, results.cells["shifted"])
    assert {category: list(lines) for category, lines in panels.items()} == {
        "a": ["blunt", "sharp"],
        "b": ["blunt", "sharp"],
    }
