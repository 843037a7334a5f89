"""How far the mean vector moves, of single layers and of layers as detectors join them.

A fusion is linear in the layers' vectors once its weights are fitted, so the mean of the fused vectors is the fusion of
the layers' means: no position is looked at again. Tested in tests/evaluation/test_fusion_drifts.py; stated exactly in
docs/protocol.md.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from patchshift.evaluation.distance_intervals import DISTANCES, estimate_distance
from patchshift.features.representations import Representation, fit_representation
from patchshift.features.store import FeatureRows
from patchshift.plan.fusions import FusionSpec, plain_fusions
from patchshift.plan.inspections import DistanceSpec
from patchshift.plan.representation_specs import RepresentationSpec

Float64 = npt.NDArray[np.float64]


def measure_drifts(
    x: Float64, y: Float64, factors: Float64, training: FeatureRows, spec: DistanceSpec
) -> list[dict[str, Any]]:
    """The drift of each layer by itself, of all of them concatenated, and of the fusions that the spec names.

    Args:
        x: [n, D] mean vectors of the training images, all layers side by side, each of the same norm.
        y: [m, D] those of the target's images.
        factors: [D] what they were multiplied by for that.
        training: the training images, which weights and norms of fusions are fitted on.
        spec: resamples, confidence, seed and fusions.

    Returns:
        The fields of each fusion that are not as they are by default, with its drift as `estimate_distance` has it.
    """
    options: Mapping[str, Any] = {"resamples": spec.resamples, "confidence": spec.confidence, "seed": spec.seed}
    drifts = []
    for fusion in [*plain_fusions(list(training.layer_shapes)), *spec.fusions]:
        fitted = fit_fusion(fusion, training) if fusion.is_fitted else None
        fused = [fuse_means(means, factors, fusion, training, fitted) for means in (x, y)]
        drift = estimate_distance(DISTANCES["feature_drift"], *fused, **options)
        drifts.append({**fusion.model_dump(mode="json", exclude_defaults=True), **drift})
    return drifts


def fit_fusion(fusion: FusionSpec, training: FeatureRows) -> Representation:
    """Weights and norms of the layers, of their vectors as they are cached.

    The width is that of the narrowest layer at most: an `adaptive` neighbourhood, which is left out here, makes layers
    wider than they are.
    """
    width = fusion.width and min(fusion.width, *(training.layer_shapes[layer][2] for layer in fusion.layers))
    joined = fusion.model_dump() | {"width": width}
    return fit_representation(RepresentationSpec(neighbourhood="none", **joined), training)


def fuse_means(
    means: Float64, factors: Float64, fusion: FusionSpec, training: FeatureRows, fitted: Representation | None
) -> Float64:
    """[n, D'] means of the fused vectors.

    Args:
        means: [n, D] of all layers side by side, multiplied by `factors`.
        factors: [D].
        fusion: how layers are joined; those that are not fitted take layers of the same norm side by side.
        training: whose layers they are.
        fitted: the fusion's weights and norms, which are for layers as they are.
    """
    channels = {layer: shape[2] for layer, shape in training.layer_shapes.items()}
    ends = dict(zip(channels, np.cumsum(list(channels.values())).tolist(), strict=True))
    places = {layer: slice(ends[layer] - channels[layer], ends[layer]) for layer in fusion.layers}
    if fitted is None:
        return np.concatenate([means[:, place] for place in places.values()], axis=1)
    raw = (means / factors).astype(np.float32)[:, None, None]
    one = replace(fitted, layer_shapes={layer: (1, 1, channels[layer]) for layer in fusion.layers})
    return one.transform({layer: raw[..., place] for layer, place in places.items()})[:, 0, 0].astype(np.float64)
