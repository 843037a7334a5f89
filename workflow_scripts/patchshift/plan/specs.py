"""The config models of thresholds and of the evaluation (detectors: `detector_specs`; datasets, splits: `data_specs`;
domains: `domain_specs`; backbones: `backbone_specs`; representations: `representation_specs`).

A stage's script gets exactly one of these as canonical JSON (`canonical`), so a key that a stage does not read
cannot rerun it. Field descriptions are the text of docs/config.md.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from patchshift.plan.base import Name, Seed, Share, Spec


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
