"""The config models of thresholds: how scores of validation images become decisions.

Field descriptions are the text of docs/config.md; docs/thresholds.md states each policy exactly.
Tested in tests/plan/test_specs.py.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from patchshift.plan.base import Name, Spec

PolicyName = Literal["f1_max", "youden", "cost", "max_normal", "normal_quantile", "mean_std", "conformal", "evt"]

FROM_BOTH = ("f1_max", "youden", "cost")
"""Policies that look at anomalous validation images, too; the others look at normal ones only."""

SETTINGS: dict[str, tuple[str, ...]] = {
    "normal_quantile": ("quantile",),
    "mean_std": ("deviations",),
    "conformal": ("false_alarm_rate",),
    "evt": ("false_alarm_rate", "tail_share"),
    "cost": ("miss_cost", "false_alarm_cost", "prevalence"),
}
"""Policy -> the settings that it needs, and no other policy does."""

OpenShare = Annotated[float, Field(gt=0, lt=1)]
Price = Annotated[float, Field(gt=0)]


class PolicySpec(Spec):
    """How scores of validation images, or of their pixels, become a threshold."""

    policy: PolicyName = Field(
        description="`f1_max`: the validation score with the highest F1; ties: the highest. `youden`: the highest "
        "recall + specificity - 1. `cost`: the lowest expected cost. `max_normal`: no normal validation image is "
        "called defective. `normal_quantile`: the next number after the smallest normal validation score that at "
        "least `quantile` of them do not exceed. `mean_std`: their mean and `deviations` standard deviations. "
        "`conformal`: of new normal images at most `false_alarm_rate` are called defective, on average over "
        "validation sets. `evt`: the same rate by a generalised Pareto tail. The last five need no anomalies."
    )
    quantile: OpenShare | None = Field(None, description="`normal_quantile`: share of the normal validation scores.")
    deviations: Annotated[float, Field(ge=0)] | None = Field(
        None, description="`mean_std`: standard deviations above the mean."
    )
    false_alarm_rate: OpenShare | None = Field(None, description="`conformal`, `evt`: of normal images.")
    tail_share: OpenShare | None = Field(
        None, description="`evt`: share of the normal validation scores that the tail is fitted to."
    )
    miss_cost: Price | None = Field(None, description="`cost`: price of a miss.")
    false_alarm_cost: Price | None = Field(None, description="`cost`: price of a false alarm.")
    prevalence: OpenShare | None = Field(None, description="`cost`: share of defective images in production.")

    @model_validator(mode="after")
    def _settings_fit_the_policy(self) -> "PolicySpec":
        for field in dict.fromkeys(name for names in SETTINGS.values() for name in names):
            self._belongs(field in SETTINGS.get(self.policy, ()), f"policy '{self.policy}'", field)
        if self.policy == "evt" and (self.false_alarm_rate or 0) >= (self.tail_share or 0):
            raise ValueError("evt: false_alarm_rate must be below tail_share, for it is read off the tail")
        return self


class ZonesSpec(Spec):
    """A grid of zones, each with a threshold of its own."""

    rows: Annotated[int, Field(ge=1, le=16)] = Field(description="Zones from top to bottom.")
    columns: Annotated[int, Field(ge=1, le=16)] = Field(description="Zones from left to right.")


class ThresholdSpec(PolicySpec):
    """How validation scores become a decision."""

    pixels: PolicySpec | None = Field(
        None,
        description="The policy for pixels, on the maps of validation images: IoU and masks need it. Not `conformal`: "
        "pixels of an image are not independent.",
    )
    zones: ZonesSpec | None = Field(
        None,
        description="Thresholds for each zone of the image, by the same policy: an image is called defective if its "
        "largest patch score in any zone is at or above that zone's. Default: one for the whole image.",
    )
    defects_from: Name | None = Field(
        None,
        description="A domain of synthetic defects (`part: val`) whose images join the validation images as anomalous.",
    )

    @model_validator(mode="after")
    def _parts_fit_the_policy(self) -> "ThresholdSpec":
        if self.policy not in FROM_BOTH and (self.pixels is None or self.pixels.policy not in FROM_BOTH):
            self._unused(f"policy '{self.policy}'", "defects_from")
        if self.pixels is not None and self.pixels.policy == "conformal":
            raise ValueError("pixels: policy 'conformal' promises nothing of pixels, which are not independent")
        return self
