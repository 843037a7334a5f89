"""The config model of looks inside a study's features.

Tested in tests/plan/test_inspections.py.
"""

from typing import Annotated, Literal

from pydantic import Field

from patchshift.plan.base import Name, Seed, Spec

Names = Annotated[list[Name], Field(min_length=1)]


class InspectionSpec(Spec):
    """What is drawn and measured of the features themselves, beside what detectors make of them."""

    backbones: Names | None = Field(None, description="Backbones to look into; default: all that the study uses.")
    maps: list[Literal["tsne", "umap"]] = Field(
        ["tsne"], description="Planar maps of normal and defective patches; `umap` needs the extra of that name."
    )
    patches: int = Field(2000, ge=50, le=20000, description="Patches per planar map, half of them defective.")
    images: int = Field(1, ge=1, le=10, description="Images per defect type, and good ones, shown as overlays.")
    distances: bool = Field(
        True, description="Measure how far each target's features are from those that its banks were fitted on."
    )
    resamples: int = Field(200, ge=20, description="Bootstrap resamples of distances and separabilities.")
    seed: Seed = Field(0, description="Seed of the choice of patches and images, the maps and the resamples.")
