"""Let a memory bank grow with its product line: it keeps what it has, and takes in what new normal images add.

New vectors are chosen as greedy k-centre would go on (Gonzalez 1985): each is the new patch that lies farthest from
the bank and from those chosen before, so a patch that the bank covers is never chosen before one that it does not.
Tested in tests/detectors/test_extension.py.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from patchshift.detectors.bank import Bank
from patchshift.detectors.coreset import trace_greedy
from patchshift.detectors.indexes import QUERIES
from patchshift.detectors.neighbours import NearestNeighbours, make_neighbours
from patchshift.detectors.patches import unit_vectors
from patchshift.errors import UserError
from patchshift.features.store import FeatureRows, warn_of_differences
from patchshift.plan.detector_specs import FittedSpec, PatchCoreSpec

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int16 = npt.NDArray[np.int16]
Int64 = npt.NDArray[np.int64]

ROUNDING = 1e-6
"""By so much of the covering radius a patch may lie beyond it and still count as covered."""

FIRST = 256  # picks to begin with where nobody knows how many are needed; then twice as many, and so on
HELD = 6  # arrays of the size of the patches while distances are taken: two of them in float64

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extension:
    """A bank that has grown.

    Attributes:
        bank: the new one; its first vectors are those of the old one.
        added: number of new vectors.
        patches: number of patches of the new images.
        beyond: how many of them lay farther from the old bank than its covering radius.
        farthest: largest distance of a new patch to the old bank, in the space of the bank's vectors.
        left: the same to the new bank.
    """

    bank: Bank
    added: int
    patches: int
    beyond: int
    farthest: float
    left: float


def extend_bank(
    bank: Bank,
    features: FeatureRows,
    *,
    share: float | None = None,
    count: int | None = None,
    member: str | None = None,
    seed: int = 0,
) -> Extension:
    """Add what new normal images show and the bank does not cover.

    The representation stays as it was fitted, and so does every old vector, bit for bit and in order; an index is built
    anew, and its recall is that of the new patches. By default as many patches are taken as it needs for every new one
    to lie within the bank's covering radius, so none where all do already. Distances are those between whole vectors.
    A sampler that chose in a projected space measured the radius there, where distances are kept on average only; the
    same number is then the limit here, so a few patches that the old images show as well may count as new.

    The covering radius of the new bank is the larger one of the old radius and that of the new patches: no old or new
    training patch is farther (old ones in the space where that was measured).

    Args:
        bank: of method `patchcore`, with vectors; it is left as it is.
        features: the new images, from the backbone that the bank was fitted on.
        share: choose so many of the new patches instead; fewer where the rest equals what is there.
        count: the same as a number.
        member: the category of the new images, `dataset/category`. A bank of several categories needs it, and a bank of
            one category becomes one of two if another is named.
        seed: of the k-means behind an index.

    Raises:
        ValueError: if both are given, or one that is out of range.
        UserError: if the bank cannot grow, the features are of another backbone, more patches are asked for than there
            are, or the patches need more memory than `memory_mb`.
    """
    if None not in (share, count) or (share is not None and not 0 < share <= 1) or (count is not None and count < 1):
        raise ValueError(f"give a share in (0, 1] or a count of 1 or more, not {share} and {count}")
    spec, model, vectors = _what_can_grow(bank)
    _check_features(bank, features)
    names, members, own = _name_members(bank, model, member)
    limit = model.covering_radius * (1 + ROUNDING)
    given = share is not None or count is not None
    found = _compare(bank, model, features, limit, 0.0 if given else limit, spec.memory_mb)
    most = count if share is None else max(1, int(share * found.patches))
    if count is not None and count > found.patches:
        raise UserError(f"count: {count} patches are asked for, but the images have {found.patches}: lower it")
    chosen = _choose(found.points, found.distances, None if given else limit, most)
    if not len(chosen):
        log.info("all %d patches of %d images are covered: nothing is added", found.patches, len(features))
        return Extension(bank, 0, found.patches, found.beyond, found.farthest, found.farthest)
    grown = np.concatenate([vectors, found.points[chosen]])
    left = max(float(distances.max(initial=0)) for _, distances in _distances(bank, model, features, grown))
    searched = make_neighbours(grown, 0.0, index=spec.index, queries=found.queries, seed=seed)
    grown_model = replace(
        model,
        vectors=grown,
        covering_radius=max(model.covering_radius, left),
        centre=searched.centre,
        index=searched.index,
        recall=searched.recall,
        members=None if members is None else np.concatenate([members, np.full(len(chosen), own, np.int16)]),
    )
    log.info("%d of %d patches added to %d vectors", len(chosen), found.patches, len(vectors))
    extended = replace(bank, model=grown_model, members=names)
    return Extension(extended, len(chosen), found.patches, found.beyond, found.farthest, left)


def check_extendable(bank: Bank) -> None:
    """Refuse a bank that cannot grow, before its new images are looked at.

    Raises:
        UserError: with the reason and the remedy.
    """
    _what_can_grow(bank)


def _what_can_grow(bank: Bank) -> tuple[PatchCoreSpec, NearestNeighbours, Float32]:
    """Spec, model and vectors of a bank that can grow."""
    spec, model = bank.spec, bank.model
    if not isinstance(spec, PatchCoreSpec) or not isinstance(model, NearestNeighbours):
        raise UserError(f"{_why_not(spec)}: fit it again with the old and the new images")
    if model.vectors is None:
        raise UserError(
            "index 'ivf_pq' keeps codes of the vectors alone, so nobody can tell how far a new patch is from them: fit "
            "the bank again with the old and the new images, or use index 'flat', 'ivf_flat' or 'hnsw'"
        )
    return spec, model, model.vectors


def _why_not(spec: FittedSpec) -> str:
    reasons = {
        "patchcore_dual": "it would have to learn from normal and from defective images",
        "padim": "its means and covariances are of all training images together",
        "pca": "its subspace is that of all training images together",
    }
    reason = reasons.get(spec.method, "what it keeps is of all training images together")
    return f"a bank of method '{spec.method}' cannot be extended, {reason}"


def _check_features(bank: Bank, features: FeatureRows) -> None:
    if not len(features):
        raise UserError("there are no images to extend the bank by")
    layers = bank.representation.layer_shapes
    given = {layer: features.layer_shapes.get(layer) for layer in layers}
    if (given, features.input_size) != (layers, bank.input_size):
        raise UserError(
            f"{features.parts[0][0].path} holds other layers or another input size than the bank was fitted on: extend "
            "it by features of its own backbone"
        )
    warn_of_differences("the features of the bank", bank.made, [store for store, _ in features.parts])


def _name_members(bank: Bank, model: NearestNeighbours, member: str | None) -> tuple[Sequence[str], Int16 | None, int]:
    """The names of the new bank's categories, which of them each old vector is of (None: there is one), and the new."""
    names = list(bank.members)
    if model.members is not None and member is None:
        raise UserError(f"the bank is of {', '.join(names)}: say of which category the new images are, or name another")
    if member is None or names == [member]:
        return names, None, 0
    if not names:
        raise UserError(f"the bank does not say of which category it is, so '{member}' cannot be told from it")
    own = names.index(member) if member in names else len(names)
    members = np.zeros(model.size, np.int16) if model.members is None else model.members
    return names if member in names else [*names, member], members, own


