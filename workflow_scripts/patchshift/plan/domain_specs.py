"""The config models of domains: shifts of light and camera, crops of defects, synthetic defects.

Field descriptions are the text of docs/config.md.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from patchshift.plan.base import Name, RelativePath, Seed, Share, Spec

Geometric = Literal["crop", "rotation", "translation", "perspective"]
Photometric = Literal[
    "brightness",
    "contrast",
    "saturation",
    "hue",
    "illumination",
    "vignetting",
    "gaussian_blur",
    "motion_blur",
    "defocus",
    "gaussian_noise",
    "shot_noise",
    "salt_and_pepper",
    "jpeg",
]
Transform = Literal[Geometric, Photometric]
Shift = Literal["none", "photometric", "geometric", "mixed", Transform]

COMPOSITIONS: dict[str, list[str]] = {
    "photometric": ["brightness", "contrast", "saturation", "gaussian_blur", "gaussian_noise"],
    "geometric": ["crop", "rotation", "translation"],
    "mixed": [
        "crop",
        "rotation",
        "translation",
        "brightness",
        "contrast",
        "saturation",
        "gaussian_blur",
        "gaussian_noise",
    ],
}
"""The source plan's MVTec-Shift: which transforms, in which order."""

SEVERITIES = {"mild": 1.0, "moderate": 2.0, "severe": 3.0}


class AugmentationSpec(Spec):
    """How crops of defects are varied."""

    copies: int = Field(1, ge=1, le=100, description="Varied copies of each crop, beside the crop itself.")
    flips: bool = Field(True, description="Mirror at random, left to right and top to bottom.")
    rotation: float = Field(10, ge=0, le=180, description="Largest rotation in degrees.")
    jitter: float = Field(0.1, ge=0, lt=1, description="Largest relative change of brightness and contrast.")


class CropSpec(Spec):
    """Crops of the training defects of one split: positives of a dual bank."""

    split: Name = Field(description="The split whose training defects are cropped; the domain's id must end with it.")
    margin: int = Field(16, ge=0, description="Pixels kept around the defect's bounding box.")
    minimum_size: int = Field(64, ge=8, description="Smallest height and width of a crop in pixels.")
    augmentation: AugmentationSpec | None = Field(None, description="Varied copies; default: none.")
    crops_path: RelativePath | None = Field(
        None, description="Folder under `data_dir` with crops of your own, one image each, taken instead."
    )
    seed: Seed = Field(0, description="Seed of the augmentation.")

    @model_validator(mode="after")
    def _own_crops_are_taken_as_they_are(self) -> "CropSpec":
        if self.crops_path:
            self._unused("crops_path", "margin", "minimum_size")
        if self.augmentation is None:
            self._unused("crops without augmentation", "seed")
        return self


class DiffusionSpec(Spec):
    """Inpainting by a diffusion model (optional installation: docs/data.md)."""

    model: RelativePath = Field(
        min_length=1, description="Folder of a diffusers pipeline under `weights_dir`, or a hub's model id."
    )
    prompt: str = Field("a scratch on the surface", description="What to paint.")
    negative_prompt: str = Field("", description="What not to paint.")
    steps: int = Field(30, ge=1, le=1000, description="Denoising steps.")
    strength: Share = Field(0.99, description="How much of the original is replaced.")
    guidance: float = Field(7.5, ge=0, description="Guidance scale.")
    image_size: int = Field(512, ge=64, multiple_of=8, description="Height and width the model paints at, pixels.")
    masks: Literal["defects", "perlin"] = Field(
        "defects", description="Where to paint: the masks of real defects of the same part of the split, or noise."
    )

    @model_validator(mode="after")
    def _something_is_painted(self) -> "DiffusionSpec":
        if int(self.steps * self.strength) < 1:  # as diffusers counts the steps that it takes
            raise ValueError("steps x strength is less than one step: raise one of them")
        return self


SyntheticDefect = Literal["cutpaste", "scar", "perlin", "diffusion"]


class SynthesisSpec(Spec):
    """Defects made on normal images, with masks."""

    split: Name = Field(description="The split that the normal images come from; the domain's id must end with it.")
    part: Literal["train", "val"] = Field(
        description="Whose normal images: `train` for a positive bank, `val` to calibrate thresholds. Never `test`."
    )
    types: list[SyntheticDefect] = Field(
        ["cutpaste", "perlin"],
        min_length=1,
        description="`cutpaste`: a patch of the image itself elsewhere; `scar`: a thin, turned strip of it; `perlin`: "
        "texture inside a thresholded Perlin noise; `diffusion`: painted by a diffusion model.",
    )
    count: int = Field(20, ge=1, description="Images of each type.")
    diffusion: DiffusionSpec | None = Field(None, description="Settings of type `diffusion`.")
    augmented_path: RelativePath | None = Field(
        None,
        description="Folder under `data_dir` with synthetic defects of your own, taken instead: `images/`, and "
        "masks of the same names in `masks/`.",
    )
    seed: Seed = Field(0, description="Seed of the synthesis.")

    @model_validator(mode="after")
    def _options_fit_the_types(self) -> "SynthesisSpec":
        if self.augmented_path:
            self._unused("augmented_path", "types", "count", "diffusion", "seed")
            return self
        self._belongs("diffusion" in self.types, f"types {self.types}", "diffusion")
        return self


