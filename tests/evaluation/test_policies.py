import inspect
import math
import statistics
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import beta, genpareto
from sklearn.metrics import f1_score, roc_curve

from patchshift.evaluation.policies import FEWEST_EXCESSES, POLICIES, Choice, divide_rate
from patchshift.evaluation.undefined import Undefined
from patchshift.plan.threshold_specs import FROM_BOTH, PolicyName, PolicySpec

Bool = npt.NDArray[np.bool_]

SPECS = {
    "f1_max": PolicySpec(policy="f1_max"),
    "youden": PolicySpec(policy="youden"),
    "cost": PolicySpec(policy="cost", miss_cost=10, false_alarm_cost=1, prevalence=0.05),
    "max_normal": PolicySpec(policy="max_normal"),
    "normal_quantile": PolicySpec(policy="normal_quantile", quantile=0.9),
    "mean_std": PolicySpec(policy="mean_std", deviations=2),
    "conformal": PolicySpec(policy="conformal", false_alarm_rate=0.1),
    "evt": PolicySpec(policy="evt", false_alarm_rate=0.02, tail_share=0.25),
}
FROM_NORMAL = tuple(name for name in SPECS if name not in FROM_BOTH)

images = st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=25).filter(
    lambda pairs: len({label for label, _ in pairs}) == 2 and len({score for _, score in pairs}) > 1
)
normal_scores = st.lists(st.integers(0, 20), min_size=1, max_size=30)


def choose(policy: str | PolicySpec, scores: Any, labels: Any = None) -> Choice:
    """The choice of a policy on scores, which are those of normal images unless labels say otherwise."""
    spec = SPECS[policy] if isinstance(policy, str) else policy
    scores = np.asarray(scores)
    scores = scores if np.issubdtype(scores.dtype, np.floating) else scores.astype(np.float32)
    anomalous = np.zeros(len(scores), bool) if labels is None else np.asarray(labels, bool)
    return POLICIES[spec.policy](spec, scores, anomalous)


def unzip(pairs: list[tuple[bool, int]]) -> tuple[Bool, npt.NDArray[np.float32]]:
    return np.array([label for label, _ in pairs]), np.array([score for _, score in pairs], np.float32)


def test_every_policy_of_the_config_is_registered_and_tried_here() -> None:
    assert list(POLICIES) == list(SPECS)
    assert set(POLICIES) == set(get_args(PolicyName))


def test_no_policy_can_see_more_than_validation_scores_and_labels() -> None:
    for policy in POLICIES.values():
        assert list(inspect.signature(policy).parameters) == ["spec", "scores", "anomalous"]


def test_the_policies_that_look_at_normal_images_only_do_so() -> None:
    generator = np.random.default_rng(0)
    normal = generator.normal(size=60).astype(np.float32)
    for policy in FROM_NORMAL:
        alone = choose(policy, normal)
        for defects in ([-9.0, 0.5], [1e6] * 7):
            among = choose(policy, np.array([*normal, *defects], np.float32), [0] * 60 + [1] * len(defects))
            assert among == alone


@given(images)
def test_f1_max_equals_brute_force_and_prefers_the_highest_threshold(pairs: list[tuple[bool, int]]) -> None:
    labels, scores = unzip(pairs)
    by_threshold = {float(t): f1_score(labels, scores >= t) for t in scores}
    best = max(by_threshold.values())
    choice = choose("f1_max", scores, labels)
    assert choice.threshold == max(t for t, f1 in by_threshold.items() if f1 == pytest.approx(best, abs=1e-12))
    assert choice.criterion == pytest.approx(best)


def test_among_equal_f1_the_highest_threshold_wins() -> None:
    # threshold 4 finds 1 of 2 without a false alarm (F1 2/3); threshold 1 finds both with two (F1 2/3)
    choice = choose("f1_max", [4.0, 3.0, 2.0, 1.0], [1, 0, 0, 1])
    assert choice.threshold == 4.0
    assert choice.criterion == pytest.approx(2 / 3)


