"""Lay out the steps of a representation for computing (`features.embedding`).

Tested in tests/features/test_representations.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from patchshift.features.embedding import EmbeddingPlan, LayerSteps, State
from patchshift.features.fusion import fused_width
from patchshift.features.neighbourhoods import AREA, Sparse, channel_pooling, resampling
from patchshift.plan.representation_specs import RepresentationSpec

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Shapes = Mapping[str, tuple[int, int, int]]


def finest_grid(shapes: Shapes) -> tuple[int, int]:
    """(rows, columns) of the finest layer."""
    rows, columns, _ = max(shapes.values(), key=lambda shape: shape[0] * shape[1])
    return rows, columns


def block_widths(spec: RepresentationSpec, shapes: Shapes) -> dict[str, int]:
    """Layer -> numbers per position that it gives to the fusion.

    Raises:
        UserError: if `weighted` layers cannot be averaged down to the width that is asked for.
    """
    widths = {
        layer: spec.pooled_width if spec.neighbourhood == "adaptive" else channels
        for layer, (_, _, channels) in shapes.items()
    }
    common = fused_width(spec, widths)
    return widths if common is None else dict.fromkeys(widths, common)


def fused_dimension(spec: RepresentationSpec, shapes: Shapes) -> int:
    """Length of an embedding before it is reduced."""
    widths = list(block_widths(spec, shapes).values())
    return widths[0] if spec.fusion == "weighted" else sum(widths)


def plan_embedding(
    spec: RepresentationSpec,
    shapes: Shapes,
    state: State,
    *,
    until: Literal["blocks", "fusion", "end"] = "end",
    average: bool = True,
) -> EmbeddingPlan:
    """The steps of a representation, or of its fitting.

    Args:
        spec: the representation.
        shapes: layer -> (rows, columns, channels), in order.
        state: fitted arrays of the steps that are taken, as `features.representations` names them.
        until: `blocks`: steps 1 to 4, the layers side by side as they are. `fusion`: steps 1 to 5, and whitening where
            it is fitted. `end`: all.
        average: whether the neighbourhood `average` is taken.
    """
    grid, widths = finest_grid(shapes), block_widths(spec, shapes)
    added = spec.fusion == "weighted" and until != "blocks"  # to each other
    dimension = next(iter(widths.values())) if added else sum(widths.values())
    last = _LastStep(dimension)
    if until != "blocks":
        last = _LastStep.read(spec, dimension, state, reduced=until == "end")
    layers, first = {}, 0
    for layer, (rows, columns, channels) in shapes.items():
        block = slice(0, dimension) if added else slice(first, first + widths[layer])
        first = block.stop
        chosen, place = last.share(block)
        if place.start == place.stop:
            continue
        factor = np.float32(1)
        if until != "blocks" and f"weight/{layer}" in state:
            factor = np.float32(state[f"weight/{layer}"][0] / state[f"norm/{layer}"][0])
        averaged = average and spec.neighbourhood == "average"
        pooling = _pooling(spec, channels, widths[layer])
        if last.pooling is not None:
            own = last.pooling[place][:, block]
            pooling = own if pooling is None else (own @ pooling).tocsr()
        if chosen is not None and pooling is not None:  # averages that are not kept need not be taken
            pooling, chosen = pooling[chosen], None
        layers[layer] = LayerSteps(
            pooling=pooling,
            unfolded=spec.neighbourhood == "adaptive",
            chosen=chosen,
            matrix=None if last.matrix is None else last.matrix[block],
            down=factor * resampling(rows, grid[0], average=averaged),
            across=resampling(columns, grid[1], average=averaged),
            place=place,
        )
    mixed = added or last.matrix is not None or last.pooling is not None
    return EmbeddingPlan(
        shapes=shapes,
        layers=layers,
        state=state,
        grid=grid,
        dimension=last.dimension,
        summed=mixed and len(layers) > 1,
        whitening=last.whitening,
        offset=last.offset,
    )


def _pooling(spec: RepresentationSpec, channels: int, width: int) -> Sparse | None:
    """[width, channels] or [width, channels * 9]: the `adaptive` neighbourhood, and the pooling of `weighted`."""
    pooling, source = None, channels
    if spec.neighbourhood == "adaptive":
        pooling, source = channel_pooling(channels * AREA, spec.pooled_width), spec.pooled_width
    if source != width:
        narrowing = channel_pooling(source, width)
        pooling = narrowing if pooling is None else (narrowing @ pooling).tocsr()
    return pooling


@dataclass(frozen=True)
class _LastStep:
    """Whitening and reduction, at most one field of the first four beside the dimension.

    Attributes:
        dimension: length of the embeddings in the end.
        pooling: [dimension, D] average of neighbouring numbers.
        chosen: [dimension] numbers that are kept.
        matrix: [D, dimension] product: of a reduction, joined with the whitening.
        whitening: [D, D] product, where nothing is reduced.
        offset: [dimension] to subtract.
    """

    dimension: int
    pooling: Sparse | None = None
    chosen: Int64 | None = None
    matrix: Float32 | None = None
    whitening: Float32 | None = None
    offset: Float32 | None = None

    @classmethod
    def read(cls, spec: RepresentationSpec, dimension: int, state: State, *, reduced: bool) -> Self:
        whitening, reduction = state.get("whitening"), spec.reduction if reduced else None
        if reduction is None:
            return cls(dimension, whitening=whitening)
        matrix, chosen = state.get("reduction/matrix"), state.get("reduction/channels")
        length = reduction.dimension or len(state["reduction/explained"])
        offset = _product(state["reduction/mean"], state["reduction/matrix"]) if reduction.method == "pca" else None
        pooling = channel_pooling(dimension, length) if reduction.method == "channel_pooling" else None
        if whitening is None:
            return cls(length, pooling, chosen, matrix, offset=offset)
        if chosen is not None:
            whitening = whitening[:, chosen]
        elif pooling is not None:
            whitening = np.asarray((pooling @ whitening.T).T)
        elif matrix is not None:
            whitening = _product(whitening, matrix)
        return cls(length, matrix=whitening, offset=offset)  # one product instead of two

    def share(self, block: slice) -> tuple[Int64 | None, slice]:
        """Which numbers of a block are chosen (None: all), and where in the embedding they, or their sums, go."""
        if self.chosen is not None:
            first, last = np.searchsorted(self.chosen, [block.start, block.stop])
            return self.chosen[first:last] - block.start, slice(int(first), int(last))
        if self.pooling is not None:
            (rows,) = np.diff(self.pooling[:, block].indptr).nonzero()
            return None, slice(int(rows[0]), int(rows[-1]) + 1)
        if self.matrix is not None:
            return None, slice(0, self.dimension)
        return None, block


def _product(left: Float32, right: Float32) -> Float32:
    """Of fitted arrays, summed in float64."""
    return np.asarray(left.astype(np.float64) @ right.astype(np.float64), np.float32)