class ViewSpec(Spec):
    """Every image as a reference implementation sees it: resized, then cut at its centre; masks likewise."""

    short_side: int = Field(256, ge=32, description="The shorter side is resized to so many pixels (bilinear).")
    centre_crop: int = Field(224, ge=32, description="Height and width cut out at the centre, pixels.")

    @model_validator(mode="after")
    def _crop_fits(self) -> "ViewSpec":
        if self.centre_crop > self.short_side:
            raise ValueError(f"centre_crop {self.centre_crop} is larger than short_side {self.short_side}: lower it")
        return self


class TurnSpec(Spec):
    """Turned copies of the good training images of one split: more normal patches for few-shot banks."""

    split: Name = Field(description="The split whose training images are turned; the domain's id must end with it.")
    angles: list[Annotated[float, Field(gt=0, lt=360)]] = Field(
        [45, 90, 135, 180, 225, 270, 315],
        min_length=1,
        description="Angles in degrees, counter-clockwise; what comes into view is mirrored.",
    )

    @model_validator(mode="after")
    def _each_angle_once(self) -> "TurnSpec":
        named = [f"{angle:g}" for angle in self.angles]  # as turned images are called
        if len(set(named)) < len(named):
            raise ValueError(f"angles names one twice ({', '.join(named)}): remove it")
        return self


class DomainSpec(Spec):
    """A declared domain: `clean` (`shift: none`), a shift, a view, turned images, crops of defects, synthetic ones."""

    shift: Shift | Annotated[list[Transform], Field(min_length=1)] = Field(
        "none", description="A composition, one transform, or a list of transforms in order."
    )
    severity: Literal["mild", "moderate", "severe"] | Annotated[float, Field(ge=0, le=3)] | None = Field(
        None,
        description="Strength (docs/data.md has the table), or a number: 0 identity, 1 mild, 2 moderate, 3 severe.",
    )
    seed: Seed | None = Field(None, description="Shift seed; not for `none`.")
    crops: CropSpec | None = Field(None, description="Crops of training defects in place of whole images.")
    synthesis: SynthesisSpec | None = Field(None, description="Synthetic defects on normal images.")
    view: ViewSpec | None = Field(None, description="Images resized and cut as a reference implementation does.")
    turns: TurnSpec | None = Field(None, description="Turned copies of training images.")

    @property
    def kind(self) -> Literal["clean", "shift", "view", "turns", "crops", "synthesis"]:
        """How its images are made; `clean` ones are the originals."""
        if self.crops:
            return "crops"
        if self.synthesis:
            return "synthesis"
        if self.view:
            return "view"
        if self.turns:
            return "turns"
        return "clean" if self.shift == "none" else "shift"

    @property
    def split(self) -> str | None:
        """The split that its images come from; None where they come from all images."""
        source = self.crops or self.synthesis or self.turns
        return source.split if source else None

    @property
    def transforms(self) -> list[str]:
        """The transforms of a shift, in order."""
        if isinstance(self.shift, list):
            return list(self.shift)
        return [] if self.shift == "none" else COMPOSITIONS.get(self.shift, [self.shift])

    @property
    def strength(self) -> float:
        """The severity as a number: 0 identity, 1 mild, 2 moderate, 3 severe."""
        return SEVERITIES[self.severity] if isinstance(self.severity, str) else float(self.severity or 0)

    @model_validator(mode="after")
    def _one_kind(self) -> "DomainSpec":
        given = [name for name in ("crops", "synthesis", "turns", "view") if getattr(self, name)]
        if self.shift != "none":
            given.append("shift")
        if len(given) > 1:
            raise ValueError(f"a domain is of one kind, not {' and '.join(sorted(given))}: make two domains")
        return self

    @model_validator(mode="after")
    def _strength_fits_the_shift(self) -> "DomainSpec":
        owner = "a list of transforms" if isinstance(self.shift, list) else f"shift '{self.shift}'"
        self._belongs(self.shift != "none", owner, "severity", "seed")
        if isinstance(self.shift, list) and len(set(self.shift)) < len(self.shift):
            raise ValueError("shift names a transform twice")
        return self