def test_the_f1_max_threshold_is_a_validation_score_bit_for_bit() -> None:
    scores = np.random.default_rng(0).normal(size=50).astype(np.float32)
    assert (scores == choose("f1_max", scores, np.arange(50) % 2).threshold).sum() == 1


def thresholds_and_rates(labels: Bool, scores: npt.NDArray[np.float32]) -> Iterator[tuple[float, float, float]]:
    """Candidates from the highest, with their false-negative and false-positive rates."""
    above = float(np.nextafter(scores.max(), np.float32(np.inf)))
    for threshold in [above, *sorted(set(scores.tolist()), reverse=True)]:
        called = scores >= threshold
        yield threshold, (~called[labels]).mean(), called[~labels].mean()


@given(images)
def test_youden_equals_the_roc_curve_of_scikit_learn(pairs: list[tuple[bool, int]]) -> None:
    labels, scores = unzip(pairs)
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    choice = choose("youden", scores, labels)
    assert choice.criterion == pytest.approx((true - false).max())
    best = [
        threshold
        for threshold, missed, flagged in thresholds_and_rates(labels, scores)
        if 1 - missed - flagged == pytest.approx((true - false).max(), abs=1e-12)
    ]
    assert choice.threshold == best[0]


@given(images, *[st.floats(0.01, 100)] * 2, st.floats(0.01, 0.99))
def test_cost_equals_brute_force_over_all_scores_and_calling_nothing(
    pairs: list[tuple[bool, int]], miss: float, false_alarm: float, prevalence: float
) -> None:
    labels, scores = unzip(pairs)
    spec = PolicySpec(policy="cost", miss_cost=miss, false_alarm_cost=false_alarm, prevalence=prevalence)
    costs = {
        threshold: prevalence * miss * missed + (1 - prevalence) * false_alarm * flagged
        for threshold, missed, flagged in thresholds_and_rates(labels, scores)
    }
    choice = choose(spec, scores, labels)
    assert choice.criterion == pytest.approx(min(costs.values()), abs=1e-12)
    assert choice.threshold == next(
        t for t, c in costs.items() if c <= min(costs.values()) + 1e-11 * max(costs.values())
    )


@given(images, st.floats(0.01, 100))
def test_equal_prices_and_classes_make_cost_the_policy_youden(pairs: list[tuple[bool, int]], price: float) -> None:
    labels, scores = unzip(pairs)
    spec = PolicySpec(policy="cost", miss_cost=price, false_alarm_cost=price, prevalence=0.5)
    same, youden = choose(spec, scores, labels), choose("youden", scores, labels)
    assert same.threshold == youden.threshold
    assert same.criterion == pytest.approx(price * (1 - (youden.criterion or 0)) / 2, abs=1e-12 * price)


@given(images)
def test_the_dearer_a_miss_the_lower_the_threshold(pairs: list[tuple[bool, int]]) -> None:
    labels, scores = unzip(pairs)
    thresholds = [
        choose(PolicySpec(policy="cost", miss_cost=miss, false_alarm_cost=1, prevalence=0.1), scores, labels).threshold
        for miss in (0.1, 1, 9, 50, 1e6)
    ]
    assert thresholds == sorted(thresholds, reverse=True)
    assert thresholds[-1] <= scores[labels].min()  # a miss at no price


def test_where_false_alarms_cost_more_than_defects_nothing_is_called_defective() -> None:
    scores = np.array([1, 2, 3, 4], np.float32)
    spec = PolicySpec(policy="cost", miss_cost=1, false_alarm_cost=100, prevalence=0.01)
    choice = choose(spec, scores, [1, 0, 1, 0])
    assert choice.threshold == np.nextafter(np.float32(4), np.float32(5))
    assert choice.criterion == pytest.approx(0.01)  # every defect is missed


