"""Turn cached layer maps into patch embeddings.

The order of steps, for maps of shape [n, rows, columns, channels]:

1. logarithm (layers that ask for it): log(max(x, 0) + floor), floor = 0.1 of the channel's training mean;
2. standardise (`standardise`, `whiten`): training mean and deviation per channel, at the layer's own resolution;
3. 3 x 3 average with zero padding, stride 1, at the layer's own resolution (Roth et al. 2022, Eq. 2, with the mean);
4. bilinear upsampling (half-pixel centres, no aligned corners) to the grid of the finest chosen layer;
5. concatenation along channels;
6. whitening (`whiten`): (C + lambda I)^(-1/2), symmetric, with C the second moments of the training features after
   steps 1, 2, 4 and 5. It is linear, without offset, so it commutes with steps 3 and 4: this is the same as
   whitening before the average, and C is that of single patches.

With zero padding after step 2, a border patch sees average training features outside the image.
Tested in tests/features/test_representations.py.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from patchshift.errors import UserError
from patchshift.features.interpolation import interpolation_matrix
from patchshift.features.store import FeatureRows, LayerMaps
from patchshift.plan.loading import did_you_mean
from patchshift.plan.representation_specs import RepresentationSpec

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
LayerShapes = dict[str, tuple[int, int, int]]

FLOOR_SHARE = 0.1
CONSTANT = 1e-6  # a channel whose deviation is below this share of its magnitude is constant up to float16 rounding


@dataclass(frozen=True)
class Representation:
    """A fitted representation.

    Attributes:
        spec: what was fitted.
        layer_shapes: chosen layer -> (rows, columns, channels), in the order of concatenation.
        state: fitted arrays, float32. `floor/{layer}` [channels]: floor of the logarithm. `mean/{layer}`,
            `deviation/{layer}` [channels]: of the training features after the logarithm. `whitening` [D, D].
    """

    spec: RepresentationSpec
    layer_shapes: LayerShapes
    state: Mapping[str, Float32]

    @property
    def layers(self) -> list[str]:
        """The chosen layers, in the order of concatenation."""
        return list(self.layer_shapes)

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, columns) of the embeddings: those of the finest chosen layer."""
        rows, columns, _ = max(self.layer_shapes.values(), key=lambda shape: shape[0] * shape[1])
        return rows, columns

    @property
    def dimension(self) -> int:
        """D, the length of one patch embedding."""
        return sum(channels for _, _, channels in self.layer_shapes.values())

    def transform(self, maps: LayerMaps) -> Float32:
        """Patch embeddings of a few images.

        Args:
            maps: layer -> [n, rows, columns, channels] float32, at least the chosen layers.

        Returns:
            [n, rows, columns, D] float32 on the grid of the finest chosen layer.
        """
        embeddings = self._merge(maps, average=self.spec.neighbourhood == "average")
        if "whitening" in self.state:  # as one matrix product, not one per image row
            embeddings = (embeddings.reshape(-1, self.dimension) @ self.state["whitening"]).reshape(embeddings.shape)
        return embeddings

    def _merge(self, maps: LayerMaps, *, average: bool) -> Float32:
        """Steps 1 to 5."""
        rows, columns = self.grid
        count = len(maps[self.layers[0]])
        merged = np.empty((count, rows, columns, self.dimension), np.float32)
        first = 0
        for layer, (layer_rows, layer_columns, channels) in self.layer_shapes.items():
            values = self._scale(layer, maps[layer])
            down = _resample(layer_rows, rows, average=average)
            across = _resample(layer_columns, columns, average=average)
            with threadpool_limits(1, "blas"):  # many small products: waking threads for each costs more than it gains
                values = (down @ values.reshape(count, layer_rows, -1)).reshape(count, rows, layer_columns, channels)
                np.matmul(across, values, out=merged[..., first : first + channels])
            first += channels
        return merged

    def _scale(self, layer: str, values: Float32) -> Float32:
        """Steps 1 and 2."""
        if f"floor/{layer}" in self.state:
            values = np.maximum(values, 0)
            values += self.state[f"floor/{layer}"]
            np.log(values, out=values)
        if f"mean/{layer}" in self.state:
            values = values - self.state[f"mean/{layer}"]
            values /= self.state[f"deviation/{layer}"]
        return values


