"""The config models of one id each: what a backbone, detector or threshold can say (datasets, splits: `data_specs`;
domains: `domain_specs`).

A stage's script gets exactly one of these as canonical JSON (`canonical`), so a key that a stage does not read
cannot rerun it. Field descriptions are the text of docs/config.md.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, model_validator

from patchshift.plan.base import Deviation, Distinct, Layers, Name, RelativePath, Seed, Share, Spec, Threads
from patchshift.plan.loading import did_you_mean


class ScatteringSpec(Spec):
    """Wavelet scattering: no weights, no download."""

    source: Literal["scattering"]
    image_size: int = Field(224, ge=32, description="Input height and width in pixels; images are resized to it.")
    octaves: int = Field(4, ge=2, le=6, description="Number of wavelet scales J.")
    orientations: int = Field(4, ge=1, le=16, description="Number of wavelet angles L.")
    stride: int = Field(8, ge=2, description="Pixels per output position; a power of two that divides image_size.")
    batch_size: int = Field(8, ge=1, description="Images per forward pass.")
    threads: Threads = Field(2, description="Numerical threads.")

    @property
    def layers(self) -> list[str]:
        """Low-passed colours, first-order and second-order scattering coefficients: all at one resolution."""
        return ["colour", "first_order", "second_order"]

    @model_validator(mode="after")
    def _stride_fits(self) -> "ScatteringSpec":
        if self.stride & (self.stride - 1) or self.image_size % self.stride:
            raise ValueError(f"stride {self.stride} must be a power of two that divides image_size {self.image_size}")
        return self


class PretrainedSpec(Spec):
    """A timm or torchvision network, cut after the deepest layer asked for."""

    source: Literal["timm", "torchvision"]
    model: str = Field(description="Model name in timm or torchvision.")
    weights: RelativePath = Field(description="Weight file (safetensors) under `weights_dir`.")
    layers: Layers = Field(description="Layers to cache, by module name.")
    image_size: int = Field(224, ge=32, description="Input height and width in pixels; images are resized to it.")
    mean: tuple[float, float, float] = Field((0.485, 0.456, 0.406), description="Channel means of the input, RGB.")
    std: tuple[Deviation, Deviation, Deviation] = Field(
        (0.229, 0.224, 0.225), description="Channel deviations of the input."
    )
    batch_size: int = Field(16, ge=1, description="Images per forward pass.")
    threads: Threads = Field(2, description="Numerical threads.")


BackboneSpec = Annotated[ScatteringSpec | PretrainedSpec, Field(discriminator="source")]
BACKBONE: TypeAdapter[ScatteringSpec | PretrainedSpec] = TypeAdapter(BackboneSpec)


class RepresentationSpec(Spec):
    """How cached layer maps become patch embeddings."""

    layers: Layers | None = Field(None, description="Layers to use, of those cached; default: all.")
    neighbourhood: Literal["none", "average"] = Field(
        "average", description="`average`: mean over the 3 x 3 patches around each position, borders zero-padded."
    )
    fusion: Literal["concat"] = Field("concat", description="Layers are upsampled bilinearly and concatenated.")
    logarithm: Distinct = Field(
        [], description="Layers whose logarithm is taken, with a floor of 0.1 of each channel's training mean."
    )
    normalise: Literal["none", "standardise", "whiten"] = Field(
        "none",
        description="`standardise`: zero mean, unit deviation per channel; `whiten` adds (C + lambda I)^(-1/2).",
    )
    shrinkage: Annotated[float, Field(gt=0)] | None = Field(None, description="lambda of `whiten`, required by it.")

    @model_validator(mode="after")
    def _shrinkage_fits(self) -> "RepresentationSpec":
        self._belongs(self.normalise == "whiten", f"normalise '{self.normalise}'", "shrinkage")
        return self

    @model_validator(mode="after")
    def _logarithm_is_of_layers_in_use(self) -> "RepresentationSpec":
        for layer in self.logarithm:
            if self.layers is not None and layer not in self.layers:
                raise ValueError(f"logarithm: '{layer}' is not among layers{did_you_mean(layer, self.layers)}")
        return self


class SamplerSpec(Spec):
    """Which training patches the memory bank keeps."""

    method: Literal["greedy", "random", "none"] = Field("greedy", description="`greedy`: exact greedy k-centre.")
    share: Share | None = Field(None, description="Share of the training patches to keep.")
    count: int | None = Field(None, ge=1, description="Number of training patches to keep.")
    projection: int | None = Field(
        None,
        ge=1,
        description="Choose greedily in a random projection to this many dimensions; default: none.",
    )

    @model_validator(mode="after")
    def _one_size(self) -> "SamplerSpec":
        if self.method != "none" and (self.share is None) == (self.count is None):
            raise ValueError("give either share or count")
        if self.method == "none" and (self.share, self.count) != (None, None):
            raise ValueError("sampler 'none' keeps all patches: remove share and count")
        if self.method != "greedy" and self.projection is not None:
            raise ValueError(f"projection is used by the greedy sampler only, not by '{self.method}'")
        return self


class ImageScoreSpec(Spec):
    """How a map of patch distances becomes one score per image."""

    method: Literal["max", "top_share"] = Field("max", description="Largest patch distance, or mean of the top share.")
    share: Share | None = Field(None, description="`top_share`: share of the patches averaged (at least one patch).")
    reweight_neighbours: int = Field(
        0, ge=0, description="b of Eq. 7 (Roth et al. 2022); 0: no reweighting. Needs `max`."
    )

    @model_validator(mode="after")
    def _options_fit_the_method(self) -> "ImageScoreSpec":
        self._belongs(self.method == "top_share", f"image score '{self.method}'", "share")
        if self.reweight_neighbours and self.method != "max":
            raise ValueError("reweight_neighbours (Eq. 7) is defined for method 'max' only")
        return self


class FitSpec(Spec):
    """The part of a detector that fitting needs: all but how images are scored."""

    method: Literal["patchcore"] = Field(description="Detection method.")
    representation: RepresentationSpec = Field(RepresentationSpec(), description="Layer maps to patch embeddings.")
    sampler: SamplerSpec = Field(SamplerSpec(share=0.02), description="Patches that the memory bank keeps.")
    threads: Threads = Field(2, description="Numerical threads of fitting and scoring.")


class DetectorSpec(FitSpec):
    """A method with its representation, sampler and image score."""

    image_score: ImageScoreSpec = Field(ImageScoreSpec(), description="Patch distances to one score per image.")

    def fit_spec(self) -> FitSpec:
        """What a bank depends on."""
        return FitSpec(**{name: getattr(self, name) for name in FitSpec.model_fields})

    def scoring_spec(self) -> "ScoringSpec":
        """What scores depend on beside the bank."""
        return ScoringSpec(image_score=self.image_score, threads=self.threads)


class ScoringSpec(Spec):
    """The part of a detector that scoring needs beside its bank."""

    image_score: ImageScoreSpec
    threads: Threads


class ThresholdSpec(Spec):
    """How validation scores become a decision."""

    policy: Literal["f1_max", "normal_quantile"] = Field(
        description="`f1_max`: the validation score with the highest F1; ties: the highest. `normal_quantile`: the "
        "next number after the smallest normal validation score that at least `quantile` of them do not exceed, so at "
        "most 1 - `quantile` of them are flagged; needs no anomalies."
    )
    quantile: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="`normal_quantile`: share of the normal validation scores."
    )
    defects_from: Name | None = Field(
        None,
        description="A domain of synthetic defects (`part: val`) whose images join the validation images as anomalous.",
    )

    @model_validator(mode="after")
    def _quantile_fits_the_policy(self) -> "ThresholdSpec":
        self._belongs(self.policy == "normal_quantile", f"policy '{self.policy}'", "quantile")
        if self.policy == "normal_quantile":  # it looks at normal images only
            self._unused(f"policy '{self.policy}'", "defects_from")
        return self


class EvaluationSpec(Spec):
    """The one evaluation protocol of all studies (docs/protocol.md)."""

    smoothing_sigma: float = Field(4.0, ge=0, description="Gaussian smoothing of maps, pixels at input size.")
    pro_fpr_limit: Share = Field(0.3, description="False-positive-rate limit of PRO.")
    bootstrap_resamples: int = Field(1000, ge=100, description="Stratified bootstrap resamples per interval.")
    bootstrap_seed: Seed = Field(0, description="Bootstrap seed.")
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = Field(0.95, description="Coverage of intervals.")
