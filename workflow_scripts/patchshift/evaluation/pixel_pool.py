"""The pixels of many images, pooled so that one sort gives every pixel metric.

Normal pixels matter only by their scores; defect pixels, which are few, also carry a share of their region. So the pool
keeps one score per normal pixel and nothing else, and ranks the defect pixels among the sorted normal ones.
Tested in tests/evaluation/test_pixel_pool.py.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import label as label_regions

from patchshift.evaluation.undefined import Undefined

Float64 = npt.NDArray[np.float64]
Floating = npt.NDArray[np.floating[Any]]
Bool = npt.NDArray[np.bool_]

_EIGHT_CONNECTED = np.ones((3, 3), np.int64)
_SAMPLE = 1_000_000  # scores that the bins of `per_image` are chosen from


@dataclass(frozen=True)
class PixelCounts:
    """Pixels per group of equal (or neighbouring) scores, groups from the highest score to the lowest.

    Attributes:
        normal: [..., K] normal pixels.
        defect: [..., K] defect pixels.
        regions: [..., K] shares of defect regions: a region of n pixels adds 1 / n per pixel, 1 in total.
    """

    normal: Float64
    defect: Float64
    regions: Float64


class PixelPool:
    """Collects images one at a time; holds 4 bytes per normal and 12 per defect pixel (float32 scores).

    Args:
        dtype: floating type of the pooled scores.
    """

    def __init__(self, dtype: npt.DTypeLike = np.float32) -> None:
        self._normal = np.empty(0, dtype)
        self._ends = [0]  # where each image's normal pixels end, as long as they lie in image order
        self._defect: list[Floating] = []
        self._shares: list[Float64] = []
        self._ranked = False
        self._added = 0
        self.region_count = 0

    def add(
        self, mask: npt.NDArray[Any], anomaly_map: npt.NDArray[Any], ignore: npt.NDArray[Any] | None = None
    ) -> None:
        """Add one image; one that is ignored as a whole leaves no trace.

        Args:
            mask: [H, W], any non-zero value is defect.
            anomaly_map: [H, W], higher is more anomalous.
            ignore: [H, W], pixels of any non-zero value are left out; None: none. Regions are those of the defect
                pixels that are left, so one that is cut in two counts twice, and one that is covered not at all.

        Raises:
            Undefined: if the map has NaN where it is not ignored.
            ValueError: if the shapes differ or are not two-dimensional.
        """
        defect, good = check_image(self._added, mask, anomaly_map, ignore)
        self._added += 1
        if ignore is not None and not (defect.any() or good.any()):
            return
        shares, count = _region_shares(defect)
        self._defect.append(anomaly_map[defect].astype(self._normal.dtype))
        self._shares.append(shares)
        self.region_count += count

        start = self._ends[-1]
        normal = anomaly_map[good]
        # in place where the allocator can: the pool never exists twice
        self._normal.resize(start + normal.size, refcheck=False)
        self._normal[start:] = normal
        self._normal[start:].sort()
        self._ends.append(start + normal.size)

    def per_image(self, bins: int) -> PixelCounts:
        """Histograms of each image over common bins, for resampling images. Call before `rank`.

        Bin edges are quantiles of the pooled scores, half of them of the normal and half of the defect pixels, so both
        false-positive rate and recall are resolved evenly.

        Args:
            bins: largest number of bins.

        Returns:
            [N, K] counts, K <= bins.

        Raises:
            Undefined: if there is no defect or no normal pixel.
        """
        if self._ranked:
            raise ValueError("per_image needs the pixels in image order: call it before rank")
        defect = self._defect_scores()
        # each image's pixels are sorted, so every n-th pixel of the pool represents all of them
        samples = [scores[:: len(scores) // _SAMPLE + 1] for scores in (self._normal, np.sort(defect))]
        probabilities = np.linspace(0, 1, bins // 2)
        edges = np.unique([np.quantile(sample, probabilities, method="lower") for sample in samples])
        bottom = edges[1:]  # all below the second edge is the last bin
        shape = (len(self._defect), len(bottom) + 1)
        counts = PixelCounts(np.zeros(shape), np.zeros(shape), np.zeros(shape))
        for image, (scores, shares) in enumerate(zip(self._defect, self._shares, strict=True)):
            normal = self._normal[self._ends[image] : self._ends[image + 1]]
            at_least = len(normal) - np.searchsorted(normal, bottom[::-1], "left")
            counts.normal[image] = np.diff(at_least, prepend=0, append=len(normal))
            group = len(bottom) - np.searchsorted(bottom, scores, "right")
            counts.defect[image] = np.bincount(group, minlength=shape[1])
            counts.regions[image] = np.bincount(group, shares, minlength=shape[1])
        return counts

    def rank(self) -> PixelCounts:
        """Exact counts over all thresholds. Sorts the pool in place.

        Returns:
            [2 K + 1] counts for K distinct defect scores: the normal pixels above the highest, those and the defect
            pixels at it, the normal pixels between it and the next, and so on to those below the lowest. Normal pixels
            between two defect scores need no finer order: no metric moves between them but by their number.

        Raises:
            Undefined: if there is no defect or no normal pixel.
        """
        defect = self._defect_scores()
        self._ranked = True
        self._normal.sort()
        order = np.argsort(defect, kind="stable")
        scores, starts, pixels = np.unique(defect[order], return_index=True, return_counts=True)
        below = np.flip(np.searchsorted(self._normal, scores, "left"))
        through = np.flip(np.searchsorted(self._normal, scores, "right"))

        counts = PixelCounts(*np.zeros((3, 2 * len(scores) + 1)))
        counts.normal[0::2] = np.append(self._normal.size, below) - np.append(through, 0)
        counts.normal[1::2] = through - below
        counts.defect[1::2] = np.flip(pixels)
        counts.regions[1::2] = np.flip(np.add.reduceat(np.concatenate(self._shares)[order], starts))
        return counts

    def _defect_scores(self) -> Floating:
        """The defect pixels of all images, if there are pixels of both kinds to compare."""
        if not any(scores.size for scores in self._defect):
            raise Undefined("no image has a defect pixel")
        if not self._normal.size:
            raise Undefined("no image has a normal pixel")
        return np.concatenate(self._defect)


def check_image(
    index: int, mask: npt.NDArray[Any], anomaly_map: npt.NDArray[Any], ignore: npt.NDArray[Any] | None = None
) -> tuple[Bool, Bool]:
    """The defect and the normal pixels of an image, [H, W] each, if they can be ranked; ignored ones are neither.

    Raises:
        Undefined: if the map has NaN where it is not ignored.
        ValueError: if the shapes differ or are not two-dimensional.
    """
    if np.ndim(mask) != 2 or np.shape(mask) != np.shape(anomaly_map):
        raise ValueError(f"image {index}: mask {np.shape(mask)} and map {np.shape(anomaly_map)} must both be [H, W]")
    defect = mask != 0
    good = ~defect
    missing = np.isnan(anomaly_map)
    if ignore is not None:
        if np.shape(ignore) != np.shape(mask):
            raise ValueError(
                f"image {index}: ignore mask {np.shape(ignore)} must be [H, W] as the mask {np.shape(mask)}"
            )
        kept = ignore == 0
        defect, good, missing = defect & kept, good & kept, missing & kept
    if missing.any():
        raise Undefined(f"the anomaly map of image {index} has NaN")
    return defect, good


def count_regions(mask: npt.NDArray[Any], ignore: npt.NDArray[Any] | None = None) -> int:
    """The defect regions that `PixelPool` counts in an image: 8-connected, of the pixels that are not ignored.

    Args:
        mask: [H, W], any non-zero value is defect.
        ignore: [H, W], pixels of any non-zero value are left out; None: none.
    """
    defect = mask != 0
    return _region_shares(defect if ignore is None else defect & (ignore == 0))[1]


def _region_shares(defect: Bool) -> tuple[Float64, int]:
    """[n] one over the size of each defect pixel's 8-connected region, in raster order, and the number of regions."""
    regions, count = label_regions(defect, structure=_EIGHT_CONNECTED)
    members = regions[defect] - 1
    return 1.0 / np.bincount(members, minlength=count)[members], count
