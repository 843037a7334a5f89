"""How many vectors a memory bank keeps of which images, and the random projection in which they are chosen.

Tested in tests/detectors/test_samplers.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from patchshift.detectors.patches import PatchSource
from patchshift.errors import UserError
from patchshift.features.reduction import fit_reduction
from patchshift.plan.representation_specs import ReductionSpec
from patchshift.plan.sampling_specs import SamplerSpec

Float32 = npt.NDArray[np.float32]
Int16 = npt.NDArray[np.int16]
Int64 = npt.NDArray[np.int64]

EPSILON = 0.9  # by which share `johnson_lindenstrauss` may change squared distances (anomalib)


@dataclass(frozen=True)
class Quota:
    """A choice of its own.

    Attributes:
        images: rows of the images to choose from.
        size: vectors to keep of their patches.
    """

    images: Int64
    size: int


def set_quotas(
    spec: SamplerSpec, source: PatchSource, members: Sequence[str] = (), member_of: Int16 | None = None
) -> list[Quota]:
    """One for all images, or one for each category of a pool, if the sampler chooses `per_category`.

    Args:
        spec: how many.
        source: the training patches.
        members: the categories of a pool.
        member_of: [n] index into `members` of each image.

    Raises:
        UserError: if more patches are asked for than there are.
    """
    groups, names = [np.arange(len(source.present))], ["the training images have"]
    if spec.per_category and len(members) > 1:
        groups = [np.flatnonzero(member_of == member) for member in range(len(members))]
        names = [f"category '{member}' has" for member in members]
    counts = [int(source.counts[images].sum()) for images in groups]
    return [Quota(images, size) for images, size in zip(groups, _sizes(spec, counts, names), strict=True)]


def draw_directions(spec: SamplerSpec, dimension: int, count: int, seed: int) -> Float32 | None:
    """The random matrix [D, d] of `projection`, one for all shards; None: no projection.

    `johnson_lindenstrauss` is sparse, and d as scikit-learn's `johnson_lindenstrauss_min_dim` says for `EPSILON`:
    4 ln N / (e^2 / 2 - e^3 / 3), rounded down (Dasgupta and Gupta 2003). Where that is no less than D, nothing is
    projected.

    Args:
        spec: the sampler.
        dimension: D.
        count: N, of training patches.
        seed: of the draw.
    """
    if spec.projection is None:
        return None
    if spec.projection == "johnson_lindenstrauss":
        enough = max(1, int(4 * math.log(count) / (EPSILON**2 / 2 - EPSILON**3 / 3)))
        if enough >= dimension:
            return None
        sparse = ReductionSpec(method="random_projection", dimension=enough, distribution="sparse")
        return np.asarray(fit_reduction(sparse, dimension, (), seed=seed)["reduction/matrix"])
    random = np.random.default_rng(seed)
    random.integers(count)  # the first pick comes from the same stream, before
    # Gaussian, so that distances are kept on average (Johnson-Lindenstrauss)
    directions = random.standard_normal((dimension, spec.projection), np.float32)
    return directions / np.float32(np.sqrt(spec.projection))


def _sizes(spec: SamplerSpec, counts: list[int], names: list[str]) -> list[int]:
    """How many vectors to choose of each group of so many patches."""
    if spec.method == "none":
        return counts
    if spec.count is None:
        sizes = [max(1, int((spec.share or 0) * count)) for count in counts]
    else:
        if spec.count < len(counts):
            raise UserError(f"sampler.count: {spec.count} patches cannot come from {len(counts)} categories: raise it")
        each, more = divmod(spec.count, len(counts))
        sizes = [each + (group < more) for group in range(len(counts))]
    for size, count, name in zip(sizes, counts, names, strict=True):
        if not count:
            raise UserError(
                f"sampler.per_category: {name} no patches to choose from: check its split, or remove foreground"
            )
        for key, wanted in (("count" if spec.count is not None else "share", size), ("starts", spec.starts)):
            if wanted > count:
                raise UserError(
                    f"sampler.{key}: {wanted} patches are asked for, but {name} {count}: lower it"
                    + (", or give a share" if key == "count" else "")
                )
    return sizes
