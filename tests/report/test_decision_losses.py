import numpy as np
import pytest

from patchshift.evaluation.image_metrics import DECISION_METRICS
from patchshift.evaluation.rates import correlate_pairs, decision_interval, estimate_rates
from patchshift.evaluation.undefined import Undefined
from patchshift.plan.specs import EvaluationSpec
from patchshift.report.analyses.decision_losses import DecisionLosses, compare_decisions
from patchshift.report.analyses.estimates import value_lost
from patchshift.report.analyses.losses import REFERENCE, UNADAPTED, VALUE
from patchshift.report.results import StudyResults, Value

SPEC = EvaluationSpec(bootstrap_resamples=100)


@pytest.fixture
def cells(made):
    return {name: found[-1] for name, found in made.plan.cells().items()}  # category b of `sharp`


def of(*sides):
    """One category whose images each side gets right, as rates."""
    decisions = [np.array(side, bool) for side in sides]
    counts = [(int(side.sum()), len(side)) for side in decisions]
    return estimate_rates(counts, 0.95, correlate_pairs(decisions))


def ends(value):
    return value.value, value.low, value.high


@pytest.mark.parametrize("metric", ["f1", "recall", "specificity"])
def test_sides_are_the_metrics_of_the_tables_with_their_intervals(results, cells, metric):
    pair = [cells["clean"], cells["shifted"]]
    found = compare_decisions(results, pair, metric, SPEC)
    for place, cell in enumerate(pair):
        confusion = results.confusion(cell)
        expected = (results.value(cell, metric).value, *decision_interval(DECISION_METRICS[metric], confusion, 0.95))
        assert (found.values[place], found.low[place], found.high[place]) == pytest.approx(expected)


def test_only_images_that_count_are_compared(results, cells):
    images = results.images(cells["clean"])
    kept = images.labels == 1
    found = compare_decisions(results, [cells["clean"]], "recall", SPEC, kept=kept)
    assert found.values[0] == results.value(cells["clean"], "recall").value
    with pytest.raises(Undefined, match="no normal image"):
        compare_decisions(results, [cells["clean"]], "specificity", SPEC, kept=kept)


def test_undecided_images_have_no_losses_and_the_reason(make_study):
    study = make_study(validation=False)
    results = StudyResults(study.plan, study.folder)
    with pytest.raises(Undefined, match="valid"):
        compare_decisions(results, study.cells()[:1], "f1", SPEC)


@pytest.mark.parametrize("metric", ["f1", "recall"])
def test_sides_of_other_images_do_not_go_together(results, cells, metric):
    pair = [cells["clean"], cells["shifted"], cells["shifted"]]
    apart = compare_decisions(results, pair, metric, SPEC, paired=False)
    assert (apart.correlation[0, 1:] == 0).all()
    loss = DecisionLosses([apart]).lost(REFERENCE, VALUE)
    sides = [Value(*(float(part[place]) for part in (apart.values, apart.low, apart.high))) for place in (0, 1)]
    assert ends(loss) == pytest.approx(ends(value_lost(*sides)))


def test_f1s_of_the_same_images_go_together_as_their_resamples_do(results, cells):
    twice = compare_decisions(results, [cells["clean"], cells["clean"]], "f1", SPEC)
    varies = 0 < results.value(cells["clean"], "f1").value < 1
    assert twice.correlation[0, 1] == pytest.approx(1.0 if varies else 0.0)


def test_a_mean_loss_weighs_categories_alike_and_joins_their_intervals():
    small, large = of([1] * 10, [0] * 10), of([1] * 30 + [0] * 10, [1] * 20 + [0] * 20)
    apart = [DecisionLosses([category]).lost(REFERENCE, VALUE) for category in (small, large)]
    mean = DecisionLosses([small, large]).lost(REFERENCE, VALUE)
    assert mean.value == pytest.approx((1 + 0.25) / 2)
    below = np.hypot(*(each.value - each.low for each in apart)) / 2
    assert mean.low == pytest.approx(mean.value - below)


def test_all_lost_and_all_back_is_said_with_what_twenty_images_leave_open():
    rates = of([1] * 20, [1] * 20, [0] * 20)  # reference, adapted, without adaptation
    losses = DecisionLosses([rates])
    assert ends(losses.lost(REFERENCE, UNADAPTED)) == pytest.approx((1, 0.772, 1), abs=1e-3)
    share = losses.recovered_share()
    assert share.value == 1
    assert share.low < 0.9
    assert share.high > 1.1
    assert losses.lost_above_chance() == Value(None)


def test_a_share_of_the_reference_never_exceeds_it():
    share = DecisionLosses([of([1] * 20, [0] * 20)]).lost_relative()
    assert (share.value, share.high) == pytest.approx((1, 1))
    assert share.low < 0.9
    assert DecisionLosses([of([0] * 20, [0] * 20)]).lost_relative().undefined == "the reference is 0"


def test_the_share_back_of_what_was_lost_covers_the_truth():
    generator = np.random.default_rng(6)
    truth, covered, told = (0.6 - 0.2) / (0.9 - 0.2), 0, 0
    for _ in range(600):
        hard = generator.random(40)
        sides = [np.where(generator.random(40) < 0.5, hard, generator.random(40)) < rate for rate in (0.9, 0.6, 0.2)]
        share = DecisionLosses([of(*sides)]).recovered_share()
        if share.low is not None:
            told, covered = told + 1, covered + (share.low <= truth <= share.high)
    assert told > 590
    assert 0.93 <= covered / told <= 0.99
