from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from patchshift.errors import UserError
from patchshift.features.backbones import build_backbone
from patchshift.plan.backbone_specs import PretrainedSpec
from patchshift.runtime.torchvision_guard import make_torchvision_importable

make_torchvision_importable()

import timm  # noqa: E402
from timm.models.vision_transformer import checkpoint_filter_fn  # noqa: E402

# Class token in front of the head; average instead; attention pooling; class and distillation token; convolutions
# before the patches (32 pixels each then).
NETWORKS = {
    "test_vit": 1,
    "test_vit2": 1,
    "test_vit3": 1,
    "deit_tiny_distilled_patch16_224": 2,
    "vit_tiny_r_s16_p8_224": 1,
}
PREFIXES = sorted(NETWORKS.items())

Files = Callable[[str], Path]
Make = Callable[[str, str], nn.Module]
Check = Callable[[Tensor, Tensor], None]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, full_network: Make) -> Files:
    folder = tmp_path_factory.mktemp("weights")

    def write(model: str) -> Path:
        path = folder / f"{model}.safetensors"
        if not path.is_file():
            save_file(full_network("timm", model).state_dict(), path)
        return path

    return write


def spec_of(model: str, **changes: Any) -> PretrainedSpec:
    values = {"source": "timm", "model": model, "weights": f"{model}.safetensors", "layers": [1]}
    return PretrainedSpec.model_validate(values | {"image_size": 160 if model.startswith("test") else 224} | changes)


def block_tokens(network: nn.Module, blocks: list[int], images: Tensor, spec: PretrainedSpec) -> list[Tensor]:
    """What the blocks of a whole network give, [B, N, C] each, seen from outside by hooks."""
    seen: dict[int, Tensor] = {}
    hooks = [
        network.blocks[block].register_forward_hook(  # type: ignore[index, union-attr]
            lambda _module, _inputs, output, block=block: seen.update({block: output})
        )
        for block in blocks
    ]
    with torch.inference_mode():
        network((images - torch.tensor(spec.mean).view(3, 1, 1)) / torch.tensor(spec.std).view(3, 1, 1))
    for hook in hooks:
        hook.remove()
    return [seen[block] for block in blocks]


def as_map(tokens: Tensor, prefix: int, rows: int) -> Tensor:
    """Tokens [B, N, C] row by row -> [B, C, rows, columns], without the first `prefix` of them."""
    return tokens[:, prefix:].unflatten(1, (rows, -1)).movedim(-1, 1)


@pytest.mark.parametrize(("model", "prefix"), PREFIXES)
def test_maps_are_the_patch_tokens_of_the_whole_network(
    files: Files, full_network: Make, assert_close: Check, model: str, prefix: int
) -> None:
    spec = spec_of(model, layers=[3, "block1"])
    images = torch.rand(2, 3, *spec.input_size)
    maps = build_backbone(spec, weights_dir=files(model).parent)(images)
    assert list(maps) == ["block3", "block1"]
    rows = 7 if model == "vit_tiny_r_s16_p8_224" else spec.input_size[0] // 16
    network = full_network("timm", model)
    for values, tokens in zip(maps.values(), block_tokens(network, [3, 1], images, spec), strict=True):
        assert_close(values, as_map(tokens, prefix, rows))


def test_final_norm_is_applied_to_every_chosen_block(files: Files, full_network: Make, assert_close: Check) -> None:
    spec, network = spec_of("test_vit", layers=[2, 4], final_norm=True), full_network("timm", "test_vit")
    images = torch.rand(1, 3, 160, 160)
    maps = build_backbone(spec, weights_dir=files("test_vit").parent)(images)
    with torch.inference_mode():
        for values, tokens in zip(maps.values(), block_tokens(network, [2, 4], images, spec), strict=True):
            expected = as_map(network.norm(tokens), 1, 10)  # type: ignore[operator]
            assert_close(values, expected)
            assert not torch.allclose(values, as_map(tokens, 1, 10), atol=0.1)


def test_blocks_behind_the_deepest_are_not_built(files: Files) -> None:
    backbone = build_backbone(spec_of("test_vit", layers=[2, 0]), weights_dir=files("test_vit").parent)
    names = [name for name, _ in backbone.named_parameters()]
    assert {name.split(".blocks.")[1].split(".")[0] for name in names if ".blocks." in name} == {"0", "1", "2"}
    assert not [name for name in names if "head" in name or ".norm." in name]


@pytest.mark.parametrize("model", ["test_vit", "test_vit3"])
@pytest.mark.parametrize("final_norm", [False, True])
def test_files_need_only_the_blocks_kept(files: Files, tmp_path: Path, model: str, final_norm: bool) -> None:
    spec = spec_of(model, final_norm=final_norm)
    whole = build_backbone(spec, weights_dir=files(model).parent)
    kept = {name.removeprefix("layers.network.") for name in whole.state_dict()}
    assert ("norm.weight" in kept) == final_norm
    state = {name: value for name, value in load_file(files(model)).items() if name in kept}
    save_file(state, tmp_path / f"{model}.safetensors")
    images = torch.rand(1, 3, 160, 160)
    assert torch.equal(build_backbone(spec, weights_dir=tmp_path)(images)["block1"], whole(images)["block1"])
    for name in ("blocks.1.attn.qkv.weight", "pos_embed"):
        save_file({key: value for key, value in state.items() if key != name}, tmp_path / f"{model}.safetensors")
        with pytest.raises(UserError, match=f"does not fit {model}: it lacks {name};"):
            build_backbone(spec, weights_dir=tmp_path)


