"""The config models of scores: how patch distances become one score per image, and a map of its pixels.

Field descriptions are the text of docs/config.md; docs/protocol.md states each method exactly.
Tested in tests/plan/test_specs.py.
"""

from typing import Literal

from pydantic import Field, model_validator

from patchshift.plan.base import Share, Spec, Threads

Combination = Literal["ratio", "difference", "log_ratio", "calibrated"]


class ImageScoreSpec(Spec):
    """How a map of patch distances becomes one score per image."""

    method: Literal["max", "top_share"] = Field("max", description="Largest patch distance, or mean of the top share.")
    share: Share | None = Field(
        None, description="`top_share`: share of the patches averaged (at least one patch); 1: the mean of all."
    )
    reweight_neighbours: int = Field(
        0, ge=0, description="b of Eq. 7 (Roth et al. 2022); 0: no reweighting. Needs `max` and method `patchcore`."
    )

    @model_validator(mode="after")
    def _options_fit_the_method(self) -> "ImageScoreSpec":
        self._belongs(self.method == "top_share", f"image score '{self.method}'", "share")
        if self.reweight_neighbours and self.method != "max":
            raise ValueError("reweight_neighbours (Eq. 7) is defined for method 'max' only")
        return self


class AnomalyMapSpec(Spec):
    """How a map of patch scores is brought to pixels, where it is not as the protocol has it."""

    upsampling: Literal["bilinear", "nearest"] = Field(
        "bilinear", description="From patches to the network's input size (`nearest`: anomalib)."
    )
    border: Literal["symmetric", "mirror"] = Field(
        "symmetric",
        description="How the map goes on beyond its border when it is smoothed: the border pixel twice, or once "
        "(`mirror`: anomalib).",
    )


class ScoringSpec(Spec):
    """The part of a detector that scoring needs beside its bank."""

    image_score: ImageScoreSpec = ImageScoreSpec()
    anomaly_map: AnomalyMapSpec = AnomalyMapSpec()
    combination: Combination | None = None
    chunk_mb: int = Field(256, ge=16)
    threads: Threads = 2
