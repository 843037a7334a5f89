"""The drift alarm: whether the scores of new images still look like those of normal validation images.

Defects that arrive in numbers are no drift, so only images that are decided normal are looked at, beside the normal
validation scores below the threshold: both are cut off at the same place. Where there is no threshold, all are. The
test is the two-sided two-sample Kolmogorov-Smirnov test (Hodges 1958), in scipy's exact or asymptotic form.

The images of a folder are one test at `LEVEL`. A folder that fills is tested again and again: in each window of
`WINDOW` images at most once at each of `LOOKS`, each time at `LEVEL / len(LOOKS)`, so by Bonferroni a window of images
like the validation ones raises an alarm with a probability of at most `LEVEL`. That is per window: of many windows,
about one in a hundred may alarm by chance. Windows do not overlap: one ends with its last look, or with its alarm.
Tested in tests/app/test_drift.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import ks_2samp

Floating = npt.NDArray[np.float32] | npt.NDArray[np.float64]

LEVEL = 0.01
LOOKS = (20, 40, 70, 100, 200)
"""Numbers of images in a window at which it is tested."""
WINDOW = LOOKS[-1]
FEWEST = LOOKS[0]


@dataclass(frozen=True)
class DriftTest:
    """One comparison of new scores with normal validation scores.

    Attributes:
        images: number of new images that were compared: those decided normal; without a threshold, all.
        statistic: the largest difference of the two distribution functions, 0 to 1.
        p_value: how probable as large a difference is without drift.
        level: p-values below it raise the alarm.
        median: of the new scores.
        normal_median: of the normal validation scores.
    """

    images: int
    statistic: float
    p_value: float
    level: float
    median: float
    normal_median: float

    @property
    def alarm(self) -> bool:
        """Whether the scores no longer look like those of normal validation images."""
        return self.p_value < self.level

    def describe(self) -> str:
        """What it says, in one line."""
        figures = (
            f"Kolmogorov-Smirnov statistic {self.statistic:.2f}, p = {self.p_value:.2g}, level {self.level:.2g}; "
            f"medians {self.median:.4g} and {self.normal_median:.4g}, {self.images} images compared"
        )
        if self.alarm:
            return (
                f"drift alarm: scores of these images no longer look like the normal validation scores: recalibrate "
                f"({figures})"
            )
        return f"no sign of drift ({figures})"


def compare_scores(scores: Sequence[float] | Floating, normal: Sequence[float], *, level: float = LEVEL) -> DriftTest:
    """Compare scores of images that are decided normal with normal validation scores, cut off at the same threshold.

    Args:
        scores: [n] of the new images, at least one.
        normal: [m] of the validation images, at least one.
        level: of the test.
    """
    new, known = np.asarray(scores, np.float64), np.asarray(normal, np.float64)
    result = ks_2samp(new, known)
    return DriftTest(
        images=len(new),
        statistic=float(result.statistic),
        p_value=float(result.pvalue),
        level=level,
        median=float(np.median(new)),
        normal_median=float(np.median(known)),
    )


class DriftMonitor:
    """Takes scores one by one and tests them.

    Args:
        normal: [m] image scores of the normal validation images.
        threshold: of the model; None: it has none.
        watching: test at the looks of each window; otherwise once, at the end.
    """

    def __init__(self, normal: Floating, threshold: float | None, *, watching: bool) -> None:
        self.normal = [float(score) for score in normal if threshold is None or float(score) < threshold]
        self.threshold = threshold
        self.watching = watching
        self.window: list[float] = []
        self.tests: list[DriftTest] = []

    @property
    def undefined(self) -> str | None:
        """Why nothing can be tested; None if it can."""
        if len(self.normal) < FEWEST:
            return f"no drift test: {len(self.normal)} normal validation scores, {FEWEST} are needed"
        return None

    @property
    def alarms(self) -> list[DriftTest]:
        """The tests that raised an alarm."""
        return [test for test in self.tests if test.alarm]

    def add(self, score: float) -> DriftTest | None:
        """Take the next image's score; the test, where this image completes a look."""
        if self.undefined or (self.threshold is not None and score >= self.threshold):
            return None
        self.window.append(score)
        if not self.watching or len(self.window) not in LOOKS:
            return None
        test = self._test(LEVEL / len(LOOKS))
        if test.alarm or len(self.window) == WINDOW:
            self.window = []
        return test

    def conclude(self) -> str:
        """What was found, in one line; without `watching`, after the one test."""
        if self.undefined:
            return self.undefined
        if not self.watching and not self.tests and len(self.window) >= FEWEST:
            self._test(LEVEL)
        for tests in (self.alarms, self.tests):
            if tests:
                return tests[-1].describe()
        which = "images" if self.threshold is None else "images decided normal"
        return f"no drift test: {len(self.window)} {which}, {FEWEST} are needed"

    def _test(self, level: float) -> DriftTest:
        test = compare_scores(self.window, self.normal, level=level)
        self.tests.append(test)
        return test
