"""The config models of one id each: what a detector or threshold can say (datasets, splits: `data_specs`; domains:
`domain_specs`; backbones: `backbone_specs`; representations: `representation_specs`).

A stage's script gets exactly one of these as canonical JSON (`canonical`), so a key that a stage does not read
cannot rerun it. Field descriptions are the text of docs/config.md.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from patchshift.plan.base import Name, Seed, Share, Spec, Threads
from patchshift.plan.representation_specs import RepresentationSpec


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
    chunk_mb: int = Field(
        256,
        ge=16,
        description="Memory for the images embedded at a time, in MB; the bank that is fitted comes on top.",
    )
    threads: Threads = Field(2, description="Numerical threads of fitting and scoring.")


class DetectorSpec(FitSpec):
    """A method with its representation, sampler and image score."""

    image_score: ImageScoreSpec = Field(ImageScoreSpec(), description="Patch distances to one score per image.")

    def fit_spec(self) -> FitSpec:
        """What a bank depends on."""
        return FitSpec(**{name: getattr(self, name) for name in FitSpec.model_fields})

    def scoring_spec(self) -> "ScoringSpec":
        """What scores depend on beside the bank."""
        return ScoringSpec(image_score=self.image_score, chunk_mb=self.chunk_mb, threads=self.threads)


class ScoringSpec(Spec):
    """The part of a detector that scoring needs beside its bank."""

    image_score: ImageScoreSpec
    chunk_mb: int = Field(256, ge=16)
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
