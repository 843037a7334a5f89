"""Large images in overlapping tiles: a network sees each tile alone, and the tiles' maps are put together again.

A tile shows the network a small piece of the image at full size, so that tiny defects stay as large as they are. In the
rim of a tile the network misses what lies beside it; so neighbours overlap, and each gives only the half of the overlap
that is farther from its own rim. Where half the overlap is at least the radius of a layer's receptive field, a
convolutional network's tiled maps are those of the whole image.

Tested in tests/features/test_tiling.py.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from patchshift.errors import UserError
from patchshift.plan.backbone_specs import BackboneSpec, FileSpec, NetworkSpec, TilingSpec

Size = tuple[int, int]
AXES = ("height", "width")

COARSEST = 64
"""Pixels per cell, beyond which a layer's stride is not looked for: its map has one size, whatever that of the tile."""


@dataclass(frozen=True)
class Span:
    """One tile's place along one axis, in pixels or in cells of a map.

    Attributes:
        start: where the tile begins.
        first, last: what it gives to the whole is `first` .. `last`, without `last`; `first >= start`.
    """

    start: int
    first: int
    last: int

    @property
    def own(self) -> slice:
        """What it gives, counted from the tile's start."""
        return slice(self.first - self.start, self.last - self.start)

    @property
    def whole(self) -> slice:
        """What it gives, counted from the image's start."""
        return slice(self.first, self.last)


