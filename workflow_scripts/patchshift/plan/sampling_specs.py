"""The config models of memory banks: which training patches they keep, and how these are searched.

Field descriptions are the text of docs/config.md; docs/protocol.md states each method exactly.
Tested in tests/plan/test_specs.py.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from patchshift.plan.base import Share, Spec

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
    projection: Size | Literal["johnson_lindenstrauss"] | None = Field(
        None,
        description="Choose greedily in a random projection to this many dimensions; `johnson_lindenstrauss`: to as "
        "many as keep distances within 0.9 (anomalib). Default: none.",
    )
    starts: Size = Field(
        1,
        description="1: the first patch is drawn. More: the greedy choice starts from the mean distance to so many "
        "drawn patches, as the published PatchCore code does with 10.",
    )

    per_category: bool = Field(
        False, description="Pools: choose the share, or an equal part of the count, within each category."
    )

    @model_validator(mode="after")
    def _options_fit_the_method(self) -> "SamplerSpec":
        if self.method != "none" and (self.share is None) == (self.count is None):
            raise ValueError("give either share or count")
        if self.method == "none" and (self.share, self.count) != (None, None):
            raise ValueError("sampler 'none' keeps all patches: remove share and count")
        if self.method not in ("greedy", "variance_weighted"):
            self._unused(f"sampler '{self.method}'", "projection", "starts")
        if self.method == "none":
            self._unused("sampler 'none'", "per_category")
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
