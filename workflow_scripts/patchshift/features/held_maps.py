"""Layer maps that are held in memory, read as a feature store is.

Tested in tests/app/test_detector.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from patchshift.errors import UserError
from patchshift.features.store import FeatureRows, FeatureStore
from patchshift.features.stored_maps import Float16, Float32


@dataclass(frozen=True)
class HeldMaps:
    """What `FeatureRows` asks of a store, for a few images.

    Attributes:
        images: the name of each image, in row order.
        input_size: (height, width) of the network input in pixels.
        maps: layer -> [n, rows, columns, channels] float16, layers in the backbone's order.
        made: device and precision, where they are to be compared with the bank's.
        path: what messages call it.
    """

    images: Sequence[str]
    input_size: tuple[int, int]
    maps: Mapping[str, Float16]
    made: Mapping[str, str]
    path: Path = Path("the features of these images")

    @property
    def layer_shapes(self) -> dict[str, tuple[int, int, int]]:
        """Layer name -> (rows, columns, channels)."""
        return {layer: maps.shape[1:] for layer, maps in self.maps.items()}

    def read(self, layer: str, rows: npt.NDArray[np.int64]) -> Float32:
        """Maps of the given image rows, in that order: [n, rows, columns, channels] float32."""
        return self.maps[layer][rows].astype(np.float32)


def hold_maps(images: Sequence[str], input_size: tuple[int, int], maps: Mapping[str, Float16]) -> FeatureRows:
    """Features of images as a store would give them: in float16, and finite.

    Args:
        images: the name of each of the n images.
        input_size: (height, width) of the network input in pixels.
        maps: layer -> [n, rows, columns, channels] float16.

    Raises:
        UserError: naming the images with a value that is not finite.
    """
    finite = np.ones(len(images), bool)
    for values in maps.values():
        finite &= np.isfinite(values.reshape(len(images), -1)).all(axis=1)
    odd = [image for image, good in zip(images, finite, strict=True) if not good]
    if odd:
        raise UserError(f"features are not finite (NaN, or beyond float16) for {', '.join(odd)}: check these images")
    held = HeldMaps(list(images), input_size, maps, made={})
    return FeatureRows([(cast(FeatureStore, held), np.arange(len(images)))])