@dataclass(frozen=True)
class _Found:
    """What new images hold: `points` [n, D] with their `distances` [n] to the bank; see `Extension` for the others."""

    points: Float32
    distances: Float64
    patches: int
    beyond: int
    farthest: float
    queries: Float32


def _compare(
    bank: Bank,
    model: NearestNeighbours,
    features: FeatureRows,
    limit: float,
    keep_above: float,
    memory_mb: int,
) -> _Found:
    """Distances of all new patches to the bank, and those patches that are farther than `keep_above`."""
    points, kept, queries = [], [], []
    patches = beyond = held = 0
    farthest = 0.0
    vectors = model.vectors
    assert vectors is not None  # `_what_can_grow` refused a bank without
    rows, columns = bank.representation.grid
    every = -(-len(features) * rows * columns // QUERIES)  # so that there are at most as many, evenly spaced
    for chunk, distances in _distances(bank, model, features, vectors):
        queries.append(chunk[-patches % every :: every].copy())
        patches += len(chunk)
        beyond += int((distances > limit).sum())
        farthest = max(farthest, float(distances.max(initial=0)))
        far = distances > keep_above
        points.append(chunk[far])
        kept.append(distances[far])
        held += points[-1].nbytes
        if 2 * held > memory_mb * 1e6:  # joining them takes as much again
            raise UserError(
                f"the new patches to choose from need more memory than memory_mb, {memory_mb} MB: extend the bank by "
                "fewer images at a time"
            )
    return _Found(np.concatenate(points), np.concatenate(kept), patches, beyond, farthest, np.concatenate(queries))


def _distances(
    bank: Bank, model: NearestNeighbours, features: FeatureRows, vectors: Float32
) -> Iterator[tuple[Float32, Float64]]:
    """New patches [n, D] as the bank compares them, without the background if it looks past that; [n] distances.

    The nearest vector is searched exactly, its distance taken from the difference in float64.
    """
    searched = make_neighbours(vectors, 0.0)
    for patches in bank.representation.embed(features, chunk_mb=bank.spec.chunk_mb, held=HELD):
        flat = patches.reshape(-1, patches.shape[-1])
        if model.foreground is not None:
            flat = flat[~model.foreground.background(patches).reshape(-1)]
        if model.distance == "cosine":
            flat = unit_vectors(flat)
        nearest = searched.rows(flat, 1)[:, 0]
        yield flat, np.linalg.norm(flat.astype(np.float64) - vectors[nearest], axis=1)


def _choose(points: Float32, distances: Float64, limit: float | None, most: int | None) -> Int64:
    """Rows of the points to add, in the order chosen.

    Args:
        points: [n, D] new patches.
        distances: [n] theirs to the bank, above 0.
        limit: choose until no point is farther; None: as many as `most` says.
        most: number to choose; fewer where all other points equal chosen ones. None: `limit` says.
    """
    if not len(points):
        return np.zeros(0, np.int64)
    size = min(FIRST if most is None else most, len(points))
    while True:
        rows, reach = trace_greedy(points, size, start=int(distances.argmax()), initial=distances)
        needed = rows[reach > (limit or 0)]
        if most is not None or len(needed) < size or size == len(points):
            return needed
        size = min(2 * size, len(points))
