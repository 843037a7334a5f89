import pytest

from patchshift.plan.specs import EvaluationSpec
from patchshift.report.results import StudyResults
from patchshift.report.shift import compare_pools, compare_shifts

SPEC = EvaluationSpec(bootstrap_resamples=100)


def test_every_category_starts_in_domain_and_then_shifts(results):
    comparison = next(each for each in compare_shifts(results, "clean", SPEC) if each.setup.detector == "sharp")
    assert comparison.conditions == ["in domain", "no adaptation", "adapted"]
    assert {
        category: [(row.domain, row.condition) for row in rows] for category, rows in comparison.outcomes.items()
    } == {name: [("clean", "in domain"), ("dark", "no adaptation"), ("dark", "adapted")] for name in ("a", "b")}


def test_each_setup_is_compared_with_itself(results):
    comparisons = compare_shifts(results, "clean", SPEC)
    assert [each.setup.detector for each in comparisons] == ["blunt", "sharp"]
    for comparison in comparisons:
        cells = [row.cell for rows in comparison.outcomes.values() for row in rows]
        assert {cell.bank.detector for cell in cells} == {comparison.setup.detector}


def test_drift_raises_false_alarms_and_adaptation_takes_them_back(results):
    comparison = next(each for each in compare_shifts(results, "clean", SPEC) if each.setup.detector == "sharp")
    start, shifted, adapted = comparison.outcomes["a"]
    assert shifted.false_alarms.count == shifted.false_alarms.total == 6
    assert max(start.false_alarms.count, adapted.false_alarms.count) < 6


def test_panels_join_the_reference_to_every_shifted_domain(results):
    comparison = compare_shifts(results, "clean", SPEC)[0]
    panels = comparison.panels()
    assert list(panels["a"]) == ["dark"]
    assert list(panels["a"]["dark"]) == ["in domain", "no adaptation", "adapted"]
    start = comparison.outcomes["a"][0]
    assert panels["a"]["dark"]["in domain"]["image_auroc"] == start.auroc


def test_every_shifted_row_says_how_it_differs_from_the_reference(results):
    for comparison in compare_shifts(results, "clean", SPEC):
        for start, *shifted in comparison.outcomes.values():
            assert start.cell not in comparison.changes
            for row in shifted:
                change = comparison.changes[row.cell]
                assert change.value == pytest.approx(row.auroc.value - start.auroc.value)
                assert change.low <= change.value <= change.high
        assert comparison.left_out == {}


def test_defects_that_are_gone_are_left_out_of_changes_and_counted_once(make_study):
    study = make_study(gone=2)
    results = StudyResults(study.plan, study.folder)
    comparison = compare_shifts(results, "clean", SPEC)[0]
    assert len(comparison.changes) == 4  # two categories, without adaptation and adapted
    assert comparison.left_out == {"dark": 4}


def test_pool_is_paired_with_the_banks_of_its_categories(results):
    for comparison in compare_pools(results, SPEC):
        assert [(own.category, pooled.category) for own, pooled in comparison.pairs] == [("a", "a"), ("b", "b")]
        for own, pooled in comparison.pairs:
            assert own.cell.bank.training.dataset == "d"
            assert pooled.cell.bank.training.dataset == "pools"
            assert own.cell.calibration == pooled.cell.calibration
        assert comparison.left_out == {}
    assert len(compare_pools(results, SPEC)) == 2


def test_study_without_shift_or_pool_compares_nothing(make_study):
    study = make_study(clean={"title": "Only", "train": ["d/a"]})
    results = StudyResults(study.plan, study.folder)
    assert compare_shifts(results, "clean", SPEC) == []
    assert compare_pools(results, SPEC) == []
