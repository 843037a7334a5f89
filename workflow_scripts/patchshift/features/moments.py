"""Means, variances and second moments of training features, summed in float64 image by image.

The sums take one image at a time, however many are read at once, so they do not depend on the size of the chunks.
Tested in tests/features/test_moments.py.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt

from patchshift.features.parallel import map_in_threads

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Sums = tuple[int, Float64, Float64]
"""Number of vectors, their sum [C] and the sum of their squares [C]."""

BLOCK = 128  # rows of a block of products
GROUP = 4  # images whose products are added at a time


def sum_image(values: Float32) -> Sums:
    """Sums of the vectors of one image.

    Args:
        values: [..., C].
    """
    vectors = values.reshape(-1, values.shape[-1]).astype(np.float64)
    return len(vectors), vectors.sum(axis=0), np.einsum("nc,nc->c", vectors, vectors)


def channel_moments(sums: Iterable[Sums]) -> tuple[Float64, Float64]:
    """Mean [C] and variance [C] per channel, from the sums of each image."""
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for number, of_values, of_squares in sums:
        count += number
        total = total + of_values
        squares = squares + of_squares
    mean = np.asarray(total / count)
    return mean, np.asarray(np.maximum(squares / count - mean**2, 0))


def float16_rounding(mean: Float64) -> Float64:
    """The largest deviation that rounding to float16 gives to equal values: [C] from their means.

    Values that are equal but for less than a step come out as two neighbouring numbers, which deviate by half a step
    at most. A step is at most 2**-10 of a number's magnitude, and 2**-24 where that is below 2**-14.
    """
    return np.asarray(2.0**-11 * np.maximum(np.abs(mean), 2.0**-14))


def second_moments(images: Iterable[Float32]) -> Float64:
    """The mean of x x^T over all vectors x: [D, D].

    Args:
        images: [n, D] of each image.
    """
    products = _Products()
    for group in _in_groups(images):
        products.add(group)
    return products.mean()


def covariance(images: Iterable[Float32]) -> tuple[Float64, Float64]:
    """Mean [D] and covariance [D, D] of all vectors.

    Args:
        images: [n, D] of each image.
    """
    products, origin, total = _Products(), np.zeros(1), np.zeros(1)
    for group in _in_groups(images):
        if not products.count:
            origin = group[0].mean(axis=0, dtype=np.float64)  # far from it, E[x x^T] - m m^T would lose the variance
        products.add(group, origin)
        for image in group:
            total = total + (image.astype(np.float64) - origin).sum(axis=0)
    mean = np.asarray(total / products.count)
    return np.asarray(origin + mean), products.mean() - np.outer(mean, mean)


class _Products:
    """The sum of x x^T, in blocks of rows up to the diagonal that threads share.

    Attributes:
        count: number of vectors so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._blocks: list[Float64] = []

    def add(self, images: Sequence[Float32], origin: Float64 | float = 0.0) -> None:
        """Add the vectors of images [n, D] minus `origin`: image by image, so their grouping changes no bit."""
        dimension = images[0].shape[1]
        if not self._blocks:
            stops = range(BLOCK, dimension + BLOCK, BLOCK)
            self._blocks = [np.zeros((min(stop, dimension) - stop + BLOCK, min(stop, dimension))) for stop in stops]
        values = [image.astype(np.float64) - origin for image in images]

        def add_to_block(number: int) -> None:
            block = self._blocks[-1 - number]  # the longest first
            rows, stop = block.shape
            for vectors in values:
                block += vectors[:, stop - rows : stop].T @ vectors[:, :stop]

        map_in_threads(add_to_block, len(self._blocks))
        self.count += sum(map(len, images))

    def mean(self) -> Float64:
        """[D, D] mean of x x^T."""
        dimension = self._blocks[-1].shape[1]
        lower = np.zeros((dimension, dimension))
        for block in self._blocks:
            rows, stop = block.shape
            lower[stop - rows : stop, :stop] = block
        lower = np.tril(lower)
        return np.asarray((lower + np.tril(lower, -1).T) / self.count)


def _in_groups(images: Iterable[Float32]) -> Iterator[list[Float32]]:
    """A few images at a time: enough to be worth starting threads, few enough for their float64 copies."""
    waiting = iter(images)
    while group := list(islice(waiting, GROUP)):
        yield group
