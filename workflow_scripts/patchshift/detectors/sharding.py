"""One choice shared among several jobs: each chooses from a shard of the images, one more from what they chose.

Whether shards are chosen here, one after the other, or read from what other jobs chose: the same vectors, bit for bit.
Tested in tests/detectors/test_sharding.py; docs/design/013-shards-across-jobs.md.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from patchshift.detectors.patches import PatchSource
from patchshift.detectors.quotas import Quota, draw_directions, set_quotas
from patchshift.detectors.shards import (
    Picks,
    bytes_needed,
    bytes_of_patch,
    choose_from_shard,
    choose_from_shards,
    count_shards,
)
from patchshift.errors import UserError
from patchshift.plan.sampling_specs import SamplerSpec


@dataclass(frozen=True)
class Sharding:
    """How a choice is shared.

    Attributes:
        count: of shards: as equal parts as can be of the images of each quota; some are empty where there are fewer.
        read: what has been chosen from a shard (from 0) for a quota (from 0); None: nothing has been.
    """

    count: int
    read: Callable[[int, int], Picks] | None = None


def choose_shard(
    spec: SamplerSpec,
    source: PatchSource,
    *,
    shard: int,
    count: int,
    memory_mb: float,
    seed: int,
    members: Sequence[str] = (),
    member_of: npt.NDArray[np.int16] | None = None,
) -> Iterator[Picks]:
    """What one of the jobs chooses: the picks for each quota. Patches of other shards are not read.

    Args:
        spec: how many.
        source: the training patches, of all shards.
        shard: which, from 0.
        count: of shards.
        memory_mb: memory for patches and what choosing keeps beside them, in MB.
        seed: of the first pick and the projection.
        members: the categories of a pool, for `per_category`.
        member_of: [n] index into `members` of each image.

    Raises:
        UserError: if more patches are asked for than there are, or memory does not allow so few shards.
    """
    for quota in set_quotas(spec, source, members, member_of):
        directions = _prepare(spec, source, quota, count, memory_mb, seed)
        images = np.array_split(quota.images, count)[shard]
        yield choose_from_shard(source, images, quota.size, seed=seed, directions=directions)


def choose_from_quota(
    spec: SamplerSpec,
    source: PatchSource,
    quota: Quota,
    *,
    place: int,
    sharding: Sharding,
    memory_mb: float,
    seed: int,
) -> Picks:
    """The vectors of a quota, chosen from what is chosen from each shard.

    Args:
        spec: the sampler.
        source: the training patches, of all shards.
        quota: what to choose.
        place: of the quota among all, from 0.
        sharding: the shards.
        memory_mb: see `choose_shard`.
        seed: see `choose_shard`.

    Raises:
        UserError: if memory does not allow so few shards.
    """
    directions = _prepare(spec, source, quota, sharding.count, memory_mb, seed)
    read = sharding.read
    return choose_from_shards(
        source,
        np.array_split(quota.images, sharding.count),
        quota.size,
        seed=seed,
        directions=directions,
        read_picks=None if read is None else lambda shard: read(shard, place),
    )


def _prepare(
    spec: SamplerSpec, source: PatchSource, quota: Quota, count: int, memory_mb: float, seed: int
) -> npt.NDArray[np.float32] | None:
    """The projection of a quota, one for all shards.

    Raises:
        UserError: if memory does not allow so few shards; the same in all jobs, before one reads a patch.
    """
    patches = int(source.counts[quota.images].sum())
    directions = draw_directions(spec, source.dimension, patches, seed)
    patch_bytes, memory = bytes_of_patch(source.dimension, directions), memory_mb * 1e6
    needed = bytes_needed(source, quota.images, quota.size, shards=np.array([count]), patch_bytes=patch_bytes)[0]
    if needed > memory:
        other, _ = count_shards(source, quota.images, quota.size, patch_bytes=patch_bytes, memory=memory)
        raise UserError(
            f"memory_mb: {quota.size:,} of {patches:,} training patches cannot be chosen from {count} shards in "
            f"{memory_mb:g} MB: raise it to {math.ceil(needed / 1e6)}, or "
            + (f"set shards to {other}" if other > 1 else "keep fewer")
        )
    return directions
