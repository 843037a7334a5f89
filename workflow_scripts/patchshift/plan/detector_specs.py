"""The config models of detectors: a method with its settings, and how patch scores become one score per image.

Field descriptions are the text of docs/config.md; docs/protocol.md states each method exactly.
Tested in tests/plan/test_specs.py.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, model_validator

from patchshift.plan.base import Share, Spec, Threads
from patchshift.plan.representation_specs import ReductionSpec, RepresentationSpec

Size = Annotated[int, Field(ge=1)]


class SamplerSpec(Spec):
    """Which training patches the memory bank keeps."""

    method: Literal["greedy", "variance_weighted", "random", "kmeans", "none"] = Field(
        "greedy",
        description="`greedy`: exact greedy k-centre. `variance_weighted`: the same, denser at positions where patches "
        "vary more. `kmeans`: centroids, which are no training patches.",
    )
    share: Share | None = Field(None, description="Share of the training patches to keep.")
    count: Size | None = Field(None, description="Number of training patches to keep.")
    projection: Size | None = Field(
        None, description="Choose greedily in a random projection to this many dimensions; default: none."
    )
    starts: Size = Field(
        1,
        description="1: the first patch is drawn. More: the greedy choice starts from the mean distance to so many "
        "drawn patches, as the published PatchCore code does with 10.",
    )

    @model_validator(mode="after")
    def _options_fit_the_method(self) -> "SamplerSpec":
        if self.method != "none" and (self.share is None) == (self.count is None):
            raise ValueError("give either share or count")
        if self.method == "none" and (self.share, self.count) != (None, None):
            raise ValueError("sampler 'none' keeps all patches: remove share and count")
        if self.method not in ("greedy", "variance_weighted"):
            self._unused(f"sampler '{self.method}'", "projection", "starts")
        return self


class IndexSpec(Spec):
    """How the nearest bank vectors are searched."""

    method: Literal["flat", "ivf_flat", "ivf_pq", "hnsw"] = Field(
        "flat",
        description="`flat`: exact. `ivf_flat`: in the lists nearest to a patch. `ivf_pq`: the same, and vectors are "
        "kept as codes of a few bytes alone. `hnsw`: along the links of a graph.",
    )
    lists: Size | None = Field(None, description="`ivf_*`: number of lists; default: 4 sqrt(M) of M vectors.")
    probes: Size | None = Field(None, description="`ivf_*`: lists that are searched; default 8.")
    code_bytes: Size | None = Field(None, description="`ivf_pq`: bytes per vector; must divide its length.")
    links: Annotated[int, Field(ge=2, le=256)] | None = Field(
        None, description="`hnsw`: links of a vector; default 32."
    )
    depth: Size | None = Field(None, description="`hnsw`: candidates of a search; default 64.")

    @model_validator(mode="after")
    def _options_fit_the_method(self) -> "IndexSpec":
        owner = f"index '{self.method}'"
        if self.method not in ("ivf_flat", "ivf_pq"):
            self._belongs(False, owner, "lists", "probes")
        self._belongs(self.method == "ivf_pq", owner, "code_bytes")
        if self.lists and self.probes and self.probes > self.lists:
            raise ValueError(f"{owner} has {self.lists} lists, so probes cannot be {self.probes}: lower it")
        if self.method != "hnsw":
            self._belongs(False, owner, "links", "depth")
        return self


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


class _Detector(Spec):
    """What all detectors have."""

    representation: RepresentationSpec = Field(RepresentationSpec(), description="Layer maps to patch embeddings.")
    image_score: ImageScoreSpec = Field(ImageScoreSpec(), description="Patch distances to one score per image.")
    chunk_mb: int = Field(
        256,
        ge=16,
        description="Memory for the images embedded at a time, in MB; the bank that is fitted comes on top.",
    )
    threads: Threads = Field(2, description="Numerical threads of fitting and scoring.")

    def fit_spec(self) -> str:
        """What a bank depends on: all but how images are scored."""
        return self.canonical(exclude={"image_score"})

    def scoring_spec(self) -> "ScoringSpec":
        """What scores depend on beside the bank."""
        return ScoringSpec(image_score=self.image_score, chunk_mb=self.chunk_mb, threads=self.threads)


class PatchCoreSpec(_Detector):
    """Distance to the nearest training patches that a memory bank keeps (Roth et al. 2022)."""

    method: Literal["patchcore"] = Field(description="Detection method.")
    sampler: SamplerSpec = Field(SamplerSpec(share=0.02), description="Patches that the memory bank keeps.")
    neighbours: Size = Field(1, description="A patch's score is its mean distance to this many nearest bank vectors.")
    index: IndexSpec = Field(IndexSpec(), description="How they are searched.")

    @model_validator(mode="after")
    def _reweighting_has_what_it_needs(self) -> "PatchCoreSpec":
        if self.image_score.reweight_neighbours and self.neighbours > 1:
            raise ValueError("reweight_neighbours (Eq. 7) is defined for neighbours: 1 only")
        if self.image_score.reweight_neighbours and self.index.method == "ivf_pq":
            raise ValueError("reweight_neighbours (Eq. 7) needs the vectors, which index 'ivf_pq' does not keep")
        return self


class _WithoutNeighbours(_Detector):
    """A detector that keeps a distribution instead of training patches."""

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


class ScoringSpec(Spec):
    """The part of a detector that scoring needs beside its bank."""

    image_score: ImageScoreSpec
    chunk_mb: int = Field(256, ge=16)
    threads: Threads


DETECTOR_METHODS: dict[str, type[Spec]] = {"patchcore": PatchCoreSpec, "padim": PadimSpec, "pca": SubspaceSpec}
FittedSpec = PatchCoreSpec | PadimSpec | SubspaceSpec
DetectorSpec = Annotated[FittedSpec, Field(discriminator="method")]
DETECTOR: TypeAdapter[FittedSpec] = TypeAdapter(DetectorSpec)
"""Reads a detector; what `fit_spec` leaves out has its default."""
