"""Ranks in which equal values share their mean rank.

As scipy.stats.rankdata, without that package, which takes longer to load than most tables take to make.
Tested in tests/evaluation/test_midranks.py.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


def midranks(values: Sequence[float] | npt.NDArray[np.floating[Any]]) -> Float64:
    """The rank of each value, the smallest having 1.

    Args:
        values: [N] without NaN.

    Returns:
        [N] float64, multiples of one half and so exact; they sum to N (N + 1) / 2.
    """
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    means: Float64 = np.cumsum(counts) - (counts - 1) / 2
    return means[group]