def lay_tiles(side: int, tile: int, overlap: int) -> list[Span]:
    """Tiles along one axis: neighbours overlap by `overlap`, the last one ends at the image's edge and overlaps more.

    The seam between two tiles lies in the middle of what they share.

    Args:
        side: of the image; all in one unit, pixels or cells of a map.
        tile: of a tile, at most `side`.
        overlap: less than `tile`.
    """
    count = 1 + -(-(side - tile) // (tile - overlap))
    starts = [min(number * (tile - overlap), side - tile) for number in range(count)]
    seams = [right + (left + tile - right) // 2 for left, right in itertools.pairwise(starts)]
    return [Span(*place) for place in zip(starts, [0, *seams], [*seams, side], strict=True)]


class TiledBackbone(nn.Module):
    """A network that sees images tile by tile; see `build_backbone` for the contract.

    Args:
        network: images [B, 3, h, w] of a tile's size -> layer name -> [B, C, h / stride, w / stride].
        input_size: (height, width) of the whole images in pixels.
        tiling: the tiles.
        batch_size: how many images the network is tried on.

    Raises:
        UserError: if tiles, overlap and images are not whole cells of every layer, or a layer's map does not cover
            its tile.
    """

    def __init__(self, network: nn.Module, input_size: Size, tiling: TilingSpec, *, batch_size: int = 1) -> None:
        super().__init__()
        self.network, self.input_size, self.tile_size = network, input_size, tiling.tile_size
        self.overlap = tiling.overlap
        self.strides = _find_strides(network, self.tile_size, batch_size)
        _check_places(self.strides, input_size, tiling)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images [B, 3, H, W] in [0, 1] -> layer name -> [B, C, H / stride, W / stride]."""
        stitched: dict[str, Tensor] = {}
        height, width = self.tile_size
        places = [lay_tiles(*sides, self.overlap) for sides in zip(self.input_size, self.tile_size, strict=True)]
        # All images' tiles of one place go together: no more memory than a batch of images as small as a tile.
        for number in itertools.product(*(range(len(spans)) for spans in places)):
            top, left = (spans[i].start for spans, i in zip(places, number, strict=True))
            maps: dict[str, Tensor] = self.network(images[:, :, top : top + height, left : left + width])
            for layer, values in maps.items():
                (rows, columns), size = self._cells(layer, number)
                if layer not in stitched:
                    stitched[layer] = torch.empty(
                        (*values.shape[:2], *size),
                        dtype=values.dtype,
                        device=values.device,
                        memory_format=torch.channels_last,
                    )
                stitched[layer][:, :, rows.whole, columns.whole] = values[:, :, rows.own, columns.own]
        return stitched

    def _cells(self, layer: str, number: Sequence[int]) -> tuple[list[Span], list[int]]:
        """In a layer's cells: the places of the tile of this row and column of tiles, and the size of the whole map."""
        spans, size = [], []
        for i, side, tile, stride in zip(number, self.input_size, self.tile_size, self.strides[layer], strict=True):
            # With a single tile along an axis no overlap is needed, and it may be no whole number of cells.
            overlap = self.overlap // stride if side > tile else 0
            spans.append(lay_tiles(side // stride, tile // stride, overlap)[i])
            size.append(side // stride)
        return spans, size


def cut_to_tile(spec: BackboneSpec) -> BackboneSpec:
    """The spec of what the network itself sees: one tile, where the images are tiled."""
    if not isinstance(spec, NetworkSpec) or spec.tiling is None:
        return spec
    return spec.model_copy(update={"image_size": spec.tiling.tile_size, "tiling": None})


def tile_backbone(network: nn.Module, spec: BackboneSpec) -> nn.Module:
    """The network of `cut_to_tile(spec)` as the backbone of `spec`: as it is, or tiled where the spec asks for it."""
    if not isinstance(spec, NetworkSpec) or spec.tiling is None:
        return network
    batch_size = spec.batch_size if isinstance(spec, FileSpec) else 1  # exported programs may take no other
    return TiledBackbone(network, spec.input_size, spec.tiling, batch_size=batch_size)


def _find_strides(network: nn.Module, tile: Size, batch_size: int) -> dict[str, Size]:
    """Pixels per cell of each layer, down and across, from running the network on zeros.

    Raises:
        UserError: if a layer's map does not cover the whole tile, or has less than two cells along an axis.
    """
    sizes = _map_sizes(network, tile, batch_size)
    for layer, size in sizes.items():
        if min(size) < 2:  # which says nothing of the stride: the tile may be a part of the cell, or far larger
            raise UserError(
                f"tiling: layer '{layer}' has {size[0]} x {size[1]} cells for a tile of {tile[0]} x {tile[1]} pixels, "
                "and a map needs two cells at least in each direction for tiles to be joined: choose larger tiles, or "
                "leave this layer out"
            )
    strides = {
        layer: [_stride(side, cells) for side, cells in zip(tile, size, strict=True)] for layer, size in sizes.items()
    }
    for layer, stride in strides.items():
        if max(stride) > COARSEST:
            raise _uncovered(layer, sizes[layer], tile, f"one per {stride[0]} x {stride[1]}, more than {COARSEST}")
    for axis, side in enumerate(tile):
        # Rounding up hides a stride: 100 pixels give 4 cells of 32 pixels as well as of 25. A long strip tells them
        # apart, where the network takes one; those that do not (vision transformers) cut their tile into whole patches.
        coarsest = max(stride[axis] for stride in strides.values())
        strip = (max(side, 3 * coarsest**2), tile[1]) if axis == 0 else (tile[0], max(side, 3 * coarsest**2))
        try:
            for layer, size in _map_sizes(network, strip, 1).items():
                strides[layer][axis] = _stride(strip[axis], size[axis])
        except Exception:  # networks refuse sizes in many ways, from deep within
            continue
    for layer, size in sizes.items():
        expected = tuple(-(-side // stride) for side, stride in zip(tile, strides[layer], strict=True))
        if size != expected:
            down, across = strides[layer]
            room = f"where a stride of {down} x {across} leaves room for {expected[0]} x {expected[1]}"
            raise _uncovered(layer, size, tile, room)
    return {layer: (down, across) for layer, (down, across) in strides.items()}


def _uncovered(layer: str, size: Size, tile: Size, room: str) -> UserError:
    return UserError(
        f"tiling: layer '{layer}' has {size[0]} x {size[1]} cells for a tile of {tile[0]} x {tile[1]} pixels, {room}: "
        "its map does not cover the tile, so tiles cannot be joined; choose another layer or another model, or leave "
        "tiling out"
    )


def _stride(side: int, cells: int) -> int:
    return max(1, round(side / cells))


def _map_sizes(network: nn.Module, size: Size, count: int) -> dict[str, Size]:
    with torch.inference_mode():
        maps: dict[str, Tensor] = network(torch.zeros(count, 3, *size))
    return {layer: (values.shape[2], values.shape[3]) for layer, values in maps.items()}


def _check_places(strides: dict[str, Size], input_size: Size, tiling: TilingSpec) -> None:
    """Every tile begins and ends between two cells, in every layer."""
    for axis, name in enumerate(AXES):
        unit = math.lcm(*(stride[axis] for stride in strides.values()))
        side, tile = input_size[axis], tiling.tile_size[axis]
        sizes = {"image_size": side, "tiling.tile": tile}
        if tile < side:
            sizes["tiling.overlap"] = tiling.overlap
        wrong = [f"{key} {size}, where {_nearest(size, unit)} would do" for key, size in sizes.items() if size % unit]
        if wrong:
            listed = ", ".join(f"{layer} {stride[axis]}" for layer, stride in strides.items())
            raise UserError(
                f"tiling: image, tile and overlap must be multiples of {unit} pixels along the {name} (strides of the "
                f"layers: {listed}), but they are {'; '.join(wrong)}"
            )


def _nearest(size: int, unit: int) -> str:
    """The multiples around a size; those that are smaller than one cell are no use, except as an overlap of none."""
    below = size // unit * unit
    return f"{below} or {below + unit}" if below else f"{unit}"
