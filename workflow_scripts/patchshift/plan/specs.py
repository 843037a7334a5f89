"""The config model of the evaluation (thresholds: `threshold_specs`; detectors: `detector_specs`; datasets, splits:
`data_specs`; domains: `domain_specs`; backbones: `backbone_specs`; representations: `representation_specs`).

A stage's script gets exactly one of these as canonical JSON (`canonical`), so a key that a stage does not read
cannot rerun it. Field descriptions are the text of docs/config.md.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from patchshift.plan.base import Seed, Share, Spec

Distance = Literal[
    "maximum_mean_discrepancy", "sliced_wasserstein", "frechet_distance", "cosine_distance", "feature_drift"
]


class EvaluationSpec(Spec):
    """The one evaluation protocol of all studies (docs/protocol.md)."""

    smoothing_sigma: float = Field(4.0, ge=0, description="Gaussian smoothing of maps, pixels at input size.")
    pro_fpr_limit: Share = Field(0.3, description="False-positive-rate limit of PRO.")
    pro_strict_fpr_limit: Share = Field(0.05, description="The same of `pro_strict`.")
    aupimo_fpr_bounds: tuple[Share, Share] = Field(
        (1e-5, 1e-4), description="Shared false-positive rates between which AUPIMO averages recall."
    )
    bootstrap_resamples: int = Field(1000, ge=100, description="Stratified bootstrap resamples per interval.")
    bootstrap_seed: Seed = Field(0, description="Bootstrap seed.")
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = Field(0.95, description="Coverage of intervals.")
    calibration_bins: int = Field(
        10, ge=2, le=100, description="Bins of the reliability diagram and of the expected calibration error."
    )

    @model_validator(mode="after")
    def _bounds_ascend(self) -> "EvaluationSpec":
        low, high = self.aupimo_fpr_bounds
        if low >= high:
            raise ValueError("aupimo_fpr_bounds must ascend")
        return self


class AnalysisSpec(Spec):
    """What a study's analyses show, beside its metrics."""

    cases: int = Field(
        4, ge=1, le=50, description="Best and worst images, and failures of each kind, that galleries show."
    )
    border_share: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.1, description="A defect is at the border if it comes this near, as a share of the image's shorter side."
    )
    distance: Distance = Field(
        "maximum_mean_discrepancy",
        description="Distance between domains that degradation is plotted against, where `inspection` measures any.",
    )
