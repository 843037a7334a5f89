"""The config models of one id each: what a dataset, split, domain, backbone, detector or threshold can say.

A stage's script gets exactly one of these as canonical JSON (`canonical`), so a key that a stage does not read
cannot rerun it. Field descriptions are the text of docs/config.md.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, model_validator

from patchshift.plan.base import Deviation, Distinct, Layers, Name, RelativePath, Seed, Share, Spec, Threads
from patchshift.plan.loading import did_you_mean

SINGLE_CATEGORY: frozenset[str] = frozenset({"mtd"})
"""Adapters whose dataset is one category, without a folder level of categories."""

GENERATED_CATEGORIES = ("weave", "casting", "connector")
"""What the built-in dataset can draw (`patchshift.data.demo`)."""


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

    @model_validator(mode="after")
    def _categories_fit_the_adapter(self) -> "DatasetSpec":
        if self.adapter in SINGLE_CATEGORY and len(self.categories) != 1:
            raise ValueError(f"adapter '{self.adapter}' reads one category: name one, not {len(self.categories)}")
        return self

    @model_validator(mode="after")
    def _what_is_drawn_is_not_read(self) -> "DatasetSpec":
        if self.generate is None:
            return self
        if self.adapter != "mvtec_ad":
            raise ValueError(f"generate draws the layout of adapter 'mvtec_ad', not of '{self.adapter}'")
        for category in self.categories:
            if category not in GENERATED_CATEGORIES:
                hint = did_you_mean(category, GENERATED_CATEGORIES)
                raise ValueError(f"generate: '{category}' is not a category that can be drawn{hint}")
        for field, value in (("folder", self.folder), ("address", self.address)):
            if value:
                raise ValueError(f"a dataset with generate does not use {field}: remove it")
        return self


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
