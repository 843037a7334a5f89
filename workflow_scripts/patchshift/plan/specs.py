"""The config models of one id each: what a dataset, split, domain, backbone, detector or threshold can say.

A stage's script gets exactly one of these as canonical JSON (`canonical`), so a key that a stage does not read
cannot rerun it. Field descriptions are the text of docs/config.md.
"""

import json
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, model_validator


def _stays_inside(path: str) -> str:
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ValueError("must stay inside its folder: no absolute path, no '..'")
    return path


RelativePath = Annotated[str, AfterValidator(_stays_inside)]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Share = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Threads = Annotated[int, Field(ge=1, le=256)]


class Spec(BaseModel):
    """Base of all specs: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def _belongs(self, used: bool, owner: str, *fields: str) -> None:
        """Require the fields where they are used, refuse them where they would be ignored."""
        for field in fields:
            if used and getattr(self, field) is None:
                raise ValueError(f"{owner} needs {field}")
            if not used and getattr(self, field) is not None:
                raise ValueError(f"{owner} does not use {field}: remove it")

    def canonical(self, **kwargs: object) -> str:
        """JSON with sorted keys: equal specs give equal text. `kwargs` go to `model_dump` (include, exclude)."""
        return canonical_json(self.model_dump(mode="json", **kwargs))  # type: ignore[arg-type]


def canonical_json(content: object) -> str:
    """JSON with sorted keys and no spaces."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"))


class GeneratorSpec(Spec):
    """How the built-in synthetic dataset is drawn."""

    seed: Seed = Field(0, description="Seed of all drawing; the same seed gives the same bytes.")
    image_size: int = Field(256, ge=256, le=1024, description="Height and width in pixels.")
    train_good: int = Field(48, ge=2, description="Good training images per category.")
    test_good: int = Field(20, ge=1, description="Good test images per category.")
    test_per_defect: int = Field(8, ge=1, description="Defective test images per defect type.")


class DatasetSpec(Spec):
    """Where a dataset's images are and how its folders are read."""

    adapter: Literal["mvtec_ad", "mtd"] = Field(description="The reader of the folder layout.")
    categories: list[Name] = Field(min_length=1, description="Category names.")
    folder: RelativePath | None = Field(None, description="Folder under `data_dir`; default: the dataset's id.")
    address: str = Field("", description="Where to get it; part of the message when the folder is missing.")
    licence: str = Field("", description="Licence of the images.")
    masks: Literal["required", "optional"] = Field(
        "required", description="`optional`: a category without masks is accepted, its pixel metrics are undefined."
    )
    max_per_class: int | None = Field(
        None, ge=2, description="Use at most this many images per official split and defect type (a seeded choice)."
    )
    generate: GeneratorSpec | None = Field(None, description="Draw the images instead of reading them (`demo`).")


class SplitSpec(Spec):
    """How images are divided into train, val and test."""

    protocol: Literal["source_plan", "published"] = Field(
        description="`source_plan`: train = `train_share` of the good training images, val = the others plus "
        "`val_anomalous_share` of the anomalous test images, test = the rest. `published`: no val; train and test "
        "as the literature divides the dataset (so threshold metrics are undefined)."
    )
    train_share: Share | None = Field(None, description="`source_plan`: share of the good training images that train.")
    val_anomalous_share: Annotated[float, Field(ge=0, lt=1)] | None = Field(
        None, description="`source_plan`: share of the anomalous test images that go to val, within each defect type."
    )
    official_train_share: Share = Field(
        0.8,
        description="For a dataset without an official split: share of its good images that count as training images.",
    )
    train_limit: int | None = Field(None, ge=1, description="Train on at most this many images (a seeded choice).")
    seed: Seed = Field(42, description="Split seed.")

    @model_validator(mode="after")
    def _shares_fit_the_protocol(self) -> "SplitSpec":
        self._belongs(
            self.protocol == "source_plan", f"protocol '{self.protocol}'", "train_share", "val_anomalous_share"
        )
        return self


class DomainSpec(Spec):
    """A declared domain shift; `clean` has none."""

    shift: Literal["none", "photometric", "geometric"] = Field("none", description="Which family of transforms.")
    severity: Literal["moderate"] | None = Field(None, description="Strength of the transforms; not for `none`.")
    seed: Seed | None = Field(None, description="Shift seed; not for `none`.")

    @model_validator(mode="after")
    def _strength_fits_the_shift(self) -> "DomainSpec":
        self._belongs(self.shift != "none", f"shift '{self.shift}'", "severity", "seed")
        return self


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
    layers: list[str] = Field(min_length=1, description="Layers to cache, by module name.")
    image_size: int = Field(224, ge=32, description="Input height and width in pixels; images are resized to it.")
    mean: tuple[float, float, float] = Field((0.485, 0.456, 0.406), description="Channel means of the input, RGB.")
    std: tuple[float, float, float] = Field((0.229, 0.224, 0.225), description="Channel deviations of the input.")
    batch_size: int = Field(16, ge=1, description="Images per forward pass.")
    threads: Threads = Field(2, description="Numerical threads.")


BackboneSpec = Annotated[ScatteringSpec | PretrainedSpec, Field(discriminator="source")]
BACKBONE: TypeAdapter[ScatteringSpec | PretrainedSpec] = TypeAdapter(BackboneSpec)


class RepresentationSpec(Spec):
    """How cached layer maps become patch embeddings."""

    layers: list[str] | None = Field(None, description="Layers to use, of those cached; default: all.")
    neighbourhood: Literal["none", "average"] = Field(
        "average", description="`average`: mean over the 3 x 3 patches around each position, borders zero-padded."
    )
    fusion: Literal["concat"] = Field("concat", description="Layers are upsampled bilinearly and concatenated.")
    logarithm: list[str] = Field(
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


class DetectorSpec(Spec):
    """A method with its representation, sampler and image score."""

    method: Literal["patchcore"] = Field(description="Detection method.")
    representation: RepresentationSpec = Field(RepresentationSpec(), description="Layer maps to patch embeddings.")
    sampler: SamplerSpec = Field(SamplerSpec(share=0.02), description="Patches that the memory bank keeps.")
    image_score: ImageScoreSpec = Field(ImageScoreSpec(), description="Patch distances to one score per image.")
    threads: Threads = Field(2, description="Numerical threads of fitting and scoring.")


class ScoringSpec(Spec):
    """The part of a detector that scoring needs beside its bank."""

    image_score: ImageScoreSpec
    threads: Threads


class ThresholdSpec(Spec):
    """How validation scores become a decision."""

    policy: Literal["f1_max", "normal_quantile"] = Field(
        description="`f1_max`: the validation score with the highest F1; ties: the highest. `normal_quantile`: the "
        "smallest normal validation score that at least `quantile` of them do not exceed; needs no anomalies."
    )
    quantile: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="`normal_quantile`: share of the normal validation scores."
    )

    @model_validator(mode="after")
    def _quantile_fits_the_policy(self) -> "ThresholdSpec":
        self._belongs(self.policy == "normal_quantile", f"policy '{self.policy}'", "quantile")
        return self


class EvaluationSpec(Spec):
    """The one evaluation protocol of all studies (docs/protocol.md)."""

    smoothing_sigma: float = Field(4.0, ge=0, description="Gaussian smoothing of maps, pixels at input size.")
    pro_fpr_limit: Share = Field(0.3, description="False-positive-rate limit of PRO.")
    bootstrap_resamples: int = Field(1000, ge=100, description="Stratified bootstrap resamples per interval.")
    bootstrap_seed: Seed = Field(0, description="Bootstrap seed.")
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = Field(0.95, description="Coverage of intervals.")
