"""Bilinear interpolation along one axis, as a matrix: of layer maps to a common grid, of anomaly maps to masks.

Tested in tests/features/test_interpolation.py.
"""

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


def interpolation_matrix(source: int, target: int) -> Float64:
    """[target, source] linear interpolation between pixel centres at half-integers, constant past the outer ones."""
    position = np.clip((np.arange(target) + 0.5) * (source / target) - 0.5, 0, source - 1)
    left = np.floor(position).astype(np.int64)
    right = np.minimum(left + 1, source - 1)
    matrix = np.zeros((target, source))
    np.add.at(matrix, (np.arange(target), left), 1 - (position - left))
    np.add.at(matrix, (np.arange(target), right), position - left)
    return matrix
