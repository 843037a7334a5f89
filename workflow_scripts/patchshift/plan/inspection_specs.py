"""The config model of looks inside a study's features.

Tested in tests/plan/test_inspections.py.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from patchshift.plan.base import Name, Seed, Spec, names_each_once

Names = Annotated[list[Name], Field(min_length=1)]
Maps = Annotated[list[Literal["tsne", "umap"]], Field(min_length=1), AfterValidator(names_each_once)]
Patches = Annotated[int, Field(ge=50, le=20000)]
Images = Annotated[int, Field(ge=1, le=10)]
Resamples = Annotated[int, Field(ge=20)]


class InspectionSpec(Spec):
    """What is drawn and measured of the features themselves, beside what detectors make of them."""

    backbones: Names | None = Field(None, description="Backbones to look into; default: all that the study uses.")
    maps: Maps = Field(
        ["tsne"], description="Planar maps of normal and defective patches; `umap` needs the extra of that name."
    )
    patches: Patches = Field(
        2000, description="Patches per planar map: half of good images, half defective; fewer where there are fewer."
    )
    images: Images = Field(1, description="Images per defect type, and good ones, shown as overlays.")
    distances: bool = Field(
        True, description="Measure how far each target's features are from those that its banks were fitted on."
    )
    resamples: Resamples = Field(200, description="Bootstrap resamples of distances and separabilities.")
    seed: Seed = Field(0, description="Seed of the choice of patches and images, the maps and the resamples.")