@given(normal_scores)
def test_max_normal_is_one_step_above_the_highest_normal_score(normal: list[int]) -> None:
    assert choose("max_normal", normal).threshold == np.nextafter(np.float32(max(normal)), np.float32(np.inf))


shares = st.one_of(st.integers(1, 999).map(lambda number: number / 1000), st.floats(0.01, 0.99))


@given(normal_scores, shares)
@example(list(range(25)), 0.28)  # 25 * 0.28 is 7.000000000000001 in floating point
@example(list(range(100)), 0.55)
def test_normal_quantile_is_just_above_the_smallest_normal_score_that_a_share_does_not_exceed(
    normal: list[int], share: float
) -> None:
    scores = np.array(normal, np.float32)
    threshold = choose(PolicySpec(policy="normal_quantile", quantile=share), scores).threshold
    fewest = Fraction(str(share)) * len(normal)
    passing = np.float32(min(t for t in normal if sum(other <= t for other in normal) >= fewest))
    assert threshold == np.nextafter(passing, np.float32(np.inf))
    assert int((scores >= threshold).sum()) <= (1 - Fraction(str(share))) * len(normal)


@given(normal_scores, st.integers(1, 99), st.integers(1, 12))
@example(list(range(29)), 10, 3)
def test_a_divided_rate_is_exact(normal: list[int], percent: int, parts: int) -> None:
    divided = divide_rate(PolicySpec(policy="conformal", false_alarm_rate=percent / 100), parts)
    above = math.floor(Fraction(percent, 100 * parts) * (len(normal) + 1))
    if not above:
        with pytest.raises(Undefined, match="needs at least"):
            choose(divided, normal)
        return
    passing = np.float32(sorted(normal)[len(normal) - above])
    assert choose(divided, normal).threshold == np.nextafter(passing, np.float32(np.inf))


def test_policies_without_a_rate_have_none_to_divide() -> None:
    assert divide_rate(SPECS["normal_quantile"], 4) == SPECS["normal_quantile"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("count", "flagged"), [(5, 0), (19, 0), (20, 1), (40, 2)])
def test_no_more_normal_validation_images_than_the_share_are_flagged(dtype: type, count: int, flagged: int) -> None:
    scores = np.random.default_rng(count).normal(size=count).astype(dtype)
    threshold = choose(PolicySpec(policy="normal_quantile", quantile=0.95), scores).threshold
    assert (scores >= threshold).sum() == flagged


@given(st.lists(st.integers(-50, 50), min_size=2, max_size=20).filter(lambda s: len(set(s)) > 1), st.floats(0, 5))
def test_mean_std_is_the_first_score_not_below_mean_and_deviations(normal: list[int], deviations: float) -> None:
    threshold = choose(PolicySpec(policy="mean_std", deviations=deviations), normal).threshold
    exact = statistics.fmean(normal) + deviations * statistics.stdev(normal)
    assert threshold == pytest.approx(exact, rel=1e-6, abs=1e-6)
    assert threshold >= exact - 1e-9
    assert np.float32(threshold) == threshold


@given(normal_scores, st.sampled_from([0.01, 0.05, 0.1, 0.2, 0.25, 0.5, 0.9]))
def test_conformal_is_just_above_the_score_of_its_rank(normal: list[int], rate: float) -> None:
    count = len(normal)
    rank = next(k for k in range(1, count + 2) if round(k * 1e6) >= round((count + 1) * (1 - rate) * 1e6))
    spec = PolicySpec(policy="conformal", false_alarm_rate=rate)
    if rank > count:
        with pytest.raises(Undefined, match="needs at least"):
            choose(spec, normal)
        return
    passing = np.float32(sorted(normal)[rank - 1])
    assert choose(spec, normal).threshold == np.nextafter(passing, np.float32(np.inf))


