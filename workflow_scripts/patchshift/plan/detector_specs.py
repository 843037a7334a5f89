"""The config models of detectors: a method with its settings.

Field descriptions are the text of docs/config.md; docs/protocol.md states each method exactly.
Tested in tests/plan/test_specs.py.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, model_validator

from patchshift.plan.base import Distinct, Name, RelativePath, Shards, Share, Spec, Threads
from patchshift.plan.compat import Compat, fill_in
from patchshift.plan.representation_specs import ReductionSpec, RepresentationSpec
from patchshift.plan.sampling_specs import IndexSpec, SamplerSpec, Size
from patchshift.plan.score_specs import AnomalyMapSpec, Combination, ImageScoreSpec, ScoringSpec


class _Detector(Spec):
    """What all detectors have."""

    representation: RepresentationSpec = Field(RepresentationSpec(), description="Layer maps to patch embeddings.")
    image_score: ImageScoreSpec = Field(ImageScoreSpec(), description="Patch distances to one score per image.")
    anomaly_map: AnomalyMapSpec = Field(AnomalyMapSpec(), description="Patch distances to a map of pixels.")
    chunk_mb: int = Field(
        256,
        ge=16,
        description="Memory for the images embedded at a time, in MB; the bank that is fitted comes on top.",
    )
    threads: Threads = Field(2, description="Numerical threads of fitting and scoring.")

    def fit_spec(self) -> str:
        """What a bank depends on: all but how images are scored."""
        return self.canonical(exclude={"image_score", "anomaly_map", "combination"})

    def scoring_spec(self) -> "ScoringSpec":
        """What scores depend on beside the bank."""
        return ScoringSpec(
            image_score=self.image_score,
            anomaly_map=self.anomaly_map,
            combination=getattr(self, "combination", None),
            chunk_mb=self.chunk_mb,
            threads=self.threads,
        )


Distance = Literal["euclidean", "squared", "cosine"]


class _MemoryBank(_Detector):
    """What detectors have that compare patches with those of a memory bank."""

    neighbours: Size = Field(1, description="A patch's score is its mean distance to this many nearest bank vectors.")
    distance: Distance = Field(
        "euclidean",
        description="`squared`: of the Euclidean distance (the published PatchCore code). `cosine`: 1 - cosine of the "
        "angle between embeddings, which are divided by their length first.",
    )
    index: IndexSpec = Field(IndexSpec(), description="How they are searched.")
    memory_mb: int = Field(
        4000,
        ge=64,
        description="Memory for training patches, in MB. Where they need more, a greedy sampler chooses from shards of "
        "that size and then from what it chose (docs/protocol.md).",
    )
    shards: Shards = Field(
        1,
        description="Jobs that share the choice of a greedy sampler (one start): each chooses from a range of the "
        "training images, one more from what they chose (docs/protocol.md). 1: one job, in shards that `memory_mb` "
        "allows.",
    )

    @model_validator(mode="after")
    def _reweighting_has_what_it_needs(self) -> "_MemoryBank":
        if self.image_score.reweight_neighbours and self.neighbours > 1:
            raise ValueError("reweight_neighbours (Eq. 7) is defined for neighbours: 1 only")
        if self.image_score.reweight_neighbours and self.distance != "euclidean":
            raise ValueError("reweight_neighbours (Eq. 7) is defined for distance: euclidean only")
        if self.image_score.reweight_neighbours and self.index.method == "ivf_pq":
            raise ValueError("reweight_neighbours (Eq. 7) needs the vectors, which index 'ivf_pq' does not keep")
        return self

    @model_validator(mode="after")
    def _shards_are_chosen_from_greedily(self) -> "_MemoryBank":
        sampler: SamplerSpec = self.sampler  # type: ignore[attr-defined]
        if self.shards > 1 and (sampler.method != "greedy" or sampler.starts > 1):
            starts = f" with {sampler.starts} starts" if sampler.starts > 1 else ""
            raise ValueError(
                f"shards: only sampler 'greedy' with one start chooses from shards, not '{sampler.method}'{starts}: "
                "remove shards, or choose that sampler"
            )
        return self


class PatchCoreSpec(_MemoryBank):
    """Distance to the nearest training patches that a memory bank keeps (Roth et al. 2022)."""

    method: Literal["patchcore"] = Field(description="Detection method.")
    compat: Compat | None = Field(
        None,
        description="Settings of a reference implementation: the published code (`official`), `anomalib`, or "
        "`anomalydino`. Beside it can be set: `share` or `count` of the sampler, if the preset's sampler takes one, "
        "`representation.layers`, `index`, `foreground`, `turned`, `memory_mb`, `shards`, `chunk_mb` and `threads` "
        "(docs/protocol.md).",
    )
    sampler: SamplerSpec = Field(SamplerSpec(share=0.02), description="Patches that the memory bank keeps.")
    turned: Distinct = Field([], description="Domains of turned training images (`turns`) that are trained on, too.")
    foreground: bool = Field(
        False,
        description="Leave patches of the background out, of the bank and of the score: those on one side of a "
        "threshold on the first principal component of the training patches (AnomalyDINO).",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in_the_preset(cls, settings: Any) -> Any:
        return fill_in(settings)

    @model_validator(mode="after")
    def _background_has_no_positions(self) -> "PatchCoreSpec":
        if self.foreground and self.sampler.method == "variance_weighted":
            raise ValueError(
                "foreground leaves patches out, so sampler 'variance_weighted' knows no positions: choose 'greedy'"
            )
        return self


class PatchCoreDualSpec(_MemoryBank):
    """Distance to normal patches set against the distance to defective ones (ExDD): two memory banks."""

    method: Literal["patchcore_dual"] = Field(description="Detection method.")
    sampler: SamplerSpec = Field(SamplerSpec(share=0.01), description="Normal patches that the negative bank keeps.")
    positive_sampler: SamplerSpec = Field(
        SamplerSpec(share=0.1), description="Defective patches that the positive bank keeps."
    )
    training_defects: bool = Field(
        True, description="Defective patches: those under the masks of the split's defective training images."
    )
    crops: Name | None = Field(None, description="Defective patches: those of this domain of `crops`.")
    add_augmented: Name | None = Field(
        None, description="Defective patches: those under the masks of this domain of `synthesis` (`part: train`)."
    )
    combination: Combination = Field(
        "ratio",
        description="A patch's score from its distances n and p to normal and to defective patches: n / (p + 10⁻⁶), "
        "n - p, its logarithm log((n + 10⁻⁶) / (p + 10⁻⁶)), or the log-odds that a logistic regression on validation "
        "patches gives (`calibrated`).",
    )

    @model_validator(mode="after")
    def _has_one_negative_bank_only(self) -> "PatchCoreDualSpec":
        if self.image_score.reweight_neighbours:
            raise ValueError("reweight_neighbours (Eq. 7) is defined for method 'patchcore' only")
        if not (self.training_defects or self.crops or self.add_augmented):
            raise ValueError("a positive bank needs training_defects, crops or add_augmented")
        if self.positive_sampler.method == "variance_weighted":
            raise ValueError("positive_sampler 'variance_weighted' weighs positions, but defects lie anywhere")
        if self.positive_sampler.per_category:
            raise ValueError("positive_sampler does not use per_category: remove it")
        return self


class _WithoutNeighbours(_Detector):
    """A detector that keeps a distribution instead of training patches."""

    @model_validator(mode="before")
    @classmethod
    def _has_no_shards(cls, settings: Any) -> Any:
        if isinstance(settings, Mapping) and "shards" in settings:
            raise ValueError(
                "shards divide the choice of a memory bank, but this method keeps no patches: remove shards"
            )
        return settings

    @model_validator(mode="after")
    def _has_no_neighbours(self) -> "_WithoutNeighbours":
        if self.image_score.reweight_neighbours:
            raise ValueError("reweight_neighbours (Eq. 7) needs the bank of method 'patchcore'")
        return self


class PadimSpec(_WithoutNeighbours):
    """Mahalanobis distance from a Gaussian of the training patches at each position (Defard et al. 2021)."""

    method: Literal["padim"] = Field(description="Detection method.")
    representation: RepresentationSpec = Field(
        RepresentationSpec(neighbourhood="none", reduction=ReductionSpec(method="channel_subset", dimension=100)),
        description="Layer maps to patch embeddings.",
    )
    positions: Literal["each", "all"] = Field(
        "each", description="A Gaussian for each position, or one for all (textures, parts that lie anywhere)."
    )
    covariance: Literal["regularised", "ledoit_wolf"] = Field(
        "regularised",
        description="`regularised`: the sample covariance plus `regularisation` times the identity. `ledoit_wolf`: "
        "shrunk towards a multiple of the identity, by as much as the training patches say.",
    )
    regularisation: Annotated[float, Field(gt=0)] | None = Field(
        None, description="`regularised`: added to each variance; default 0.01."
    )

    @model_validator(mode="after")
    def _options_fit_the_covariance(self) -> "PadimSpec":
        if self.covariance != "regularised":
            self._belongs(False, f"covariance '{self.covariance}'", "regularisation")
        return self


class SubspaceSpec(_WithoutNeighbours):
    """Distance from the principal subspace of the training patches: the reconstruction error."""

    method: Literal["pca"] = Field(description="Detection method.")
    dimension: Size | None = Field(None, description="Number of principal components; default: 0.95 of the variance.")
    explained_variance: Share | None = Field(None, description="Instead of `dimension`, the share of variance to keep.")

    @model_validator(mode="after")
    def _one_size(self) -> "SubspaceSpec":
        if None not in (self.dimension, self.explained_variance):
            raise ValueError("method 'pca': give either dimension or explained_variance")
        return self


class ExternalSpec(Spec):
    """Scores of another method, read from files: no features, no bank."""

    method: Literal["external"] = Field(description="Detection method.")
    folder: RelativePath = Field(
        description="Folder under `data_dir` with `{dataset}/{category}/{domain}.csv`: columns `image`, `score`, and "
        "`map` (optional; docs/detectors.md)."
    )
    weights: str = Field("external", description="What tables say of its weights.")


MemoryBankSpec = PatchCoreSpec | PatchCoreDualSpec
FittedSpec = MemoryBankSpec | PadimSpec | SubspaceSpec
DETECTOR_METHODS: dict[str, type[Spec]] = {
    "patchcore": PatchCoreSpec,
    "patchcore_dual": PatchCoreDualSpec,
    "padim": PadimSpec,
    "pca": SubspaceSpec,
    "external": ExternalSpec,
}
DetectorSpec = Annotated[FittedSpec | ExternalSpec, Field(discriminator="method")]
DETECTOR: TypeAdapter[FittedSpec] = TypeAdapter(Annotated[FittedSpec, Field(discriminator="method")])
"""Reads a detector that is fitted; what `fit_spec` leaves out has its default."""
