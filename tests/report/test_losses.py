import numpy as np
import pytest

from patchshift.evaluation.undefined import Undefined
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.analyses.losses import (
    Sample,
    are_paired,
    combine,
    loss_above_chance,
    lost,
    mean_sample,
    recovered_share,
    relative_loss,
    sample_metric,
    sample_sides,
)
from patchshift.report.pairing import independent_difference, mean_auroc, mean_difference
from patchshift.report.results import StudyResults, Value

SPEC = EvaluationSpec(bootstrap_resamples=100)


def flat(value):
    return Sample(value, np.full(3, value))


def ends(value):
    return value.value, value.low, value.high


@pytest.fixture
def cells(made):
    return {name: found[-1] for name, found in made.plan.cells().items()}  # category b of `sharp`


def test_a_loss_is_the_paired_difference_of_the_report(results, cells):
    start, shifted = cells["clean"], cells["shifted"]
    before, after = sample_sides(results, shifted, [start], "image_auroc", SPEC)
    expected = mean_difference(results, [start], [shifted], SPEC)
    assert ends(lost(before, after).estimate(SPEC.confidence)) == pytest.approx(ends(expected))


def test_other_images_are_resampled_apart_as_in_the_report(results, made):
    clean = made.plan.cells()["clean"]
    one, other = clean[0], clean[2]
    assert one.target != other.target
    before, after = sample_sides(results, one, [other], "image_auroc", SPEC)
    expected = independent_difference(results, one, other, SPEC)
    change = lost(after, before).estimate(SPEC.confidence)
    assert ends(change) == pytest.approx(ends(expected))


def test_means_of_samples_have_the_interval_of_the_report(results, made):
    both = [cell for cell in made.plan.cells()["clean"] if cell.bank.detector == "blunt"]
    samples = [
        sample_metric(results, cell, "image_auroc", SPEC, position=position) for position, cell in enumerate(both)
    ]
    found, expected = mean_sample(samples).estimate(SPEC.confidence), mean_auroc(results, both, SPEC)
    assert ends(found) == pytest.approx(ends(expected))


@pytest.mark.parametrize("metric", ["image_auroc", "f1", "specificity", "miss_rate", "false_alarm_rate"])
def test_values_are_those_of_the_tables(results, cells, metric):
    for cell in cells.values():
        assert sample_metric(results, cell, metric, SPEC).value == pytest.approx(results.value(cell, metric).value)


def test_what_is_undefined_says_why(make_study):
    study = make_study(validation=False)
    results = StudyResults(study.plan, study.folder)
    cell = study.cells()[0]
    with pytest.raises(Undefined, match="valid"):
        sample_metric(results, cell, "f1", SPEC)
    assert sample_metric(results, cell, "image_auroc", SPEC).value <= 1


def test_shares_of_a_loss():
    start, middle, end = flat(0.9), flat(0.7), flat(0.8)
    assert lost(start, middle).value == pytest.approx(0.2)
    assert relative_loss(start, middle).value == pytest.approx(0.2 / 0.9)
    assert loss_above_chance(start, middle).value == pytest.approx(0.5)
    assert recovered_share(start, middle, end).value == pytest.approx(0.5)
    assert np.isnan(loss_above_chance(flat(0.5), flat(0.4)).value)
    assert np.isnan(recovered_share(middle, start, end).value)  # nothing was lost


def test_a_share_of_nothing_is_undefined_and_never_infinite():
    for end in (flat(0.0), flat(0.3)):
        share = relative_loss(flat(0.0), end)
        assert np.isnan(share.value)
        assert share.estimate(0.9, "why") == Value(None, undefined="why")
    # resamples in which it exists say nothing where it does not
    beside = Sample(0.5, np.array([0.6, 0.7, 0.4]))
    assert loss_above_chance(beside, flat(0.4)).estimate(0.9, "why") == Value(None, undefined="why")


def test_resamples_that_divide_by_nothing_are_left_out():
    sample = combine(lambda x, y: x / y, Sample(1.0, np.array([1.0, 2.0])), Sample(2.0, np.array([0.0, 4.0])))
    assert sample.value == 0.5
    assert ends(sample.estimate(0.9)) == (0.5, 0.5, 0.5)


def test_only_the_same_images_are_paired(make_study):
    study = make_study(
        camera=True,
        detectors=("sharp",),
        clean={"title": "", "train": ["d/a"]},
        other={"title": "", "train": ["d/a"], "target_domains": ["camera_b", "dark"]},
    )
    results = StudyResults(study.plan, study.folder)
    (home,), (camera, dark) = study.plan.cells()["clean"], study.plan.cells()["other"]
    assert are_paired(results, dark, home)
    assert not are_paired(results, camera, home)
    assert are_paired(results, camera, camera)