def test_a_head_of_other_classes_may_be_in_the_file(files: Files, tmp_path: Path) -> None:
    state = load_file(files("test_vit")) | {"head.weight": torch.zeros(5, 64), "head.bias": torch.zeros(5)}
    save_file(state, tmp_path / "test_vit.safetensors")
    build_backbone(spec_of("test_vit"), weights_dir=tmp_path)


def test_weights_of_another_model_are_refused(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "test_vit.safetensors"
    state = load_file(files("test_vit"))
    save_file(state | {"mask_token": torch.zeros(1, 64)}, path)  # as in the original files of DINOv2
    with pytest.raises(UserError, match="does not fit test_vit: it has unknown weights mask_token;"):
        build_backbone(spec_of("test_vit"), weights_dir=tmp_path)
    save_file(state | {"pos_embed": torch.zeros(1, 50, 64)}, path)  # of a smaller image
    with pytest.raises(UserError, match=r"wrong shape of pos_embed \[1, 50, 64\] instead of \[1, 101, 64\];"):
        build_backbone(spec_of("test_vit"), weights_dir=tmp_path)


@pytest.mark.parametrize("model", ["test_vit", "deit_tiny_distilled_patch16_224"])
@pytest.mark.parametrize("size", [(160, 160), (48, 112), (224, 224)])
def test_position_embeddings_are_resampled_as_timm_resamples_them(
    files: Files, assert_close: Check, model: str, size: tuple[int, int]
) -> None:
    spec, images = spec_of(model, image_size=list(size)), torch.rand(1, 3, *size)
    values = build_backbone(spec, weights_dir=files(model).parent)(images)["block1"]
    network = timm.create_model(model, img_size=size).eval()
    network.load_state_dict(checkpoint_filter_fn(load_file(files(model)), network))
    (tokens,) = block_tokens(network, [1], images, spec)
    assert_close(values, as_map(tokens, NETWORKS[model], size[0] // 16))


def test_position_embeddings_stay_as_they_are_at_their_own_size(files: Files) -> None:
    stored = load_file(files("test_vit"))["pos_embed"]
    native = build_backbone(spec_of("test_vit"), weights_dir=files("test_vit").parent)
    assert torch.equal(native.state_dict()["layers.network.pos_embed"], stored)
    # A grid of as many patches in another shape is another grid.
    other = build_backbone(spec_of("test_vit", image_size=[80, 320]), weights_dir=files("test_vit").parent)
    resampled = other.state_dict()["layers.network.pos_embed"]
    assert resampled.shape == stored.shape
    assert torch.equal(resampled[:, 0], stored[:, 0])  # the class token's has no place
    assert not torch.allclose(resampled, stored, atol=0.01)


def test_rotary_positions_follow_the_size(tmp_path: Path, full_network: Make, assert_close: Check) -> None:
    model = "vit_small_patch16_dinov3"
    network = full_network("timm", model)
    path = tmp_path / f"{model}.safetensors"
    save_file(network.state_dict(), path)
    for size in ((256, 256), (32, 64), (64, 32)):
        spec, images = spec_of(model, image_size=list(size)), torch.rand(1, 3, *size)
        values = build_backbone(spec, weights_dir=tmp_path)(images)["block1"]
        (tokens,) = block_tokens(network, [1], images, spec)  # this network takes any size by itself
        assert_close(values, as_map(tokens, 5, size[0] // 16))


def test_a_size_that_patches_do_not_divide_is_told_the_nearest(files: Files) -> None:
    folder = files("test_vit").parent
    with pytest.raises(UserError, match=r"16 x 16 pixels, .* 224 or 240 instead of 230 \(height\)$"):
        build_backbone(spec_of("test_vit", image_size=[230, 640]), weights_dir=folder)
    with pytest.raises(UserError, match=r"224 or 240 instead of 230 \(height\), 624 or 640 instead of 630 \(width\)$"):
        build_backbone(spec_of("test_vit", image_size=[230, 630]), weights_dir=folder)
    maps = build_backbone(spec_of("test_vit", image_size=[224, 640]), weights_dir=folder)(torch.rand(1, 3, 224, 640))
    assert maps["block1"].shape == (1, 64, 14, 40)


@pytest.mark.parametrize("layer", ["block6", "blocks.1", "block01", "norm"])
def test_layers_are_blocks_that_exist(files: Files, layer: str) -> None:
    with pytest.raises(UserError, match=f"test_vit has no layer '{layer}': .* here block0 to block5"):
        build_backbone(spec_of("test_vit", layers=[0, layer]), weights_dir=files("test_vit").parent)


def test_final_norm_is_refused_where_there_is_none(files: Files) -> None:
    with pytest.raises(UserError, match="test_vit2 has no final norm for its tokens: remove final_norm"):
        build_backbone(spec_of("test_vit2", final_norm=True), weights_dir=files("test_vit2").parent)
    with pytest.raises(UserError, match="test_resnet is no vision transformer of timm and does not use final_norm"):
        build_backbone(spec_of("test_resnet", layers=["layer1"], weights="random", final_norm=True))


def test_a_vision_transformer_of_torchvision_is_sent_to_timm() -> None:
    with pytest.raises(UserError, match=r"vit_b_32 of torchvision gives no maps: .* \(source: timm\)"):
        build_backbone(spec_of("vit_b_32", source="torchvision", weights="random"))


def test_transformers_whose_tokens_have_no_one_grid_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"layer 1: block indices are for .* test_vit_relpos is none of them: name a module instead"
    ):
        build_backbone(spec_of("test_vit_relpos", weights="random"))
