"""The steps by which the layer maps of one image become its patch embeddings, laid out for computing.

All that follows step 2 (docs/protocol.md numbers the steps) is linear, so what acts on channels is done on the layer's
own grid, before the interpolation to a finer one: the same numbers for a fraction of the products. So a reduction by a
matrix needs no embedding of full length. `features.planning` lays out the steps.
Tested in tests/features/test_representations.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.features.neighbourhoods import AREA, Sparse, pool_channels
from patchshift.features.parallel import map_in_threads, thread_count
from patchshift.features.store import LayerMaps

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
State = Mapping[str, npt.NDArray[Any]]

BYTES = 4  # of a float32


def scale(values: Float32, layer: str, state: State) -> Float32:
    """Steps 1 and 2, as far as they are fitted: the logarithm of a layer's values and their standardisation.

    Args:
        values: [..., channels].
        layer: whose values they are.
        state: fitted arrays, as `features.representations` names them.
    """
    if f"floor/{layer}" in state:
        values = np.maximum(values, 0)
        values += state[f"floor/{layer}"]
        np.log(values, out=values)
    if f"mean/{layer}" in state:
        values = values - state[f"mean/{layer}"]
        values /= state[f"deviation/{layer}"]
    return values


def count_within(chunk_mb: int, per_image: int, working: int) -> int:
    """How many images fit into `chunk_mb` MB, at least one.

    Args:
        chunk_mb: the memory.
        per_image: bytes that each of them needs.
        working: bytes that each thread needs for the one it works on.
    """
    return max(1, (chunk_mb * 1_000_000 - thread_count() * working) // per_image)


@dataclass(frozen=True)
class LayerSteps:
    """What is done to one layer after step 2.

    Attributes:
        pooling: [width, channels] average of channels, or [width, channels * 9] of the unfolded neighbourhood; or None.
        unfolded: whether `pooling` is of the neighbourhood.
        chosen: the channels that are kept; None: all.
        matrix: [width, n] product; None: none.
        down: [target rows, rows] interpolation, with the average of neighbours and the factor of the layer.
        across: [target columns, columns] interpolation, with the average of neighbours.
        place: which numbers of the embedding the layer makes or adds to.
    """

    pooling: Sparse | None
    unfolded: bool
    chosen: Int64 | None
    matrix: Float32 | None
    down: Float32
    across: Float32
    place: slice

    def mix_channels(self, values: Float32) -> Float32:
        """[rows, columns, channels] -> [rows, columns, n], on the layer's own grid."""
        rows, columns, _ = values.shape
        if self.pooling is not None:
            values = pool_channels(values, self.pooling, neighbours=self.unfolded).reshape(rows, columns, -1)
        if self.chosen is not None:
            values = values[..., self.chosen]
        if self.matrix is not None:
            values = (values.reshape(rows * columns, -1) @ self.matrix).reshape(rows, columns, -1)
        return values

    def interpolate(self, values: Float32, out: Float32 | None = None) -> Float32:
        """[rows, columns, n] -> [target rows, target columns, n]."""
        rows, columns, width = values.shape
        values = (self.down @ values.reshape(rows, -1)).reshape(-1, columns, width)
        return np.asarray(np.matmul(self.across, values, out=out))

    def working_bytes(self, channels: int) -> int:
        """Memory that one image of so many channels needs on its way."""
        (below, above), (right, left) = self.down.shape, self.across.shape
        mixed = self.place.stop - self.place.start
        pooled = 0 if self.pooling is None else int(self.pooling.shape[0])
        on_own_grid = channels * (2 + (AREA + 1) * self.unfolded) + 2 * pooled + 2 * mixed
        return BYTES * int(above * left * on_own_grid + below * (left + right) * mixed)


@dataclass(frozen=True)
class EmbeddingPlan:
    """How the maps of an image become its embeddings.

    Attributes:
        shapes: layer -> (rows, columns, channels).
        layers: layer -> its steps, in order; layers of which nothing is kept are left out.
        state: fitted arrays of steps 1 and 2.
        grid: (rows, columns) of the embeddings.
        dimension: length of an embedding.
        summed: whether layers add to the same numbers; otherwise each makes its own.
        whitening: [dimension, dimension] product at the end; None: none.
        offset: [dimension] to subtract; None: none.
    """

    shapes: Mapping[str, tuple[int, int, int]]
    layers: Mapping[str, LayerSteps]
    state: State
    grid: tuple[int, int]
    dimension: int
    summed: bool
    whitening: Float32 | None
    offset: Float32 | None

    def embed(self, maps: LayerMaps) -> Float32:
        """[n, rows, columns, channels] of each layer -> [n, rows, columns, dimension], images shared among threads."""
        count = len(next(iter(maps.values())))
        embeddings = np.empty((count, *self.grid, self.dimension), np.float32)

        def embed(image: int) -> None:
            self.embed_image({layer: maps[layer][image] for layer in self.layers}, out=embeddings[image])

        map_in_threads(embed, count)
        return embeddings

    def embed_image(self, maps: LayerMaps, out: Float32) -> None:
        """[rows, columns, channels] of each layer -> `out` [rows, columns, dimension]."""
        if self.summed:
            out[:] = 0
        for layer, steps in self.layers.items():
            values = steps.mix_channels(scale(maps[layer], layer, self.state))
            if self.summed:
                out[..., steps.place] += steps.interpolate(values)
            else:
                steps.interpolate(values, out=out[..., steps.place])
        if self.whitening is not None:  # as one matrix product, not one per row of patches
            out[:] = (out.reshape(-1, self.dimension) @ self.whitening).reshape(out.shape)
        if self.offset is not None:
            out -= self.offset

    def images_within(self, chunk_mb: int, *, held: int = 1) -> int:
        """How many images can be embedded at a time in some memory; at least one.

        Args:
            chunk_mb: the memory in MB.
            held: arrays of the size of the embeddings that are in use at a time.
        """
        numbers = self.grid[0] * self.grid[1] * self.dimension
        maps = sum(rows * columns * channels for rows, columns, channels in self.shapes.values())
        working = max(steps.working_bytes(self.shapes[layer][2]) for layer, steps in self.layers.items())
        if self.whitening is not None:
            working = max(working, BYTES * numbers)
        return count_within(chunk_mb, BYTES * (maps + held * numbers), working)
