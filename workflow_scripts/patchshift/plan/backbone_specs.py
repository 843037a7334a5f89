"""The config models of backbones: what turns images into layer maps, and where its weights come from.

A stage's script gets one of these as canonical JSON. Field descriptions are the text of docs/config.md.
Tested in tests/plan/test_backbone_specs.py.
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, model_validator

from patchshift.plan.base import Deviation, Layers, RelativePath, Shards, Spec, Threads
from patchshift.plan.data_specs import KAGGLE, Address, ArchiveSpec, Checksum

RANDOM = "random"
"""Stands where a weight file's name can stand: a network as it is before training."""

NO_WEIGHTS = "none"
"""What tables say of a backbone that has no weights."""

SAFE, PICKLED, MODULES = (".safetensors",), (".pth", ".pt", ".bin"), (".pt", ".pts", ".pt2")
"""Suffixes of weight files, the safe one first, and of the modules of source `file`."""

BLOCK = re.compile(r"block(0|[1-9][0-9]*)")
"""Names of layers that are blocks of a vision transformer."""

Side = Annotated[int, Field(ge=32, le=8192)]
ImageSize = Side | tuple[Side, Side]
Mean = tuple[float, float, float]
Std = tuple[Deviation, Deviation, Deviation]


def _name_blocks(layers: object) -> object:
    """Blocks of a vision transformer are given by their index: 11 is `block11`."""
    if not isinstance(layers, list):
        return layers
    return [f"block{layer}" if type(layer) is int and layer >= 0 else layer for layer in layers]


def _can_be_stored(layers: list[str]) -> list[str]:
    """Feature stores keep each layer under its name, which HDF5 must not read as a path."""
    for layer in layers:
        if layer in ("", ".") or "/" in layer:
            raise ValueError(f"'{layer}' cannot name a layer: take a name without '/' that is not empty and not '.'")
    return layers


def _is_no_archive(place: str | ArchiveSpec) -> str | ArchiveSpec:
    address = place if isinstance(place, str) else place.address
    if address.startswith(KAGGLE):
        raise ValueError(
            f"{address} is an archive, not a weight file: give an address that begins with https:// or http://"
        )
    return place


def _is_weight_file(name: str) -> str:
    if name != RANDOM and not name.endswith(SAFE + PICKLED):
        raise ValueError(f"must be a weight file ({', '.join(SAFE + PICKLED)}) or '{RANDOM}'")
    return name


def _is_module_file(name: str) -> str:
    if not name.endswith(MODULES):
        raise ValueError("must be a TorchScript file (.pt, .pts) or an exported program (.pt2)")
    return name


WeightFile = Annotated[RelativePath, AfterValidator(_is_weight_file)]
ModuleFile = Annotated[RelativePath, AfterValidator(_is_module_file)]
LayerNames = Annotated[Layers, AfterValidator(_can_be_stored), BeforeValidator(_name_blocks)]
WeightAddress = Annotated[Address, AfterValidator(_is_no_archive)]
Mirror = Annotated[ArchiveSpec, AfterValidator(_is_no_archive)]


class TilingSpec(Spec):
    """How a large image is cut into overlapping tiles, so that tiny defects keep their size."""

    tile: ImageSize = Field(description="Height and width of a tile in pixels, a number or [height, width].")
    overlap: int = Field(
        ge=0, description="Pixels that neighbouring tiles share; each tile gives the half next to it. 0: none."
    )

    @property
    def tile_size(self) -> tuple[int, int]:
        """(height, width) of a tile in pixels."""
        return _pair(self.tile)


