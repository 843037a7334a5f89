"""Which patches show the object and which the background behind it, by the first principal component of all patches.

AnomalyDINO (Damm et al. 2025) cuts each image's own first component at a fixed number and takes the side that fills the
image's centre. Here component, threshold and side are fitted once, on the training patches, so that an image without
its object has no object.
Tested in tests/detectors/test_foreground.py.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from patchshift.detectors.normality import Arrays
from patchshift.errors import UserError
from patchshift.features.reduction import principal_components
from patchshift.features.representations import Representation
from patchshift.features.store import FeatureRows

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Foreground:
    """The side of a plane on which patches of the object lie.

    Attributes:
        direction: [D] float32 unit vector, the first principal component of the training patches.
        threshold: where the plane cuts it.
        above: whether the object lies above it.
        share: of the training patches, how many belong to the object.
    """

    direction: Float32
    threshold: float
    above: bool
    share: float

    def background(self, patches: Float32) -> Bool:
        """Which patches show the background.

        Args:
            patches: [..., D] float32 embeddings as the representation makes them, not divided by their length.

        Returns:
            [...] bool.
        """
        return np.asarray((patches @ self.direction > np.float32(self.threshold)) != self.above)

    def arrays(self) -> Arrays:
        """All that `from_arrays` needs to make the same rule."""
        return {
            "direction": self.direction,
            "threshold": np.array(self.threshold),
            "above": np.array(self.above),
            "share": np.array(self.share),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """The rule of these arrays.

        Raises:
            KeyError: if one is missing.
        """
        return cls(arrays["direction"], float(arrays["threshold"]), bool(arrays["above"]), float(arrays["share"]))


def fit_foreground(representation: Representation, features: FeatureRows, chunk_mb: int) -> tuple[Foreground, Bool]:
    """Find the plane between object and background.

    The first principal component of all training patches, cut at Otsu's threshold; the object is on the side whose
    patches lie in the central half of the image (half of its height and of its width) more often.

    Args:
        representation: the fitted one.
        features: the normal training images.
        chunk_mb: memory for the images embedded at a time, in MB.

    Returns:
        `(foreground, object)`: the plane, and [n, P] which patches of each image lie on the object's side.

    Raises:
        UserError: if all patches are equal, if all of them would be object or background, or if the grid of patches
            is too coarse to have a centre.
    """
    central = _central_half(*representation.grid)
    if central.all():
        raise UserError(
            f"foreground: a grid of {' x '.join(map(str, representation.grid))} patches has no centre to look for the "
            "object in: choose a finer layer or a larger image_size, or remove foreground"
        )

    def images() -> Iterator[Float32]:
        for chunk in representation.embed(features, chunk_mb=chunk_mb):
            yield from chunk

    _, components, _ = principal_components(images(), dimension=1, explained_variance=None, key="foreground")
    direction = np.ascontiguousarray(components[:, 0])
    projected = np.concatenate(
        [chunk @ direction for chunk in representation.embed(features, chunk_mb=chunk_mb)]
    )  # [n, P]
    threshold = otsu_threshold(projected.ravel())
    above = projected > np.float32(threshold)
    share = float(above.mean())
    if share in (0, 1):
        raise UserError(
            "foreground: the first principal component does not divide the training patches, so all of them would be "
            "object or all background: remove foreground"
        )
    is_object_above = bool(above[:, central].mean() >= above[:, ~central].mean())
    share = share if is_object_above else 1 - share
    log.info("foreground: %.1f %% of the training patches", 100 * share)
    return Foreground(direction, threshold, is_object_above, share), above == is_object_above


def otsu_threshold(values: Float32) -> float:
    """The threshold that divides values into two groups of largest variance between them (Otsu 1979).

    Exact, over all cuts between two values that differ; the first of equally good ones.

    Args:
        values: [n] float32.

    Returns:
        A single-precision number that some values do not exceed and others do: the middle between two neighbouring
        ones. Where all are equal, that value.
    """
    ordered = np.sort(values)
    sums = np.cumsum(ordered, dtype=np.float64)
    below = np.arange(1, len(ordered))
    share = below / len(ordered)
    between = (sums[-1] * share - sums[:-1]) ** 2 / (share * (1 - share))
    between[ordered[1:] == ordered[:-1]] = -1
    if not len(between) or between.max() < 0:
        return float(ordered[0])
    cut = int(between.argmax())
    low, high = ordered[cut], ordered[cut + 1]
    middle = low + (high - low) / 2
    return float(middle if middle < high else low)


def _central_half(rows: int, columns: int) -> Bool:
    """[rows * columns] whether a patch lies in the middle half of the height and of the width."""
    central = np.zeros((rows, columns), np.bool_)
    central[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4] = True
    return central.ravel()