@pytest.mark.parametrize(("rate", "fewest"), [(0.1, 9), (0.05, 19), (0.3, 3), (0.01, 99), (0.5, 1)])
def test_conformal_takes_exactly_as_many_images_as_the_rate_needs(rate: float, fewest: int) -> None:
    spec = PolicySpec(policy="conformal", false_alarm_rate=rate)
    scores = np.arange(fewest, dtype=np.float32)
    assert choose(spec, scores).threshold == choose("max_normal", scores).threshold
    if fewest > 1:
        with pytest.raises(Undefined, match=f"needs at least {fewest} normal validation images, and there are"):
            choose(spec, scores[1:])


def test_the_conformal_guarantee_says_its_numbers() -> None:
    assert choose("conformal", np.arange(41)).guarantee == (
        "of new normal images at most 10 % are called defective, on average over validation sets: 41 exchangeable "
        f"normal validation images; for 95 % of such sets at most {100 * beta.ppf(0.95, 4, 38):.3g} %"
    )


@pytest.mark.parametrize("decimals", [None, 1], ids=["continuous", "tied"])
@pytest.mark.parametrize(("count", "rate"), [(9, 0.1), (41, 0.1), (60, 0.25)])
def test_conformal_false_alarm_rates_are_as_guaranteed(count: int, rate: float, decimals: int | None) -> None:
    generator = np.random.default_rng(count)
    sets, new = 1500, 400
    scores = generator.gamma(2, size=(sets, count + new))
    scores = (scores if decimals is None else scores.round(decimals)).astype(np.float32)
    spec = PolicySpec(policy="conformal", false_alarm_rate=rate)
    rates = np.array([(each[count:] >= choose(spec, each[:count]).threshold).mean() for each in scores])
    error = rates.std() / math.sqrt(sets)
    assert rates.mean() <= rate + 3 * error
    above = math.floor((count + 1) * rate + 1e-9)
    if decimals is None:  # and no lower than it need be
        assert rates.mean() == pytest.approx(above / (count + 1), abs=4 * error)
    often = beta.ppf(0.95, above, count + 1 - above) + 2 * math.sqrt(0.25 / new)
    assert (rates <= often).mean() >= 0.95


def test_evt_finds_the_quantile_of_a_generalised_pareto_tail() -> None:
    for shape in (-0.2, 0.0, 0.3):
        tail = genpareto(shape, loc=10, scale=2)
        scores = tail.ppf((np.arange(20_000) + 0.5) / 20_000)
        spec = PolicySpec(policy="evt", false_alarm_rate=0.001, tail_share=0.1)
        assert choose(spec, scores).threshold == pytest.approx(tail.isf(0.001), rel=0.005)


@pytest.mark.parametrize("name", ["normal", "gumbel", "uniform", "standard_t"])
@pytest.mark.parametrize(
    ("count", "tail_share", "lowest", "highest"),
    [(50, 0.2, 0.008, 0.025), (200, 0.1, 0.008, 0.015), (800, 0.1, 0.009, 0.0125)],
)
def test_evt_false_alarm_rates_come_near_the_one_asked_for(
    name: str, count: int, tail_share: float, lowest: float, highest: float
) -> None:
    generator = np.random.default_rng(0)
    draw = getattr(generator, name)
    options = {"df": 5} if name == "standard_t" else {}
    spec = PolicySpec(policy="evt", false_alarm_rate=0.01, tail_share=tail_share)
    new = draw(size=50_000, **options)
    rates = [(new >= choose(spec, draw(size=count, **options)).threshold).mean() for _ in range(120)]
    assert lowest < np.mean(rates) < highest


def test_evt_takes_no_tail_of_few_excesses() -> None:
    spec = PolicySpec(policy="evt", false_alarm_rate=0.01, tail_share=0.2)
    fewest = FEWEST_EXCESSES * 5
    assert choose(spec, np.arange(fewest)).threshold > fewest - 5
    with pytest.raises(Undefined, match="9 of 49 normal validation scores are in the tail, and its fit needs 10"):
        choose(spec, np.arange(fewest - 1))


