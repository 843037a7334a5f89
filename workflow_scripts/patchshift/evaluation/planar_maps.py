"""Patch embeddings mapped to the plane, neighbours to neighbours.

Tested in tests/evaluation/test_planar_maps.py.
"""

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from patchshift.errors import UserError

Float32 = npt.NDArray[np.float32]

DIMENSIONS = 50  # of the principal components that are mapped
PERPLEXITY = 30.0  # t-SNE: how many neighbours a patch counts
NEIGHBOURS = 15  # UMAP: likewise


def reduce_patches(embeddings: Float32) -> tuple[Float32, float]:
    """The principal components of embeddings, and the share of their variance that is kept.

    Args:
        embeddings: [n, D], n at least 2.

    Returns:
        [n, at most DIMENSIONS] and a share in [0, 1].
    """
    from sklearn.decomposition import PCA  # slow to import

    fitted = PCA(min(DIMENSIONS, *embeddings.shape), svd_solver="full")
    components = fitted.fit_transform(embeddings.astype(np.float64))
    return components.astype(np.float32), float(fitted.explained_variance_ratio_.sum())


def map_to_plane(points: Float32, method: str, *, seed: int) -> Float32:
    """Map points to the plane; with one thread, so that equal points and seeds give equal maps.

    Args:
        points: [n, d], n at least 5.
        method: `tsne` (van der Maaten and Hinton 2008; from the first two principal components) or `umap`
            (McInnes et al. 2018).
        seed: of the map.

    Returns:
        [n, 2]; only who is near whom means anything.

    Raises:
        UserError: if `umap` is asked for and not installed.
    """
    with threadpool_limits(1):
        mapped = _map_tsne(points, seed) if method == "tsne" else _map_umap(points, seed)
    return np.asarray(mapped, np.float32)


def _map_tsne(points: Float32, seed: int) -> Float32:
    from sklearn.manifold import TSNE  # slow to import

    perplexity = min(PERPLEXITY, (len(points) - 1) / 3)
    mapped: Float32 = TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(points)
    return mapped


def _map_umap(points: Float32, seed: int) -> Float32:
    try:
        import umap  # an extra, and slow to import
    except ImportError as error:
        raise UserError(
            f"inspection.maps: 'umap' needs umap-learn ({error}): install the extra with "
            "`pip install -c constraints.txt -e .[umap]`, or leave 'umap' out"
        ) from error
    neighbours = min(NEIGHBOURS, len(points) - 1)
    mapped: Float32 = umap.UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(points)
    return mapped
