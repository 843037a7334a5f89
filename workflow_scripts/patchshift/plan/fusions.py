"""The ways in which detectors join the layers of a backbone, as far as the drift of features depends on them.

Tested in tests/plan/test_fusions.py.
"""

from collections.abc import Sequence
from typing import Self

from patchshift.plan.base import Layers, Spec
from patchshift.plan.representation_specs import FusionName, RepresentationSpec, Size, Weight


class FusionSpec(Spec):
    """Which layers are joined, and how; see `RepresentationSpec`. One way of doing it has one spec."""

    layers: Layers
    fusion: FusionName
    weights: dict[str, Weight] | None = None
    width: Size | None = None
    inverse: bool = False

    @classmethod
    def of(cls, representation: RepresentationSpec, cached: Sequence[str]) -> Self:
        """The fusion of a representation.

        Args:
            representation: of a detector that is fitted.
            cached: all layers of the backbone, in their order; it does not matter in which one a detector names them.
        """
        used = representation.layers or cached
        layers = [layer for layer in cached if layer in used]
        if len(layers) == 1 and representation.width is None:  # whatever its weight
            return cls(layers=layers, fusion="single")
        joined = {name: getattr(representation, name) for name in ("fusion", "weights", "width", "inverse")}
        return cls(layers=layers, **joined)

    @property
    def is_fitted(self) -> bool:
        """Whether layers have weights and norms, which the training features give."""
        return self.fusion not in ("single", "concat")

    @property
    def words(self) -> str:
        """The fusion in words, with what tells it from others of its kind."""
        details = []
        if self.weights is not None:
            details.append(" + ".join(f"{self.weights[layer]:g} {layer}" for layer in self.layers))
        if self.width is not None:
            details.append(f"width {self.width}")
        if self.inverse:
            details.append("inverse")
        return f"{self.fusion} ({', '.join(details)})" if details else self.fusion


def plain_fusions(cached: Sequence[str]) -> list[FusionSpec]:
    """Each layer of a backbone by itself, and all of them concatenated."""
    every = RepresentationSpec(layers=list(cached), fusion="concat")
    alone = [FusionSpec(layers=[layer], fusion="single") for layer in cached]
    return alone if len(cached) == 1 else [*alone, FusionSpec.of(every, cached)]