def test_evt_reads_no_rate_off_that_is_not_in_the_tail() -> None:
    # half of the scores are to be in the tail, but 80 of 100 are equal
    spec = PolicySpec(policy="evt", false_alarm_rate=0.3, tail_share=0.5)
    with pytest.raises(Undefined, match="30 % is not in the tail, which holds 20 of 100"):
        choose(spec, np.concatenate([np.zeros(80), np.arange(1, 21)]))


def test_evt_needs_excesses_that_differ() -> None:
    spec = PolicySpec(policy="evt", false_alarm_rate=0.1, tail_share=0.5)
    with pytest.raises(Undefined, match="scores in the tail do not differ"):
        choose(spec, [0.1] * 30 + [0.3] * 20)


@pytest.mark.parametrize(
    ("policy", "normal", "anomalous", "reason"),
    [
        *[(policy, [1.0, 2.0], [], "no anomalous validation image") for policy in FROM_BOTH],
        *[(policy, [], [1.0, 2.0], "no normal validation image") for policy in SPECS if policy != "f1_max"],
        *[(policy, [1.0, 1.0], [1.0], "the validation scores do not differ") for policy in FROM_BOTH],
        ("mean_std", [0.1] * 3, [2.0], "do not differ, so they have no deviation"),
        ("mean_std", [0.1], [2.0], "do not differ, so they have no deviation"),
        ("conformal", [1.0] * 8, [], "10 % needs at least 9 normal validation images, and there are 8"),
        ("evt", [1.0] * 100, [], "0 of 100 normal validation scores are in the tail"),
        *[
            (policy, [float(np.finfo(np.float32).max)] * 9, [], "no number lies above the highest score")
            for policy in ("max_normal", "normal_quantile", "conformal")
        ],
        ("mean_std", [0.0, 3e38], [], "larger than any number that a score can be"),
    ],
)
def test_a_policy_without_what_it_needs_says_so(
    policy: str, normal: list[float], anomalous: list[float], reason: str
) -> None:
    scores = np.array([*normal, *anomalous], np.float32)
    with pytest.raises(Undefined, match=reason):
        choose(policy, scores, [0] * len(normal) + [1] * len(anomalous))


@pytest.mark.parametrize("policy", ["max_normal", "normal_quantile", "conformal"])
def test_equal_normal_scores_pass_a_threshold_of_ranks(policy: str) -> None:
    assert choose(policy, [2] * 20).threshold == np.nextafter(np.float32(2), np.float32(3))


@pytest.mark.parametrize("policy", ["f1_max", "youden", "cost", "max_normal", "normal_quantile", "conformal"])
@given(images)
@settings(max_examples=25)
def test_policies_of_ranks_decide_alike_after_any_increasing_change_of_unit(
    policy: str, pairs: list[tuple[bool, int]]
) -> None:
    labels, scores = unzip(pairs * 2)
    if policy == "conformal" and (~labels).sum() < 9:
        return
    changed = np.exp(scores / 2) - 40
    before, after = choose(policy, scores, labels), choose(policy, changed, labels)
    assert np.array_equal(scores >= before.threshold, changed >= after.threshold)
    assert before.criterion == after.criterion


@pytest.mark.parametrize("policy", ["mean_std", "evt"])
def test_policies_of_moments_decide_alike_in_any_linear_unit(policy: str) -> None:
    scores = np.random.default_rng(3).gumbel(size=80)
    threshold = choose(policy, scores).threshold
    assert choose(policy, 250 * scores - 7).threshold == pytest.approx(250 * threshold - 7)


@pytest.mark.parametrize("policy", SPECS)
def test_thresholds_are_numbers_that_a_score_can_be(policy: str) -> None:
    scores = np.random.default_rng(5).normal(size=90).astype(np.float32)
    threshold = choose(policy, scores, np.arange(90) % 3 == 0).threshold
    assert float(np.float32(threshold)) == threshold
