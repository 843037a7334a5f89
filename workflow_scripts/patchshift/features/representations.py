"""Turn cached layer maps into patch embeddings.

docs/protocol.md, "Representations", states every step and formula. In their order, for maps of shape
[n, rows, columns, channels]:

1. logarithm (layers that ask for it);
2. standardisation per layer and channel;
3. the 3 x 3 neighbourhood, zero-padded;
4. bilinear upsampling to the grid of the finest chosen layer;
5. fusion of the layers;
6. whitening;
7. reduction.

Every step is fitted on the training features after the steps before it, with two exceptions: whitening is fitted
without step 3, and the weights of adaptive fusion are those of the layers before step 2.
Tested in tests/features/test_representations.py.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from patchshift.errors import UserError
from patchshift.features import fusion
from patchshift.features.embedding import BYTES, EmbeddingPlan, count_within, scale
from patchshift.features.moments import channel_moments, float16_rounding, second_moments, sum_image
from patchshift.features.parallel import map_rows
from patchshift.features.planning import finest_grid, fused_dimension, plan_embedding
from patchshift.features.reduction import check_reduction, fit_reduction
from patchshift.features.store import FeatureRows, LayerMaps
from patchshift.plan.loading import did_you_mean
from patchshift.plan.representation_specs import RepresentationSpec

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
LayerShapes = dict[str, tuple[int, int, int]]
State = dict[str, npt.NDArray[Any]]
Result = TypeVar("Result")

FLOOR_SHARE = 0.1
CHUNK_MB = 256  # for the images read and embedded at a time, where no config says
MOMENT_BYTES = 2 * 4 + 8  # of a number of a map while sums are taken: twice in float32, once in float64


@dataclass(frozen=True)
class Representation:
    """A fitted representation.

    Attributes:
        spec: what was fitted.
        layer_shapes: chosen layer -> (rows, columns, channels), in the order of concatenation.
        state: fitted arrays, float32 but for indices. `floor/{layer}` [channels]: floor of the logarithm.
            `mean/{layer}`, `deviation/{layer}` [channels]: of the training features after the logarithm.
            `weight/{layer}`, `norm/{layer}` [1]: of `weighted` and `adaptive` fusion. `whitening` [D, D].
            `reduction/...`: see `features.reduction`.
    """

    spec: RepresentationSpec
    layer_shapes: LayerShapes
    state: Mapping[str, npt.NDArray[Any]]

    @property
    def layers(self) -> list[str]:
        """The chosen layers, in the order of concatenation."""
        return list(self.layer_shapes)

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of the embeddings: those of the finest chosen layer."""
        return finest_grid(self.layer_shapes)

    @property
    def dimension(self) -> int:
        """Length of one patch embedding, after all steps."""
        return self._plan.dimension

    def transform(self, maps: LayerMaps) -> Float32:
        """Patch embeddings of a few images.

        Args:
            maps: layer -> [n, rows, columns, channels] float32, at least the chosen layers.

        Returns:
            [n, rows, columns, dimension] float32 on the grid of the finest chosen layer. An image's embeddings do not
            depend on the images beside it, nor on the number of threads.
        """
        return self._plan.embed(maps)

    def images_within(self, chunk_mb: int, *, held: int = 1) -> int:
        """How many images can be embedded at a time in `chunk_mb` MB; at least one.

        Args:
            chunk_mb: memory for layer maps, what is computed from them on the way, and embeddings.
            held: arrays of the size of the embeddings that the caller has in use at a time, with the embeddings.
        """
        return self._plan.images_within(chunk_mb, held=held)

    def embed(self, features: FeatureRows, *, chunk_mb: int, held: int = 1) -> Iterator[Float32]:
        """Patch embeddings of some images, as many at a time as memory allows.

        Args:
            features: the images.
            chunk_mb: see `images_within`.
            held: see `images_within`.

        Yields:
            [n, P, dimension] float32, P positions row by row, images in order.
        """
        for maps in features.chunks(self.layers, self.images_within(chunk_mb, held=held)):
            embeddings = self.transform(maps)
            yield embeddings.reshape(len(embeddings), -1, self.dimension)
            del maps, embeddings  # before the next are read: memory holds one chunk

    @cached_property
    def _plan(self) -> EmbeddingPlan:
        return plan_embedding(self.spec, self.layer_shapes, self.state)