def fit_representation(spec: RepresentationSpec, features: FeatureRows) -> Representation:
    """Fit the state that a representation needs; sums run in float64 over chunks of images.

    Args:
        spec: which layers, and what is done to them.
        features: the training images.

    Raises:
        UserError: if there is no training image, or if a layer that the spec names is not cached or not chosen.
    """
    if not len(features):
        raise UserError("no training images to fit on: check the split, and the pool if there is one")
    layers = list(features.layer_shapes) if spec.layers is None else spec.layers
    _check_known("representation.layers", layers, list(features.layer_shapes))
    _check_known("representation.logarithm", spec.logarithm, layers)
    shapes = {layer: features.layer_shapes[layer] for layer in layers}

    state: dict[str, Float32] = {}
    fitted = Representation(spec, shapes, state)  # each step is fitted on the outcome of the steps before it
    for layer in spec.logarithm:
        mean, _ = _moments(maps[layer] for maps in features.chunks([layer]))
        state[f"floor/{layer}"] = np.where(mean > 0, FLOOR_SHARE * mean, 1).astype(np.float32)
    if spec.normalise != "none":
        for layer in layers:
            mean, variance = _moments(fitted._scale(layer, maps[layer]) for maps in features.chunks([layer]))
            deviation = np.sqrt(variance)
            constant = deviation <= CONSTANT * np.abs(mean)
            state[f"mean/{layer}"] = mean.astype(np.float32)
            state[f"deviation/{layer}"] = np.where(constant, 1, deviation).astype(np.float32)
    if spec.shrinkage is not None:  # exactly where `normalise` is `whiten`
        merged = (fitted._merge(maps, average=False) for maps in features.chunks(layers))
        state["whitening"] = _whitening(merged, spec.shrinkage)
    return fitted


def _moments(chunks: Iterator[Float32]) -> tuple[Float64, Float64]:
    """Mean and variance per channel (the last axis)."""
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for chunk in chunks:
        values = chunk.reshape(-1, chunk.shape[-1]).astype(np.float64)
        count += len(values)
        total = total + values.sum(axis=0)
        squares = squares + np.einsum("nc,nc->c", values, values)
    mean = np.asarray(total / count)
    return mean, np.asarray(np.maximum(squares / count - mean**2, 0))


def _whitening(chunks: Iterator[Float32], shrinkage: float) -> Float32:
    """(C + shrinkage I)^(-1/2) with C the second moments of the last axis; the symmetric root."""
    count, products = 0, np.zeros((1, 1))
    for chunk in chunks:
        values = chunk.reshape(-1, chunk.shape[-1]).astype(np.float64)
        count += len(values)
        products = products + values.T @ values
    eigenvalues, vectors = np.linalg.eigh(np.asarray(products / count))
    return np.asarray((vectors / np.sqrt(np.maximum(eigenvalues, 0) + shrinkage)) @ vectors.T, np.float32)


def _resample(source: int, target: int, *, average: bool) -> Float32:
    """[target, source] matrix of one axis: the mean of three neighbours (if asked for), then linear interpolation."""
    matrix = interpolation_matrix(source, target)
    if average:
        matrix = matrix @ ((np.eye(source) + np.eye(source, k=1) + np.eye(source, k=-1)) / 3)
    return matrix.astype(np.float32)


def _check_known(key: str, names: list[str], known: list[str]) -> None:
    for name in names:
        if name not in known:
            raise UserError(f"{key}: '{name}' is not among the layers{did_you_mean(name, known)}")
