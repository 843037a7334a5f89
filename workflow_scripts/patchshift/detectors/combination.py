"""One score per patch from its distances to normal and to defective patches.

Tested in tests/detectors/test_combination.py; stated exactly in docs/protocol.md.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.detectors.normality import Measured
from patchshift.plan.score_specs import Combination

Floating = npt.NDArray[np.floating[Any]]

LEAST = 1e-6
"""Added to a distance before it divides or its logarithm is taken (ExDD)."""


def combine(combination: Combination, negative: Floating, positive: Floating) -> Floating:
    """How anomalous patches are: larger is more. `difference` and the logarithms may be negative.

    Args:
        combination: the rule; `calibrated` is the log-ratio, until validation patches weigh the distances
            (`evaluation.calibrated`).
        negative: distances to normal patches, at least 0.
        positive: distances to defective patches, of the same shape.
    """
    if combination == "ratio":
        return negative / (positive + LEAST)
    if combination == "difference":
        return negative - positive
    logarithms = log_distances(negative, positive)
    return logarithms[0] - logarithms[1]


def log_distances(negative: Floating, positive: Floating) -> tuple[Floating, Floating]:
    """The logarithms of both distances, each `LEAST` higher."""
    return np.log(negative + LEAST), np.log(positive + LEAST)


def combine_measured(combination: Combination | None, measured: Measured) -> npt.NDArray[np.float32]:
    """What patches are scored by: [n, P] float32, the distances alone where there is nothing to combine."""
    if combination is None or "positive" not in measured.parts:
        return measured.distances
    combined = combine(combination, measured.parts["negative"], measured.parts["positive"])
    return np.asarray(combined, np.float32)
