import itertools
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from patchshift.errors import UserError
from patchshift.features.backbones import build_backbone
from patchshift.features.tiling import TiledBackbone, cut_to_tile, lay_tiles, tile_backbone
from patchshift.plan.backbone_specs import PretrainedSpec, ScatteringSpec, TilingSpec


class ConvolutionalNetwork(nn.Module):
    """Two layers of strides 2 and 8, with zero padding, and no normalisation that would look at all of the image."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.second = nn.Conv2d(4, 5, 3, stride=2, padding=1)
        self.third = nn.Conv2d(5, 6, 3, stride=2, padding=1)
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        self.sizes.append(tuple(images.shape))
        fine = self.first(images).relu()
        return {"fine": fine, "coarse": self.third(self.second(fine).relu())}


class Patches(nn.Module):
    """Looks at patches of 14 pixels, at all of them at once, and takes one input size only: a vision transformer."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        assert images.shape[2:] == self.size
        patches = functional.avg_pool2d(images, 14)
        return {"block1": patches + patches.mean((2, 3), keepdim=True)}


def run(network: nn.Module, images: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.inference_mode():
        return dict(network(images))


def tiled(size: tuple[int, int], tile: Any, overlap: int, network: nn.Module | None = None) -> TiledBackbone:
    return TiledBackbone(network or ConvolutionalNetwork(), size, TilingSpec(tile=tile, overlap=overlap))


@given(
    tile=st.integers(1, 40),
    more=st.integers(0, 100),
    overlap=st.integers(0, 39),
)
def test_tiles_cover_an_axis_once_and_keep_half_the_overlap_from_their_rims(tile: int, more: int, overlap: int) -> None:
    side, overlap = tile + more, min(overlap, tile - 1)
    spans = lay_tiles(side, tile, overlap)
    assert [i for span in spans for i in range(side)[span.whole]] == list(range(side))
    for span in spans:
        assert 0 <= span.start <= side - tile
        assert range(tile)[span.own] == range(span.own.start, span.own.stop)
    for before, after in itertools.pairwise(spans):
        assert after.start - before.start <= tile - overlap
        assert before.start + tile - before.last >= overlap // 2
        assert after.first - after.start >= overlap // 2
    assert len(spans) == 1 or len(spans) == -(-(side - overlap) // (tile - overlap))


@pytest.mark.parametrize(
    ("size", "tile", "overlap"),
    [((96, 160), 64, 32), ((96, 160), (64, 48), 24), ((104, 56), (48, 40), 24), ((64, 200), (64, 48), 24)],
)
def test_tiles_with_enough_overlap_give_the_maps_of_the_whole_image(
    size: tuple[int, int], tile: Any, overlap: int
) -> None:
    """Half of the overlap is at least the receptive field's radius: 1 + 2 + 4 = 7 pixels."""
    images = torch.rand(2, 3, *size)
    network = ConvolutionalNetwork()
    whole, stitched = run(network, images), run(tiled(size, tile, overlap, network), images)
    assert list(whole) == list(stitched)
    for layer, values in whole.items():
        torch.testing.assert_close(stitched[layer], values, rtol=1e-5, atol=1e-5)


def test_without_overlap_only_cells_at_the_seams_differ() -> None:
    images = torch.rand(1, 3, 64, 128)
    network = ConvolutionalNetwork()
    whole, stitched = run(network, images), run(tiled((64, 128), 64, 0, network), images)
    differing = (stitched["coarse"] - whole["coarse"]).abs().amax((0, 1, 2)) > 1e-5
    assert differing.nonzero().flatten().tolist() == [8]  # padding is on the left: only the right tile misses a column


def test_one_tile_as_large_as_the_image_changes_nothing() -> None:
    images = torch.rand(2, 3, 64, 96)
    network = ConvolutionalNetwork()
    whole, stitched = run(network, images), run(tiled((64, 96), (64, 96), 5, network), images)
    for layer, values in whole.items():
        assert torch.equal(stitched[layer], values)


def test_tiles_of_all_images_go_through_the_network_together() -> None:
    network = ConvolutionalNetwork()
    backbone = tiled((96, 160), 64, 32, network)
    network.sizes.clear()
    run(backbone, torch.rand(5, 3, 96, 160))
    assert network.sizes == [(5, 3, 64, 64)] * 2 * 4


def test_networks_of_one_input_size_see_tiles_of_that_size() -> None:
    images = torch.rand(1, 3, 56, 84)
    stitched = run(tiled((56, 84), (56, 42), 0, Patches((56, 42))), images)["block1"]
    parts = [run(Patches((56, 42)), images[..., left : left + 42])["block1"] for left in (0, 42)]
    assert torch.equal(stitched, torch.cat(parts, 3))


@pytest.mark.parametrize(
    ("size", "tile", "overlap", "message"),
    [
        (
            (96, 160),
            (60, 64),
            32,
            r"of 8 pixels along the height .* tiling\.tile 60, where 56 or 64 would do",
        ),
        ((96, 160), 64, 12, r"\(strides of the layers: fine 2, coarse 8\).*tiling\.overlap 12, where 8 or 16 would do"),
        ((96, 164), 64, 32, r"along the width .*image_size 164, where 160 or 168 would do"),
        ((100, 160), 64, 3, r"image_size 100, where 96 or 104 would do; tiling\.overlap 3, where 8 would do"),
    ],
)
def test_sizes_that_cut_cells_are_refused_with_sizes_that_work(
    size: tuple[int, int], tile: Any, overlap: int, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        tiled(size, tile, overlap)


def test_a_stride_is_found_behind_rounding() -> None:
    """60 pixels give 8 cells at stride 8, as 64 do."""
    assert run(ConvolutionalNetwork(), torch.zeros(1, 3, 60, 60))["coarse"].shape[2:] == (8, 8)
    with pytest.raises(UserError, match=r"tiling\.tile 60, where 56 or 64 would do"):
        tiled((120, 120), 60, 0)


def test_layers_whose_map_misses_the_rim_are_refused() -> None:
    class Valid(nn.Module):
        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"valid": functional.avg_pool2d(images, 4, 2)}

    with pytest.raises(UserError, match=r"layer 'valid' has 31 x 31 cells for a tile of 64 x 64 pixels, .* 32 x 32"):
        tiled((96, 160), 64, 32, Valid())


@pytest.mark.parametrize("tile", [(32, 64), (64, 32)])
def test_layers_with_one_cell_along_an_axis_are_refused_before_their_stride_is_looked_for(
    tile: tuple[int, int],
) -> None:
    sizes: list[tuple[int, ...]] = []

    class Coarse(nn.Module):
        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            sizes.append(tuple(images.shape[2:]))
            return {"fine": functional.avg_pool2d(images, 4), "coarse": functional.avg_pool2d(images, 32)}

    message = rf"layer 'coarse' has {tile[0] // 32} x {tile[1] // 32} cells for a tile of .* choose larger tiles, or"
    with pytest.raises(UserError, match=message):
        tiled((128, 128), tile, 0, Coarse())
    assert sizes == [tile]  # no strip of thousands of pixels


@pytest.mark.parametrize("cells", [2, 7])
def test_layers_of_one_size_whatever_the_tile_are_refused_before_their_stride_is_looked_for(cells: int) -> None:
    sizes: list[tuple[int, ...]] = []

    class Pooled(nn.Module):
        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            sizes.append(tuple(images.shape[2:]))
            return {"fine": functional.avg_pool2d(images, 4), "pooled": functional.adaptive_avg_pool2d(images, cells)}

    message = rf"layer 'pooled' has {cells} x {cells} cells for a tile of .*, more than 64: its map does not cover the"
    with pytest.raises(UserError, match=message):
        tiled((1024, 1024), 512, 0, Pooled())
    assert sizes == [(512, 512)]


def test_the_coarsest_strides_are_found() -> None:
    class Coarse(nn.Module):
        def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"coarse": functional.avg_pool2d(images, 64, ceil_mode=True)}

    assert tiled((256, 256), 128, 0, Coarse()).strides == {"coarse": (64, 64)}


def test_only_specs_with_tiling_are_tiled() -> None:
    spec = PretrainedSpec(
        source="torchvision", model="resnet18", weights="random", layers=["layer1"], image_size=(96, 160)
    )
    network = ConvolutionalNetwork()
    assert tile_backbone(network, spec) is network
    assert tile_backbone(network, ScatteringSpec(source="scattering")) is network
    assert cut_to_tile(spec) is spec
    with_tiles = spec.model_copy(update={"tiling": TilingSpec(tile=(64, 96), overlap=16)})
    assert cut_to_tile(with_tiles).input_size == (64, 96)
    backbone = tile_backbone(network, with_tiles)
    assert isinstance(backbone, TiledBackbone)
    assert backbone.strides == {"fine": (2, 2), "coarse": (8, 8)}


def test_an_image_is_not_touched_by_its_batch() -> None:
    images = torch.rand(3, 3, 96, 128)
    backbone = tiled((96, 128), 64, 32)
    for layer, values in run(backbone, images).items():
        alone = torch.cat([run(backbone, image[None])[layer] for image in images])
        torch.testing.assert_close(values, alone, rtol=1e-5, atol=1e-6)


def test_networks_that_keep_their_size_in_every_layer_can_be_tiled() -> None:
    images = torch.rand(1, 3, 40, 40)
    identity = tiled((40, 40), 32, 8, Copied())
    assert identity.strides == {"same": (1, 1)}
    assert torch.equal(run(identity, images)["same"], images)


class Copied(nn.Module):
    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"same": images * 1}


@pytest.mark.parametrize(("model", "layers"), [("test_resnet", ["layer2", "layer3"]), ("test_vit", [1])])
def test_networks_of_a_library_are_built_for_a_tile_and_tiled(model: str, layers: list[Any]) -> None:
    values = {"source": "timm", "model": model, "weights": "random", "layers": layers, "batch_size": 2}
    tiling = {"tile": [64, 96], "overlap": 32}
    spec = PretrainedSpec.model_validate(values | {"image_size": [96, 160], "tiling": tiling})
    backbone = build_backbone(spec)
    part = build_backbone(PretrainedSpec.model_validate(values | {"image_size": [64, 96]}))
    images = torch.rand(2, 3, 96, 160)
    maps, corner = run(backbone, images), run(part, images[:, :, :64, :96])
    assert list(maps) == spec.layers
    for layer, (down, across) in backbone.strides.items():
        assert maps[layer].shape[2:] == (96 // down, 160 // across)
        rows, columns = 48 // down, 80 // across  # up to the middle of the overlap
        assert torch.equal(maps[layer][:, :, :rows, :columns], corner[layer][:, :, :rows, :columns])
