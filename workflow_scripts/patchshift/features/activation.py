"""Activation energy: how strongly a layer responds at each position, compared with normal training images.

Tested in tests/features/test_activation.py.
"""

import numpy as np
import numpy.typing as npt

from patchshift.features.embedding import BYTES, count_within
from patchshift.features.representations import CHUNK_MB
from patchshift.features.store import FeatureRows

Float32 = npt.NDArray[np.float32]


def measure_energy(maps: Float32) -> Float32:
    """The L2 norm over channels at each position: [n, rows, columns] of maps [n, rows, columns, channels]."""
    return np.asarray(np.sqrt(np.einsum("nrcd,nrcd->nrc", maps, maps)))


def mean_energies(training: FeatureRows) -> dict[str, float]:
    """Layer -> mean energy over all positions of the training images; 1 for a layer that never responds."""
    layers = list(training.layer_shapes)
    totals = dict.fromkeys(layers, 0.0)
    for maps in training.chunks(layers, _images_within(training, layers)):
        for layer in layers:
            for energy in measure_energy(maps[layer]):  # by itself: sums do not depend on how many are read at a time
                totals[layer] += float(energy.sum(dtype=np.float64))
    shapes = training.layer_shapes
    means = {layer: total / (len(training) * shapes[layer][0] * shapes[layer][1]) for layer, total in totals.items()}
    return {layer: mean or 1.0 for layer, mean in means.items()}


def relative_energies(features: FeatureRows, means: dict[str, float]) -> dict[str, Float32]:
    """Layer -> energy of some images as a multiple of its mean over the training images: [n, rows, columns]."""
    layers = list(means)
    energies = {layer: np.empty((len(features), *features.layer_shapes[layer][:2]), np.float32) for layer in layers}
    first = 0
    for maps in features.chunks(layers, _images_within(features, layers)):
        count = len(maps[layers[0]])
        for layer in layers:
            energies[layer][first : first + count] = measure_energy(maps[layer]) / np.float32(means[layer])
        first += count
    return energies


def _images_within(features: FeatureRows, layers: list[str]) -> int:
    """How many images' maps are read at a time."""
    shapes = [features.layer_shapes[layer] for layer in layers]
    per_image = BYTES * sum(rows * columns * (channels + 1) for rows, columns, channels in shapes)
    return count_within(CHUNK_MB, per_image, working=0)