class _Backbone(Spec):
    """What all backbones have."""

    image_size: ImageSize = Field(
        224, description="Input size in pixels, a number for a square or [height, width]; images are resized to it."
    )
    precision: Literal["float32", "float16", "bfloat16"] = Field(
        "float32", description="Of the forward pass on CUDA (autocast); on a CPU it is always float32."
    )
    threads: Threads = Field(2, description="Batches computed at a time on a CPU. No reason to make features anew.")
    shards: Shards = Field(
        1,
        description="Jobs that share the images of a target, each a range of whole batches; one more joins what they "
        "made. Features are the same, byte for byte.",
    )

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) of the input in pixels."""
        return _pair(self.image_size)


class ScatteringSpec(_Backbone):
    """Wavelet scattering: no weights, no download."""

    source: Literal["scattering"]
    octaves: int = Field(4, ge=2, le=6, description="Number of wavelet scales J.")
    orientations: int = Field(4, ge=1, le=16, description="Number of wavelet angles L.")
    stride: int = Field(8, ge=2, description="Pixels per output position; a power of two that divides image_size.")
    batch_size: int = Field(8, ge=1, description="Images per forward pass; CUDA halves it when memory is short.")

    @property
    def layers(self) -> list[str]:
        """Low-passed colours, first-order and second-order scattering coefficients: all at one resolution."""
        return ["colour", "first_order", "second_order"]

    @property
    def weights(self) -> str:
        """What tables say of its weights."""
        return NO_WEIGHTS

    @model_validator(mode="after")
    def _stride_fits(self) -> "ScatteringSpec":
        if self.stride & (self.stride - 1) or any(side % self.stride for side in self.input_size):
            raise ValueError(f"stride {self.stride} must be a power of two that divides image_size {self.image_size}")
        return self


class _Network(_Backbone):
    """What backbones with weights have."""

    mean: Mean = Field((0.485, 0.456, 0.406), description="Channel means of the input, RGB.")
    std: Std = Field((0.229, 0.224, 0.225), description="Channel deviations of the input.")
    tiling: TilingSpec | None = Field(None, description="Cut the resized image into overlapping tiles.")
    batch_size: int = Field(16, ge=1, description="Images per forward pass; CUDA halves it when memory is short.")
    address: WeightAddress | None = Field(None, description="Where the file is downloaded from when it is missing.")
    checksum: Checksum | None = Field(
        None, description="`sha256:...` of that file; its first 8 digits or more, as in torchvision's file names, do."
    )
    mirrors: list[Mirror] = Field([], description="Other places, tried in order when the address fails.")
    licence: str = Field("", description="Licence of the weights, shown before a download.")

    @property
    def places(self) -> list[ArchiveSpec]:
        """Where the file can be had, in the order to try."""
        own = [ArchiveSpec(address=self.address, checksum=self.checksum)] if self.address else []
        return [*own, *self.mirrors]

    @model_validator(mode="after")
    def _checksum_has_its_address(self) -> "_Network":
        if self.checksum and not self.address:
            raise ValueError("checksum belongs to an address: give both, or neither")
        return self

    @model_validator(mode="after")
    def _tiles_fit_the_image(self) -> "_Network":
        if self.tiling is not None:
            for side, tile in zip(self.input_size, self.tiling.tile_size, strict=True):
                if tile > side or tile <= self.tiling.overlap:
                    raise ValueError(
                        f"tiling: a tile of {tile} pixels must be larger than the overlap of {self.tiling.overlap} and "
                        f"no larger than the image's {side}"
                    )
            if self.tiling.overlap and self.tiling.tile_size == self.input_size:
                raise ValueError(
                    "tiling: one tile as large as the image overlaps no other: choose a smaller tile, or remove tiling"
                )
        return self


class PretrainedSpec(_Network):
    """A timm or torchvision network, cut after the deepest layer asked for."""

    source: Literal["timm", "torchvision"]
    model: str = Field(description="Model name in timm or torchvision.")
    weights: WeightFile = Field(
        description="Weight file under `weights_dir` (safetensors, or .pth), or `random`: untrained, and every table "
        "says so."
    )
    layers: LayerNames = Field(
        description="Layers to cache: by module name; of a vision transformer (timm) by block index, 11 or `block11`."
    )
    final_norm: bool = Field(
        False, description="Vision transformers: the tokens of each block go through the network's final norm."
    )

    @model_validator(mode="after")
    def _random_weights_come_from_nowhere(self) -> "PretrainedSpec":
        if self.weights == RANDOM and (self.places or self.licence):
            raise ValueError("weights 'random' are not downloaded: remove address, mirrors and licence")
        return self

    @model_validator(mode="after")
    def _patches_fit(self) -> "PretrainedSpec":
        """Where the model's name tells the patch; extraction checks the others, too."""
        patch = re.search(r"_patch([0-9]+)", self.model)
        if self.source == "timm" and patch and all(map(BLOCK.fullmatch, self.layers)):
            sizes = {"image_size": self.input_size}
            if self.tiling:
                sizes["tiling.tile"] = self.tiling.tile_size
            for key, size in sizes.items():
                if wrong := explain_patches(self.model, (int(patch[1]), int(patch[1])), key, size):
                    raise ValueError(wrong)
        return self


class FileSpec(_Network):
    """A module of your own: TorchScript or an exported program, normalised images in, layer maps out."""

    source: Literal["file"]
    weights: ModuleFile = Field(description="The module's file under `weights_dir`.")
    layers: LayerNames = Field(
        description="Names for the maps [B, C, h, w] that it returns, in order; where it returns a dict, its keys."
    )


BackboneSpec = Annotated[ScatteringSpec | PretrainedSpec | FileSpec, Field(discriminator="source")]
BACKBONE: TypeAdapter[BackboneSpec] = TypeAdapter(BackboneSpec)
NetworkSpec = PretrainedSpec | FileSpec

BACKBONE_SOURCES: dict[str, type[BackboneSpec]] = {
    "scattering": ScatteringSpec,
    "timm": PretrainedSpec,
    "torchvision": PretrainedSpec,
    "file": FileSpec,
}

ORIGIN = {"address", "checksum", "mirrors", "licence"}
"""Fields that say where a weight file comes from; features depend on the file alone."""

NO_FEATURES = ORIGIN | {"threads", "shards"}
"""Fields that no feature depends on."""


class WeightsSpec(Spec):
    """What the download of a weight file depends on: a part of `PretrainedSpec` and `FileSpec`."""

    weights: RelativePath
    licence: str = ""
    places: list[ArchiveSpec] = Field(min_length=1)


def explain_patches(model: str, patch: tuple[int, int], key: str, size: tuple[int, int]) -> str | None:
    """What is wrong with a size in pixels that a vision transformer's patches do not divide, and what would do."""
    wrong = [
        f"{max(side // step, 1) * step} or {(side // step + 1) * step} instead of {side} ({axis})"
        for axis, side, step in zip(("height", "width"), size, patch, strict=True)
        if side % step
    ]
    if not wrong:
        return None
    return (
        f"{model} cuts images into patches of {patch[0]} x {patch[1]} pixels, so {key} must be a multiple of that: "
        f"take {', '.join(wrong)}"
    )


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size
