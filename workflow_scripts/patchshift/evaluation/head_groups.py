"""Heads of a vision transformer that look at the same places, as groups.

Tested in tests/evaluation/test_head_groups.py.
"""

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

MANY_HEADS = 6  # more than that make four groups, others three


def group_heads(maps: Float32) -> list[list[int]]:
    """Group heads by the correlation of their maps: average linkage on 1 - correlation, cut at three or four groups.

    Args:
        maps: [n, heads, rows, columns] attention on n images.

    Returns:
        The heads of each group, ascending; groups in the order of their first head. Heads whose maps are equal up to
        scale share a group, so there may be fewer groups.
    """
    heads = maps.shape[1]
    wanted = 4 if heads > MANY_HEADS else 3
    if heads <= wanted:
        return [[head] for head in range(heads)]
    from scipy.cluster.hierarchy import fcluster, linkage  # slow to import
    from scipy.spatial.distance import squareform

    distances = squareform(1 - correlate_heads(maps), checks=False)
    labels = fcluster(linkage(distances, "average"), wanted, "maxclust").tolist()
    groups = [[head for head in range(heads) if labels[head] == label] for label in dict.fromkeys(labels)]
    return sorted(groups)


def correlate_heads(maps: Float32) -> Float64:
    """Correlation between heads over all positions of all images, image by image centred: [heads, heads].

    A head that looks everywhere alike correlates with none but itself.
    """
    values = maps.astype(np.float64)
    values = values - values.mean(axis=(2, 3), keepdims=True)
    flat = values.transpose(1, 0, 2, 3).reshape(maps.shape[1], -1)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    flat = np.divide(flat, norms, out=np.zeros_like(flat), where=norms > 0)
    correlation = np.clip(flat @ flat.T, -1, 1)
    np.fill_diagonal(correlation, 1)
    return np.asarray((correlation + correlation.T) / 2)
