"""The neighbourhood of a patch, and the way of a layer's grid to that of the embeddings. All of it is linear.

Averages along rows and columns are separable, so they join the interpolation as one matrix per axis. Averages along
channels are sparse matrices; they commute with interpolation, so they are taken on the layer's own, smaller grid.
Tested in tests/features/test_neighbourhoods.py.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.features.interpolation import interpolation_matrix

Float32 = npt.NDArray[np.float32]
Sparse = Any
"""A scipy.sparse.csr_array, for which there are no type stubs."""

SIDE = 3  # of a neighbourhood, in patches
AREA = SIDE * SIDE


def channel_pooling(source: int, target: int) -> Sparse:
    """Adaptive average pooling of a vector: number i is the mean of numbers floor(i s / t) .. ceil((i + 1) s / t) - 1.

    As torch.nn.functional.adaptive_avg_pool1d: windows overlap where `target` does not divide `source`, and repeat
    numbers where it is larger.

    Returns:
        [target, source] sparse float32.
    """
    from scipy import sparse  # slow to import, and few representations pool channels

    numbers = np.arange(target)
    first, last = numbers * source // target, -(-(numbers + 1) * source // target)
    lengths = last - first
    starts = np.concatenate([[0], np.cumsum(lengths)])
    columns = np.arange(starts[-1]) - np.repeat(starts[:-1] - first, lengths)
    shares = np.repeat(1 / lengths, lengths).astype(np.float32)
    return sparse.csr_array((shares, columns, starts), shape=(target, source))


def unfold(values: Float32) -> Float32:
    """The 3 x 3 patches around each position, zero-padded, flattened channel by channel, rows before columns.

    Args:
        values: [rows, columns, channels].

    Returns:
        [channels * 9, rows * columns] float32.
    """
    rows, columns, channels = values.shape
    edge = SIDE // 2
    padded = np.zeros((channels, rows + 2 * edge, columns + 2 * edge), np.float32)
    padded[:, edge:-edge, edge:-edge] = values.transpose(2, 0, 1)
    # The positions of a kernel element form a window themselves: [channels, 3, 3, rows, columns].
    windows = np.lib.stride_tricks.sliding_window_view(padded, (rows, columns), (1, 2))
    return windows.reshape(channels * AREA, rows * columns)


def pool_channels(values: Float32, pooling: Sparse, *, neighbours: bool) -> Float32:
    """Average channels, of each position or of its 3 x 3 neighbourhood.

    Args:
        values: [rows, columns, channels].
        pooling: [width, channels], or [width, channels * 9] with `neighbours`.
        neighbours: whether the neighbourhood is unfolded first.

    Returns:
        [rows * columns, width] float32.
    """
    vectors = unfold(values) if neighbours else values.reshape(-1, values.shape[-1]).T
    pooled: Float32 = (pooling @ vectors).T
    return pooled


def resampling(source: int, target: int, *, average: bool) -> Float32:
    """[target, source] matrix of one axis: the mean of three neighbours (if asked for), then linear interpolation."""
    matrix = interpolation_matrix(source, target)
    if average:
        matrix = matrix @ ((np.eye(source) + np.eye(source, k=1) + np.eye(source, k=-1)) / SIDE)
    return matrix.astype(np.float32)
