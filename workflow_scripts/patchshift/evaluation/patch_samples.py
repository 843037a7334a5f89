"""Which patches are defective, which are ignored, and a sample of embeddings of a few.

Tested in tests/evaluation/test_patch_samples.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from patchshift.data.packs import Pack
from patchshift.data.regions import ignore_patches, measure_patch_shares
from patchshift.features.representations import CHUNK_MB, Representation
from patchshift.features.store import FeatureRows

Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ImageContents:
    """What a pack says of some images.

    Attributes:
        images: the n image keys.
        defects: defect type per image, empty for good ones.
        located: whether masks say where the defects are.
        pack: the opened pack.
    """

    images: list[str]
    defects: list[str]
    located: bool
    pack: Pack

    @classmethod
    def of(cls, pack: Pack, images: Sequence[str]) -> "ImageContents":
        """The named images, as the pack labels them.

        Raises:
            UserError: if an image is not in the pack.
        """
        rows = pack.rows(images)
        defects = [pack.defects[row] if pack.labels[row] else "" for row in rows]
        return cls(list(images), defects, pack.has_masks, pack)

    @property
    def types(self) -> list[str]:
        """The defect types, in alphabetical order."""
        return sorted(set(self.defects) - {""})

    def patches(self, grid: tuple[int, int]) -> "PatchLabels":
        """What each patch of a grid shows."""
        defective, ignored = np.zeros((2, len(self.images), *grid), np.bool_)
        for image, row in enumerate(self.pack.rows(self.images)):
            if self.pack.has_ignore:
                ignored[image] = ignore_patches(self.pack.ignore(row), grid)
            if self.located and self.defects[image]:
                shares = measure_patch_shares(self.pack.mask(row), grid)
                defective[image] = find_defective(shares, ignored[image])
        return PatchLabels(defective, ignored)


@dataclass(frozen=True)
class PatchLabels:
    """What patches show: [n, rows, columns] each; a patch that is ignored is not defective."""

    defective: Bool
    ignored: Bool


def find_defective(shares: Float64, ignored: Bool) -> Bool:
    """The patches of an image that count as defective.

    Those with at least half of their area in the mask; where there is none, because the defect is thinner than half a
    patch, those with the largest share.

    Args:
        shares: [rows, columns] of each patch's area in the mask.
        ignored: [rows, columns] patches that never count.
    """
    shares = np.where(ignored, 0, shares)
    largest = shares.max()
    if largest == 0:  # a mask that marks nothing, or is ignored
        return np.zeros(shares.shape, np.bool_)
    return np.asarray(shares >= min(0.5, largest))


def gather_patches(representation: Representation, features: FeatureRows, patches: Int64) -> Float32:
    """Embeddings of a few patches, without keeping those of the others.

    Args:
        representation: fitted.
        features: n images.
        patches: [m] numbers of patches: image by image, row by row, in any order.

    Returns:
        [m, D].
    """
    rows, columns = representation.grid
    gathered = np.empty((len(patches), representation.dimension), np.float32)
    order = np.argsort(patches, kind="stable")
    ascending = patches[order]
    first = 0
    for maps in features.chunks(representation.layers, representation.images_within(CHUNK_MB)):
        last = first + len(maps[representation.layers[0]]) * rows * columns
        start, end = np.searchsorted(ascending, [first, last])
        if end > start:
            embeddings = representation.transform(maps).reshape(-1, representation.dimension)
            gathered[order[start:end]] = embeddings[ascending[start:end] - first]
        first = last
    return gathered


def share_out(total: int, available: Sequence[int]) -> list[int]:
    """Divide a number as evenly as what is available allows; the first ones get what does not divide.

    Args:
        total: number to divide.
        available: how much each can take.

    Returns:
        What each takes; their sum is the total, or all that is available.
    """
    taken = [0] * len(available)
    total = min(total, sum(available))
    while left := total - sum(taken):
        open_ones = [index for index, most in enumerate(available) if taken[index] < most]
        each = max(1, left // len(open_ones))
        for index in open_ones:
            taken[index] += min(each, available[index] - taken[index], total - sum(taken))
    return taken


def choose_patches(groups: Mapping[str, Int64], count: int, random: np.random.Generator) -> dict[str, Int64]:
    """A random choice of patches: groups give as evenly as they can.

    Args:
        groups: name -> numbers of patches.
        count: patches to choose, at most.
        random: a stream of its own.

    Returns:
        The same names -> numbers chosen, ascending.
    """
    sizes = share_out(count, [len(patches) for patches in groups.values()])
    return {
        name: np.sort(random.choice(patches, size, replace=False))
        for (name, patches), size in zip(groups.items(), sizes, strict=True)
    }


def list_patches(content: ImageContents, grid: tuple[int, int]) -> dict[str, Int64]:
    """Which patches a sample may take: those of good images, and the defective ones of each type.

    Without masks nothing says which patches are defective: then all patches of defective images may be taken.

    Args:
        content: n test images.
        grid: (rows, columns) of patches.

    Returns:
        Type, empty for good images -> numbers of patches, image by image, row by row.
    """
    labels = content.patches(grid)
    kinds = np.array(content.defects, object)
    taken = ~labels.ignored
    taken[kinds != ""] &= labels.defective[kinds != ""] | (not content.located)
    return {
        kind: np.flatnonzero(taken & (kinds == kind)[:, None, None]).astype(np.int64) for kind in ["", *content.types]
    }
