import pytest

from patchshift.plan.specs import EvaluationSpec
from patchshift.report.results import StudyResults
from patchshift.report.shift import compare_shifts

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
            assert start.change is None
            for row in shifted:
                change = row.change.value
                assert row.change.paired
                assert change.value == pytest.approx(row.auroc.value - start.auroc.value)
                assert change.low <= change.value <= change.high
        assert comparison.left_out == {}


def test_defects_that_are_gone_are_left_out_of_changes_and_counted_once(make_study):
    study = make_study(gone=2)
    results = StudyResults(study.plan, study.folder)
    comparison = compare_shifts(results, "clean", SPEC)[0]
    assert sum(row.change is not None for row in comparison.rows()) == 4  # two categories, unadapted and adapted
    assert comparison.left_out == {"dark": 4}


def test_study_without_shift_compares_nothing(make_study):
    study = make_study(clean={"title": "Only", "train": ["d/a"]})
    results = StudyResults(study.plan, study.folder)
    assert compare_shifts(results, "clean", SPEC) == []


TWO_CAMERAS = {
    "clean": {"title": "Both cameras at home", "train": ["d", "e"]},
    "other": {"title": "Shifted", "train": ["d"], "target_domains": ["camera_b"]},
    "calibrated": {"title": "", "train": ["d"], "target_domains": ["camera_b"], "calibrate_on": "target"},
    "adapted": {"title": "Adapted", "train": ["d"], "train_domains": ["camera_b"]},
}


@pytest.fixture
def cameras(make_study):
    study = make_study(camera=True, detectors=("sharp",), **TWO_CAMERAS)
    return StudyResults(study.plan, study.folder)


def test_a_natural_shift_stands_with_its_product_under_its_own_name(cameras):
    """Also where the adapted bank was scored before, as one of another dataset in its own domain."""
    (comparison,) = compare_shifts(cameras, "clean", SPEC)
    expected = [
        ("clean", "in domain"),
        ("camera_b", "no adaptation"),
        ("camera_b", "recalibrated"),
        ("camera_b", "adapted"),
    ]
    assert {
        category: [(row.domain, row.condition) for row in rows] for category, rows in comparison.outcomes.items()
    } == {"a": expected, "b": expected}
    assert [row.cell.target.dataset for row in comparison.outcomes["a"]] == ["d", "e", "e", "e"]
    assert list(comparison.panels()["a"]) == ["camera_b"]
    assert [(cell.origin.path, cell.target.path) for cell in comparison.natural()] == [
        ("d/a/clean", "e/a/clean"),
        ("d/b/clean", "e/b/clean"),
    ]


def test_other_images_are_not_paired_even_if_their_files_have_the_same_names(cameras):
    (comparison,) = compare_shifts(cameras, "clean", SPEC)
    assert (comparison.compared(paired=True), comparison.compared(paired=False)) == ([], ["camera_b"])
    assert comparison.left_out == {}
    start, used, *_ = comparison.outcomes["a"]
    assert cameras.images(start.cell).names == cameras.images(used.cell).names
    assert used.change.value.value == pytest.approx(used.auroc.value - start.auroc.value)
