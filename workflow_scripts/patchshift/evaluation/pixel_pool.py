"""The pixels of many images, pooled so that one pass over the images gives every pixel metric.

Each image's scores are sorted when it is added. Pixels of all images are then compared in blocks of neighbouring
scores, the highest first, so nothing as long as the pool is ever made: normal pixels matter only by their scores, and
defect pixels also by their region.
Tested in tests/evaluation/test_pixel_pool.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.undefined import Undefined

Float64 = npt.NDArray[np.float64]
Floating = npt.NDArray[np.floating[Any]]
Bool = npt.NDArray[np.bool_]

_EIGHT_CONNECTED = np.ones((3, 3), np.int64)
_SAMPLE = 1_000_000  # scores that bins and blocks are chosen from
_BLOCK = 4_000_000  # pixels that are compared at once, more where so many are equal


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


@dataclass(frozen=True)
class ImagePixels:
    """The pixels of one image.

    Attributes:
        normal: [n] ascending scores of normal pixels.
        defect: [d] ascending scores of defect pixels.
        region: [d] int32, which of the image's regions each of these belongs to.
        sizes: [r] pixels of each region.
    """

    normal: Floating
    defect: Floating
    region: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.int64]

    def shares(self, start: int, end: int) -> Float64:
        """One over the size of their regions, of the defect pixels from `start` up to `end`."""
        shares: Float64 = (1.0 / self.sizes)[self.region[start:end]]
        return shares


class PixelPool:
    """Collects images one at a time; holds 4 bytes per normal and 8 per defect pixel (float32 scores).

    Args:
        dtype: floating type of the pooled scores.

    Attributes:
        images: the pixels of each image that is not ignored as a whole.
        places: which of the added images these are.
    """

    def __init__(self, dtype: npt.DTypeLike = np.float32) -> None:
        self._dtype = np.dtype(dtype)
        self._added = 0
        self.images: list[ImagePixels] = []
        self.places: list[int] = []

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
        region, sizes = _find_regions(defect)
        if ignore is not None and not (region.size or good.any()):
            return
        normal = anomaly_map[good].astype(self._dtype, copy=False)
        normal.sort()
        scores = anomaly_map[defect].astype(self._dtype, copy=False)
        order = np.argsort(scores, kind="stable")
        self.images.append(ImagePixels(normal, scores[order], region[order], sizes))
        self.places.append(self._added - 1)

    @property
    def region_count(self) -> int:
        """Defect regions of all images."""
        return sum(len(image.sizes) for image in self.images)

    @property
    def total(self) -> PixelCounts:
        """Normal pixels, defect pixels and regions of all images, one number each."""
        normal, defect = (sum(getattr(image, kind).size for image in self.images) for kind in ("normal", "defect"))
        return PixelCounts(*np.array([normal, defect, self.region_count], np.float64))

    def check(self) -> None:
        """Refuse a pool without pixels of both kinds.

        Raises:
            Undefined: if there is no defect or no normal pixel.
        """
        if not self.total.defect:
            raise Undefined("no image has a defect pixel")
        if not self.total.normal:
            raise Undefined("no image has a normal pixel")

    def blocks(self, size: int = _BLOCK) -> Iterator[PixelCounts]:
        """Exact counts over all thresholds, in blocks of neighbouring scores, the highest first.

        Args:
            size: about how many pixels are compared at once.

        Yields:
            [2 K + 1] counts for the K distinct defect scores of a block: the normal pixels above the highest, those and
            the defect pixels at it, the normal pixels between it and the next, and so on to those below the lowest.
            Normal pixels between two defect scores need no finer order: no metric moves between them but by their
            number.

        Raises:
            Undefined: if there is no defect or no normal pixel.
        """
        self.check()
        count = int((self.total.normal + self.total.defect) // size)
        # equal scores lie in one block: borders are scores, each the lowest of its block
        borders = np.unique(self._quantiles(np.linspace(0, 1, count + 2)[1:-1], "normal", "defect"))
        cuts = [
            [
                np.concatenate([[0], np.searchsorted(scores, borders), [scores.size]])
                for scores in (one.normal, one.defect)
            ]
            for one in self.images
        ]
        for block in range(len(borders), -1, -1):
            spans = [[(int(cut[block]), int(cut[block + 1])) for cut in image] for image in cuts]
            pairs = list(zip(self.images, spans, strict=True))
            normal = np.concatenate([image.normal[start:end] for image, ((start, end), _) in pairs])
            defect = np.concatenate([image.defect[start:end] for image, (_, (start, end)) in pairs])
            shares = np.concatenate([image.shares(start, end) for image, (_, (start, end)) in pairs])
            yield _count_block(normal, defect, shares)

    def per_image(self, bins: int) -> PixelCounts:
        """Histograms of each image over common bins, for resampling images.

        Bin edges are quantiles of the pooled scores, half of them of the normal and half of the defect pixels, so both
        false-positive rate and recall are resolved evenly.

        Args:
            bins: largest number of bins.

        Returns:
            [N, K] counts, K <= bins.

        Raises:
            Undefined: if there is no defect or no normal pixel.
        """
        self.check()
        probabilities = np.linspace(0, 1, bins // 2)
        edges = np.unique([self._quantiles(probabilities, kind) for kind in ("normal", "defect")])
        return self.histograms(edges[1:])  # all below the second edge is the last bin

    def histograms(self, edges: Floating) -> PixelCounts:
        """[N, K + 1] counts of each image between [K] ascending edges, the highest bin first; an edge opens its bin."""
        shape = (len(self.images), len(edges) + 1)
        counts = PixelCounts(np.zeros(shape), np.zeros(shape), np.zeros(shape))
        for row, image in enumerate(self.images):
            for kind, scores in (("normal", image.normal), ("defect", image.defect)):
                below = np.searchsorted(scores, edges)
                getattr(counts, kind)[row] = np.diff(below, prepend=0, append=scores.size)[::-1]
            # defect scores ascend, so bins follow each other from the last one
            group = np.repeat(np.arange(shape[1])[::-1], counts.defect[row, ::-1].astype(np.int64))
            counts.regions[row] = np.bincount(group, image.shares(0, image.defect.size), minlength=shape[1])
        return counts

    def _quantiles(self, probabilities: Float64, *kinds: str) -> Floating:
        """Scores at these quantiles of the pixels of some kinds, of every n-th pixel where there are many."""
        scores = [getattr(image, kind) for kind in kinds for image in self.images]
        starts = np.cumsum([0, *(one.size for one in scores)])
        step = int(starts[-1]) // _SAMPLE + 1
        # each image's pixels are sorted, so these represent all of them
        sample = np.concatenate([one[-start % step :: step] for one, start in zip(scores, starts[:-1], strict=True)])
        sample.sort()
        chosen: Floating = sample[(probabilities * (sample.size - 1)).astype(np.int64)]
        return chosen


def _count_block(normal: Floating, defect: Floating, shares: Float64) -> PixelCounts:
    """What `PixelPool.blocks` yields, of unsorted scores and the shares of regions that go with the defect pixels."""
    normal.sort()
    order = np.argsort(defect, kind="stable")
    scores, starts, pixels = np.unique(defect[order], return_index=True, return_counts=True)
    below = np.flip(np.searchsorted(normal, scores, "left"))
    through = np.flip(np.searchsorted(normal, scores, "right"))
    counts = PixelCounts(*np.zeros((3, 2 * len(scores) + 1)))
    counts.normal[0::2] = np.append(normal.size, below) - np.append(through, 0)
    counts.normal[1::2] = through - below
    counts.defect[1::2] = np.flip(pixels)
    if scores.size:
        counts.regions[1::2] = np.flip(np.add.reduceat(shares[order], starts))
    return counts


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
    return len(_find_regions(defect if ignore is None else defect & (ignore == 0))[1])


def _find_regions(defect: Bool) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """[n] the 8-connected region of each defect pixel, in raster order, and [r] how many pixels each region has."""
    if not defect.any():
        return np.empty(0, np.int32), np.empty(0, np.int64)
    from scipy.ndimage import label as label_regions  # slow to import

    labels, count = label_regions(defect, structure=_EIGHT_CONNECTED)
    region = (labels[defect] - 1).astype(np.int32)
    return region, np.bincount(region, minlength=count)
