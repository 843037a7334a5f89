import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchshift.evaluation.image_metrics import image_auroc
from patchshift.evaluation.statistics import wilson_interval
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.analyses.estimates import mean_value
from patchshift.report.pairing import (
    Share,
    _share,
    hundredths,
    independent_difference,
    mean_auroc,
    mean_difference,
    relabelled_on_either_side,
    summarise,
)
from patchshift.report.results import StudyResults

SPEC = EvaluationSpec(bootstrap_resamples=100)


def test_mean_of_one_category_has_the_interval_of_the_metrics_table(results):
    cell = results.cells["clean"][0]
    assert mean_auroc(results, [cell], SPEC) == results.value(cell, "image_auroc")


def test_banks_on_the_same_images_do_not_narrow_the_interval_of_a_mean(results):
    cell = results.cells["clean"][0]
    one, many = results.value(cell, "image_auroc"), mean_auroc(results, [cell] * 20, SPEC)
    assert (many.value, many.low, many.high) == pytest.approx((one.value, one.low, one.high), abs=0.06)
    assert many.high - many.low > (one.high - one.low) / 2  # 20 independent ones: less than a quarter


def test_difference_of_a_bank_to_itself_is_zero_without_noise(results):
    cells = results.cells["clean"][:2]
    difference = mean_difference(results, cells, cells, SPEC)
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)


def test_difference_changes_its_sign_with_its_sides(results):
    blunt, sharp = (
        [cell for cell in results.cells["clean"] if cell.bank.detector == name] for name in ("blunt", "sharp")
    )
    forth, back = mean_difference(results, sharp, blunt, SPEC), mean_difference(results, blunt, sharp, SPEC)
    assert forth.value > 0
    assert (forth.value, forth.low, forth.high) == pytest.approx((-back.value, -back.high, -back.low))


def test_different_images_are_not_paired(results):
    first, second = (
        next(cell for cell in results.cells["clean"] if cell.target.category == name) for name in ("a", "b")
    )
    with pytest.raises(ValueError, match="different test images"):
        mean_difference(results, [first], [second], SPEC)


def test_images_relabelled_on_either_side_are_left_out_of_both(make_study):
    study = make_study(gone=2)
    results = StudyResults(study.plan, study.folder)
    clean, dark = (
        next(cell for cell in results.cells[name] if cell.bank.detector == "sharp") for name in ("clean", "shifted")
    )
    gone = relabelled_on_either_side(results, clean, dark)
    assert [results.images(clean).names[row] for row in np.flatnonzero(gone)] == ["a-test-1-0.png", "a-test-1-1.png"]
    difference = mean_difference(results, [dark], [clean], SPEC)
    sides = [results.images(cell) for cell in (dark, clean)]
    assert [side.labels.sum() for side in sides] == [4, 6]
    kept = [image_auroc(side.labels[~gone], side.scores[~gone]) for side in sides]
    assert difference.value == kept[0] - kept[1]
    assert difference.low <= difference.value <= difference.high
    back = mean_difference(results, [clean], [dark], SPEC)
    assert (difference.value, difference.low, difference.high) == pytest.approx((-back.value, -back.high, -back.low))


def test_difference_without_an_image_of_a_class_is_undefined(make_study):
    study = make_study(gone=6)
    results = StudyResults(study.plan, study.folder)
    clean, dark = (results.cells[name][0] for name in ("clean", "shifted"))
    assert mean_difference(results, [dark], [clean], SPEC).undefined == "an image AUROC is undefined"


def test_summary_counts_every_image_of_every_category(results):
    cells = [cell for cell in results.cells["clean"] if cell.bank.detector == "sharp"]
    summary = summarise(results, cells, SPEC)
    assert (summary.misses.total, summary.false_alarms.total, summary.categories) == (12, 12, 2)


def test_misses_and_false_alarms_are_means_over_categories_as_image_auroc_is(results):
    cells = [cell for cell in results.cells["clean"] if cell.bank.detector == "blunt"]
    summary = summarise(results, cells, SPEC)
    for share, metric in ((summary.misses, "miss_rate"), (summary.false_alarms, "false_alarm_rate")):
        expected = mean_value([results.value(cell, metric) for cell in cells])
        assert (share.value, share.low, share.high) == pytest.approx((expected.value, expected.low, expected.high))
        assert share.categories == 2


def test_a_large_category_does_not_hide_what_a_small_one_misses():
    pooled, mean = Share(11, 110, 0.0, 0.0), _share([(1, 100), (10, 10)], 0.95)
    assert (pooled.value, mean.value) == (0.1, pytest.approx(0.505))
    assert mean.low < 0.505 < mean.high
    assert (mean.count, mean.total, mean.categories) == (11, 110, 2)
    assert mean.plain.endswith(", mean of 2 categories; 11 of 110 test images")


def test_a_category_without_images_of_the_class_has_no_part_in_the_mean():
    assert _share([(3, 20), (0, 0)], 0.95) == Share(3, 20, *wilson_interval(3, 20, 0.95))
    assert _share([(0, 0)], 0.95) is None
    assert Share(1, 1, 0.2, 1.0).plain == "20 to 100; 1 of 1 test image"


@given(st.floats(0, 1))
def test_hundredths_are_short_and_near(share):
    text = hundredths(share)
    assert len(text) <= 3
    assert float(text) == pytest.approx(100 * share, abs=0.51)


def test_sides_of_other_images_are_drawn_independently(results):
    cell, other = (next(c for c in results.cells["clean"] if c.target.category == name) for name in ("a", "b"))
    difference = independent_difference(results, cell, other, SPEC)
    auroc = [results.value(each, "image_auroc").value for each in (cell, other)]
    assert difference.value == pytest.approx(auroc[0] - auroc[1])
    itself = independent_difference(results, cell, cell, SPEC)
    assert itself.value == 0
    assert itself.low < 0 < itself.high  # paired, it would be certain


def test_independent_difference_without_an_image_of_a_class_is_undefined(make_study):
    study = make_study(gone=6, detectors=("sharp",))
    results = StudyResults(study.plan, study.folder)
    clean, dark = (results.cells[name][0] for name in ("clean", "shifted"))
    assert independent_difference(results, dark, clean, SPEC).undefined == "an image AUROC is undefined"
