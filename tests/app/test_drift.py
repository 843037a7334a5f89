import numpy as np
import pytest
from scipy.stats import ks_2samp

from patchshift.app.drift import FEWEST, LEVEL, LOOKS, WINDOW, DriftMonitor, compare_scores

NORMAL = 200  # validation scores


def run(random: np.random.Generator, images: int, *, watching: bool, shift: float = 0.0) -> DriftMonitor:
    """A monitor after some images, with validation scores of its own."""
    normal = random.normal(size=NORMAL)
    monitor = DriftMonitor(normal, float(np.quantile(normal, 0.95)), watching=watching)
    for score in random.normal(shift, size=images):
        monitor.add(float(score))
    monitor.conclude()
    return monitor


@pytest.mark.parametrize(("watching", "images"), [(False, 100), (True, 205)])  # a window, of those decided normal
def test_without_drift_there_are_no_more_alarms_than_the_level_says(watching: bool, images: int) -> None:
    random = np.random.default_rng(0)
    alarms = sum(bool(run(random, images, watching=watching).alarms) for _ in range(400))
    assert alarms <= 400 * LEVEL + 3 * np.sqrt(400 * LEVEL)  # three standard deviations of a Poisson count
    assert watching or alarms > 0  # Bonferroni is cautious, a single test is not


@pytest.mark.parametrize(
    ("watching", "least"), [(False, 95), (True, 82)]
)  # about three standard deviations below 99 and 92
@pytest.mark.parametrize("shift", [1.0, -1.0])
def test_a_shift_by_one_standard_deviation_is_found_with_a_hundred_images(
    shift: float, watching: bool, least: int
) -> None:
    random = np.random.default_rng(1)
    found = sum(bool(run(random, 100, shift=shift, watching=watching).alarms) for _ in range(100))
    assert found >= least


def test_defects_are_no_drift() -> None:
    random = np.random.default_rng(2)
    normal = random.normal(size=NORMAL)
    monitor = DriftMonitor(normal, float(np.quantile(normal, 0.95)), watching=True)
    for number in range(400):
        monitor.add(float(random.normal(10 if number % 2 else 0)))  # every other image is defective
    assert monitor.tests
    assert not monitor.alarms
    assert monitor.tests[-1].images == 100  # of 200 normal images about 190 are below the threshold


def test_it_is_the_two_sample_test_below_the_threshold() -> None:
    random = np.random.default_rng(3)
    normal, new = random.normal(size=80), random.normal(0.4, size=60)
    monitor = DriftMonitor(normal, 1.0, watching=True)
    tests = [test for score in new if (test := monitor.add(float(score)))]
    below = new[new < 1.0]
    assert [test.images for test in tests] == [look for look in LOOKS if look <= len(below)]
    reference = ks_2samp(below[: tests[-1].images], normal[normal < 1.0])
    assert (tests[-1].statistic, tests[-1].p_value) == (reference.statistic, reference.pvalue)
    assert tests[-1].normal_median == np.median(normal[normal < 1.0])


def test_a_window_raises_one_alarm_and_the_next_begins_after_it() -> None:
    random = np.random.default_rng(4)
    monitor = DriftMonitor(random.normal(size=NORMAL), None, watching=True)
    alarms = [number for number in range(1, 61) if (test := monitor.add(50.0)) and test.alarm]
    assert alarms == [FEWEST, 2 * FEWEST, 3 * FEWEST]


def test_a_quiet_window_ends_after_its_last_look() -> None:
    normal = np.random.default_rng(5).normal(size=NORMAL)
    monitor = DriftMonitor(normal, None, watching=True)
    looked = [number for number in range(1, 2 * WINDOW + 1) if monitor.add(float(normal[number % NORMAL]))]
    assert looked == [*LOOKS, *(WINDOW + look for look in LOOKS)]
    assert {test.level for test in monitor.tests} == {LEVEL / len(LOOKS)}


def test_too_few_scores_are_said_not_tested() -> None:
    few = DriftMonitor(np.arange(FEWEST - 1.0), None, watching=False)
    assert few.add(0.0) is None
    assert str(FEWEST - 1) in few.conclude()
    waiting = DriftMonitor(np.arange(30.0), None, watching=False)
    waiting.add(3.0)
    assert waiting.conclude() == f"no drift test: 1 images, {FEWEST} are needed"
    decided = DriftMonitor(np.arange(30.0), 25.0, watching=False)
    decided.add(3.0)
    assert "1 images decided normal" in decided.conclude()


def test_a_folder_is_one_test_of_all_its_images() -> None:
    normal = np.random.default_rng(6).normal(size=NORMAL)
    monitor = DriftMonitor(normal, None, watching=False)
    assert [monitor.add(float(score)) for score in normal[:150]] == [None] * 150
    assert monitor.conclude().startswith("no sign of drift")
    assert "150 images compared" in monitor.conclude()
    assert [(test.images, test.level) for test in monitor.tests] == [(150, LEVEL)]


def test_the_alarm_says_what_to_do_and_the_figures() -> None:
    alarm = compare_scores([5.0] * 30, np.linspace(0, 1, 30).tolist())
    assert alarm.alarm
    assert alarm.describe().startswith("drift alarm: scores of these images no longer look like the normal validation")
    assert "recalibrate" in alarm.describe()
    assert "statistic 1.00" in alarm.describe()
    assert "medians 5 and 0.5" in alarm.describe()
