"""The config model of representations: how cached layer maps become patch embeddings.

Field descriptions are the text of docs/config.md; docs/protocol.md states each step exactly.
Tested in tests/plan/test_representation_specs.py.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from patchshift.plan.base import Distinct, Layers, Share, Spec
from patchshift.plan.loading import did_you_mean

Weight = Annotated[float, Field(gt=0)]
Size = Annotated[int, Field(ge=1)]
FusionName = Literal["single", "concat", "weighted", "adaptive"]


class ReductionSpec(Spec):
    """How patch embeddings are made shorter; fitted on the training patches and kept in the bank."""

    method: Literal["pca", "random_projection", "channel_subset", "channel_pooling"] = Field(
        description="`pca`: onto the leading principal components. `random_projection`: a random matrix that keeps "
        "squared lengths on average. `channel_subset`: a random choice of channels (PaDiM). `channel_pooling`: "
        "averages of neighbouring channels (the published PatchCore code)."
    )
    dimension: Size | None = Field(None, description="Length of the shorter embeddings.")
    explained_variance: Share | None = Field(
        None, description="`pca`: instead of `dimension`, the share of the training variance to keep."
    )
    distribution: Literal["gaussian", "sparse"] = Field(
        "gaussian", description="`random_projection`: of the matrix; `sparse`: one entry in sqrt(D) is not zero."
    )

    @model_validator(mode="after")
    def _options_fit_the_method(self) -> "ReductionSpec":
        owner = f"reduction '{self.method}'"
        if self.method == "pca":
            if (self.dimension is None) == (self.explained_variance is None):
                raise ValueError("reduction 'pca': give either dimension or explained_variance")
        else:
            self._belongs(True, owner, "dimension")
            self._belongs(False, owner, "explained_variance")
        if self.method != "random_projection":
            self._unused(owner, "distribution")
        return self


class RepresentationSpec(Spec):
    """How cached layer maps become patch embeddings."""

    layers: Layers | None = Field(None, description="Layers to use, of those cached; default: all.")
    neighbourhood: Literal["none", "average", "adaptive"] = Field(
        "average",
        description="`average`: mean over the 3 x 3 patches around each position, borders zero-padded (anomalib). "
        "`adaptive`: those 3 x 3 patches of all channels, averaged down to `pooled_width` numbers (the published "
        "PatchCore code).",
    )
    pooled_width: Size = Field(1024, description="`adaptive` neighbourhood: numbers per position and layer.")
    fusion: FusionName = Field(
        "concat",
        description="`single`: one layer. `concat`: layers are upsampled bilinearly and concatenated. `weighted`: "
        "layers of equal norm, averaged down to one width and summed with `weights`. `adaptive`: concatenated, layers "
        "of equal norm weighted by their variance in the training features.",
    )
    weights: dict[str, Weight] | None = Field(None, description="`weighted`: layer to weight; their sum counts as 1.")
    width: Size | None = Field(None, description="`weighted`: common width; default: that of the narrowest layer.")
    inverse: bool = Field(False, description="`adaptive`: weights fall with the variance instead.")
    logarithm: Distinct = Field(
        [], description="Layers whose logarithm is taken, with a floor of 0.1 of each channel's training mean."
    )
    normalise: Literal["none", "standardise", "whiten"] = Field(
        "none",
        description="`standardise`: zero mean, unit deviation per channel; `whiten` adds (C + lambda I)^(-1/2).",
    )
    shrinkage: Annotated[float, Field(gt=0)] | None = Field(None, description="lambda of `whiten`, required by it.")
    reduction: ReductionSpec | None = Field(None, description="Make embeddings shorter; default: as they are.")

    @model_validator(mode="after")
    def _options_fit(self) -> "RepresentationSpec":
        self._belongs(self.normalise == "whiten", f"normalise '{self.normalise}'", "shrinkage")
        if self.neighbourhood != "adaptive":
            self._unused(f"neighbourhood '{self.neighbourhood}'", "pooled_width")
        owner = f"fusion '{self.fusion}'"
        self._belongs(self.fusion == "weighted", owner, "weights")
        if self.fusion != "weighted":
            self._belongs(False, owner, "width")
        if self.fusion != "adaptive":
            self._unused(owner, "inverse")
        if self.fusion == "adaptive" and self.normalise == "whiten":
            raise ValueError("fusion 'adaptive' cannot be whitened: whitening would undo its weights")
        if self.neighbourhood == "adaptive" and self.normalise == "whiten":
            raise ValueError("neighbourhood 'adaptive' averages channels: it cannot be whitened before that")
        if self.fusion == "single" and self.layers is not None and len(self.layers) != 1:
            raise ValueError(f"fusion 'single' takes one layer, not {len(self.layers)}")
        return self

    @model_validator(mode="after")
    def _named_layers_are_in_use(self) -> "RepresentationSpec":
        for key, named in (("logarithm", self.logarithm), ("weights", self.weights or {})):
            for layer in named:
                if self.layers is not None and layer not in self.layers:
                    raise ValueError(f"{key}: '{layer}' is not among layers{did_you_mean(layer, self.layers)}")
        for layer in self.layers or []:
            if self.weights is not None and layer not in self.weights:
                raise ValueError(f"weights: layer '{layer}' has none")
        return self
