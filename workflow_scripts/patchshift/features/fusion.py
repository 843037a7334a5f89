"""How much each layer weighs in fused embeddings. docs/protocol.md has the formulas.

Tested in tests/features/test_fusion.py.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from patchshift.errors import UserError
from patchshift.plan.representation_specs import RepresentationSpec

Float64 = npt.NDArray[np.float64]


def fused_width(spec: RepresentationSpec, widths: Mapping[str, int]) -> int | None:
    """The common width of `weighted` layers, to which each is averaged down; None for other fusions.

    Args:
        spec: the representation.
        widths: layer -> numbers per position after the neighbourhood.

    Raises:
        UserError: if a layer has fewer.
    """
    if spec.fusion != "weighted":
        return None
    narrowest = min(widths, key=lambda layer: widths[layer])
    if spec.width is not None and spec.width > widths[narrowest]:
        raise UserError(
            f"representation.width: layer '{narrowest}' has {widths[narrowest]} numbers per position, so layers "
            f"cannot be averaged down to {spec.width}: lower it"
        )
    return spec.width or widths[narrowest]


def variability(mean: Float64, variance: Float64, rounding: Float64) -> float:
    """tr Cov(x) / E|x|^2 of a layer's vectors x, in [0, 1]; 0 where they are constant.

    Args:
        mean: [C] per channel.
        variance: [C] per channel.
        rounding: [C] the largest deviation that is but rounding.
    """
    total, square = float(variance.sum()), float((mean**2).sum())
    return total / (total + square) if total > float((rounding**2).sum()) else 0.0


def adaptive_weights(variabilities: Mapping[str, float], *, inverse: bool) -> dict[str, float]:
    """Layer -> weight, proportional to its variability, or to one over it; their sum is 1.

    A layer that does not vary weighs nothing, in either direction; where none varies, all weigh the same.
    """
    shares = {layer: (1 / share if inverse else share) if share > 0 else 0.0 for layer, share in variabilities.items()}
    total = sum(sorted(shares.values()))  # sorted: the order of the layers changes no bit
    if not total:
        return dict.fromkeys(shares, 1 / len(shares))
    return {layer: share / total for layer, share in shares.items()}


def given_weights(weights: Mapping[str, float], layers: list[str]) -> dict[str, float]:
    """Layer -> weight as the spec gives it, divided by their sum.

    Raises:
        UserError: if a layer has none, or one is for another layer.
    """
    lacking = [layer for layer in layers if layer not in weights]
    others = [layer for layer in weights if layer not in layers]
    if lacking or others:
        fault = f"layer '{lacking[0]}' has none" if lacking else f"'{others[0]}' is not among the layers"
        raise UserError(f"representation.weights: {fault} (layers in use: {', '.join(layers)})")
    total = sum(sorted(weights.values()))
    return {layer: weights[layer] / total for layer in layers}