def fit_representation(
    spec: RepresentationSpec, features: FeatureRows, *, seed: int = 0, chunk_mb: int = CHUNK_MB
) -> Representation:
    """Fit the state that a representation needs; sums run in float64, image by image.

    Args:
        spec: which layers, and what is done to them.
        features: the training images.
        seed: the detector seed, of random reductions.
        chunk_mb: memory for the images that are read and embedded at a time, in MB; it changes no result.

    Raises:
        UserError: if there is no training image, if a layer that the spec names is not cached or not chosen, if layers
            do not fit the fusion, or if embeddings cannot be reduced as asked for.
    """
    if not len(features):
        raise UserError("no training images to fit on: check the split, and the pool if there is one")
    layers = list(features.layer_shapes) if spec.layers is None else spec.layers
    _check_known("representation.layers", layers, list(features.layer_shapes))
    _check_known("representation.logarithm", spec.logarithm, layers)
    if spec.fusion == "single" and len(layers) != 1:
        raise UserError(f"fusion 'single' takes one layer, not {', '.join(layers)}: choose it by representation.layers")
    weights = fusion.given_weights(spec.weights, layers) if spec.weights is not None else None
    fit = _Fit(spec, {layer: features.layer_shapes[layer] for layer in layers}, features, chunk_mb)
    dimension = fused_dimension(spec, fit.shapes)
    if spec.reduction is not None:
        check_reduction(spec.reduction, dimension)

    state: State = {}
    rounding: dict[str, Float64] = {}
    for layer in spec.logarithm:
        mean, _ = fit.channel_moments(layer, state)
        floor = np.where(mean > 0, FLOOR_SHARE * mean, 1)
        state[f"floor/{layer}"] = floor.astype(np.float32)
        rounding[layer] = float16_rounding(mean) / (np.maximum(mean, 0) + floor)  # times the logarithm's slope
    if spec.normalise != "none" or spec.fusion == "adaptive":
        moments = {layer: fit.channel_moments(layer, state) for layer in layers}
        rounding = {layer: float16_rounding(mean) for layer, (mean, _) in moments.items()} | rounding
        if spec.fusion == "adaptive":  # before standardisation, which would make layers equally variable
            shares = {layer: fusion.variability(*moments[layer], rounding[layer]) for layer in layers}
            weights = fusion.adaptive_weights(shares, inverse=spec.inverse)
        if spec.normalise != "none":
            for layer, (mean, variance) in moments.items():
                state |= _standardisation(layer, mean, variance, rounding[layer])
    if weights is not None:
        for layer, norm in fit.block_norms(state).items():
            state[f"weight/{layer}"] = np.array([weights[layer]], np.float32)
            state[f"norm/{layer}"] = np.array([norm], np.float32)
    if spec.shrinkage is not None:  # exactly where `normalise` is `whiten`
        state["whitening"] = _whitening(fit.embeddings(state, average=False), spec.shrinkage)
    if spec.reduction is not None:
        state |= fit_reduction(spec.reduction, dimension, fit.embeddings(state), seed=seed)
    return Representation(spec, fit.shapes, state)


@dataclass(frozen=True)
class _Fit:
    """Passes over the training features, after the steps fitted so far (`state`)."""

    spec: RepresentationSpec
    shapes: LayerShapes
    features: FeatureRows
    chunk_mb: int

    def channel_moments(self, layer: str, state: State) -> tuple[Float64, Float64]:
        """Mean and variance per channel of a layer."""
        rows, columns, channels = self.shapes[layer]
        numbers = rows * columns * channels
        size = count_within(self.chunk_mb, BYTES * numbers, MOMENT_BYTES * numbers)
        return channel_moments(
            map_rows(self.features, [layer], size, lambda maps: sum_image(scale(maps[layer], layer, state)))
        )

    def block_norms(self, state: State) -> dict[str, float]:
        """Root of the mean squared length of each layer's vectors after steps 1 to 4; 1 where all are zero."""
        plan = plan_embedding(self.spec, self.shapes, state, until="blocks")
        places = [steps.place for steps in plan.layers.values()]

        def squares(vectors: Float32) -> Float64:
            blocks = (vectors[:, place].astype(np.float64) for place in places)
            return np.array([np.einsum("nd,nd->", block, block) for block in blocks])

        total = sum(self._embed(plan, squares), np.zeros(len(places)))
        count = len(self.features) * plan.grid[0] * plan.grid[1]
        roots = np.sqrt(np.asarray(total) / count)
        return dict(zip(plan.layers, np.where(roots > 0, roots, 1).tolist(), strict=True))

    def embeddings(self, state: State, *, average: bool = True) -> Iterator[Float32]:
        """[n, D] of each image, before the reduction."""
        plan = plan_embedding(self.spec, self.shapes, state, until="fusion", average=average)
        return self._embed(plan, lambda vectors: vectors)

    def _embed(self, plan: EmbeddingPlan, function: Callable[[Float32], Result]) -> Iterator[Result]:
        def embed(maps: LayerMaps) -> Result:
            vectors = np.empty((*plan.grid, plan.dimension), np.float32)
            plan.embed_image(maps, out=vectors)
            return function(vectors.reshape(-1, plan.dimension))

        return map_rows(self.features, list(plan.layers), plan.images_within(self.chunk_mb), embed)


def _standardisation(layer: str, mean: Float64, variance: Float64, rounding: Float64) -> State:
    deviation = np.sqrt(variance)
    # what is but rounding stays 2**-11 of a deviation at most
    deviation = np.where(deviation <= rounding, np.maximum(1, 2.0**11 * rounding), deviation)
    return {f"mean/{layer}": mean.astype(np.float32), f"deviation/{layer}": deviation.astype(np.float32)}


def _whitening(images: Iterator[Float32], shrinkage: float) -> Float32:
    """(C + shrinkage I)^(-1/2) with C the second moments of the embeddings; the symmetric root."""
    eigenvalues, vectors = np.linalg.eigh(second_moments(images))
    return np.asarray((vectors / np.sqrt(np.maximum(eigenvalues, 0) + shrinkage)) @ vectors.T, np.float32)


def _check_known(key: str, names: list[str], known: list[str]) -> None:
    for name in names:
        if name not in known:
            raise UserError(f"{key}: '{name}' is not among the layers{did_you_mean(name, known)}")
