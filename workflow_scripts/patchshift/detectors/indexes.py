"""Search structures for the nearest vectors of a bank; by faiss.

All but `flat` are approximate: `measure_recall` says how often they find the nearest vector.
Tested in tests/detectors/test_indexes.py.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from patchshift.detectors.kmeans import faiss_seed
from patchshift.errors import UserError
from patchshift.plan.sampling_specs import IndexSpec

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
UInt8 = npt.NDArray[np.uint8]

FEWEST_PER_CENTROID = 39  # below which faiss warns that its k-means has too few vectors
BITS = 8  # of the code of each part of a vector
CODES = 2**BITS  # centroids of each part
PROBES, LINKS, DEPTH = 8, 32, 64  # where the spec says nothing
QUERIES = 1000  # patches whose nearest vectors tell the recall

log = logging.getLogger(__name__)


def build_index(spec: IndexSpec, vectors: Float32, *, seed: int, owner: str = "the bank") -> Any:
    """A faiss index of some vectors.

    Args:
        spec: which, and its settings.
        vectors: [M, D] float32, about their mean.
        seed: of the k-means behind inverted lists and codes.
        owner: whose vectors they are, for errors.

    Returns:
        The index, which answers `search(queries, k)` with squared distances and rows.

    Raises:
        UserError: if there are too few vectors, or their length cannot be divided into codes.
    """
    dimension = vectors.shape[1]
    index: Any
    if spec.method == "flat":
        index = faiss.IndexFlatL2(dimension)
    elif spec.method == "hnsw":
        links, depth = spec.links or LINKS, spec.depth or DEPTH
        index = faiss.IndexHNSWFlat(dimension, links)
        index.hnsw.efConstruction = max(depth, 2 * links)
        index.hnsw.efSearch = depth
    else:
        index = _make_lists(spec, len(vectors), dimension, faiss_seed(seed), owner)
    with one_thread():  # the links of a graph depend on who adds first
        if not index.is_trained:
            index.train(vectors)
        index.add(vectors)
    return index


def _make_lists(spec: IndexSpec, count: int, dimension: int, seed: int, owner: str) -> Any:
    """Inverted lists, not trained yet."""
    lists = spec.lists or max(1, min(count // FEWEST_PER_CENTROID, round(4 * math.sqrt(count))))
    _check_training(spec, lists, count, dimension, owner)
    quantiser = faiss.IndexFlatL2(dimension)
    index: Any
    if spec.method == "ivf_flat":
        index = faiss.IndexIVFFlat(quantiser, dimension, lists)
    else:
        index = faiss.IndexIVFPQ(quantiser, dimension, lists, spec.code_bytes or 1, BITS)
    for clustering in (index.cp, index.pq.cp) if spec.method == "ivf_pq" else (index.cp,):
        clustering.seed = seed
        clustering.min_points_per_centroid = 1  # of fewer it would warn on the terminal
    index.nprobe = min(spec.probes or PROBES, lists)
    return index


def _check_training(spec: IndexSpec, lists: int, count: int, dimension: int, owner: str) -> None:
    if lists > count:
        raise UserError(f"index.lists: {lists} are asked for, but {owner} has {count} vectors: lower it")
    needed = {"lists": lists}
    if spec.method == "ivf_pq":
        assert spec.code_bytes is not None  # the spec requires it
        if dimension % spec.code_bytes:
            fitting = [size for size in range(1, dimension + 1) if dimension % size == 0]
            raise UserError(
                f"index.code_bytes: embeddings of {dimension} numbers cannot be divided into {spec.code_bytes} parts: "
                f"choose of {', '.join(map(str, fitting))}"
            )
        if count < CODES:
            raise UserError(
                f"index 'ivf_pq' needs at least {CODES} vectors, but {owner} has {count}: keep more, or use 'ivf_flat'"
            )
        needed["codes"] = CODES
    for name, centroids in needed.items():
        if centroids > 1 and count < FEWEST_PER_CENTROID * centroids:
            log.warning(
                "index '%s': %d vectors for %d %s, fewer than %d each: it may find the nearest less often",
                *(spec.method, count, centroids, name, FEWEST_PER_CENTROID),
            )


def measure_recall(index: Any, vectors: Float32, queries: Float32) -> float:
    """The share of queries whose nearest vector an index finds; one as near as the nearest counts.

    Vectors that equal the query do not count, since a search that begins there finds them in any case: of a query
    that is itself in the bank, the nearest other vector has to be found.

    Args:
        index: of the vectors.
        vectors: [M, D] float32, as they were added.
        queries: [n, D] float32.

    Returns:
        NaN where no query has a vector beside its equals among its two nearest.
    """
    exact = faiss.IndexFlatL2(vectors.shape[1])
    exact.add(vectors)
    nearest, reached = (_nearest_other(each, vectors, queries) for each in (exact, index))
    known = np.isfinite(nearest)
    return float(np.mean(reached[known] <= nearest[known] * (1 + 1e-6))) if known.any() else math.nan


def _nearest_other(index: Any, vectors: Float32, queries: Float32) -> Float32:
    """[n] distance of each query to the first of two vectors found that is not its equal; infinite if there is none."""
    distances = np.full(len(queries), np.inf, np.float32)
    for rows in index.search(queries, min(2, len(vectors)))[1].T[::-1]:
        reached = np.where(rows < 0, np.inf, np.linalg.norm(queries - vectors[rows], axis=1))
        np.copyto(distances, reached, where=reached > 0)
    return distances


def choose_queries(patches: Float32) -> Float32:
    """At most `QUERIES` training patches, evenly spaced."""
    return np.asarray(patches[query_rows(len(patches))])


def query_rows(count: int) -> Int64:
    """Rows of at most `QUERIES` of `count` patches, evenly spaced."""
    return np.linspace(0, count - 1, min(QUERIES, count)).astype(np.int64)


def to_bytes(index: Any) -> UInt8:
    """An index as bytes."""
    return np.asarray(faiss.serialize_index(index), np.uint8)


def from_bytes(content: UInt8) -> Any:
    """The index that `to_bytes` wrote.

    Raises:
        ValueError: if it is none.
    """
    try:
        return faiss.deserialize_index(content)
    except RuntimeError as error:
        raise ValueError("its index is damaged") from error


@contextmanager
def one_thread() -> Iterator[None]:
    """Let faiss use one thread inside."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
