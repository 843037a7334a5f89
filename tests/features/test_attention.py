import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from patchshift.errors import UserError
from patchshift.features.attention import attention_weights, class_attention, trace_attention, why_untraceable
from patchshift.features.pretrained import PretrainedNetwork
from patchshift.features.transformers import TransformerBlocks
from patchshift.plan.backbone_specs import PretrainedSpec, ScatteringSpec
from patchshift.runtime.files import digest_file
from patchshift.runtime.pace import read_passes
from patchshift.runtime.torchvision_guard import make_torchvision_importable

make_torchvision_importable()

import timm  # noqa: E402
from timm.layers import apply_rot_embed_cat  # noqa: E402

# A class token; registers and normalised queries; rotary positions; rotary positions and registers (DINOv3).
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "class token": ("test_vit", {}),
    "registers": ("test_vit", {"reg_tokens": 4, "qk_norm": True}),
    "rotary": ("eva02_tiny_patch14_224", {"patch_size": 16}),
    "rotary and registers": ("vit_small_patch16_dinov3", {"embed_dim": 96, "num_heads": 3}),
}
PREFIXES = {"class token": 1, "registers": 5, "rotary": 1, "rotary and registers": 5}
GRID = (3, 2)


@pytest.fixture(scope="module")
def backbones() -> Callable[[str], nn.Module]:
    """Small networks whose attention is far from even: the weights of the initial ones are made larger."""
    built: dict[str, nn.Module] = {}

    def build(name: str) -> nn.Module:
        if name not in built:
            model, options = NETWORKS[name]
            torch.manual_seed(0)
            network = timm.create_model(model, depth=2, img_size=(48, 32), **options)
            blocks = TransformerBlocks(network, ["block1"], final_norm=False)
            spec = PretrainedSpec(source="timm", model=model, weights="random", layers=[1])
            built[name] = PretrainedNetwork(blocks, spec).eval().requires_grad_(False)
            for key, parameter in built[name].named_parameters():
                if "attn" in key:
                    parameter.add_(0.2 * torch.randn(parameter.shape))
        return built[name]

    return build


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.rand(2, 3, 48, 32, generator=torch.Generator().manual_seed(1))


def direct_attention(backbone: Any, images: Tensor) -> Tensor:
    """Attention from queries and keys, after the check that the block's fused attention is made of it."""
    attention = backbone.layers.network.blocks[-1].attn
    caught: dict[str, Any] = {}

    def catch(module: nn.Module, inputs: Any, options: Any, output: Tensor) -> None:
        caught.update(tokens=inputs[0], rope=options.get("rope"), output=output)

    hook = attention.register_forward_hook(catch, with_kwargs=True)
    with torch.inference_mode():
        backbone(images)
        hook.remove()
        tokens = caught["tokens"]
        heads = attention.num_heads

        def split(values: Tensor) -> Tensor:
            return values.unflatten(-1, (heads, -1)).transpose(1, 2)

        if attention.qkv is None:
            query, key, value = (getattr(attention, f"{letter}_proj")(tokens) for letter in "qkv")
        else:
            query, key, value = attention.qkv(tokens).chunk(3, dim=-1)
            for values, letter in ((query, "q"), (key, "k"), (value, "v")):
                bias = getattr(attention, f"{letter}_bias", None)
                if bias is not None:
                    values += bias
        query, key, value = attention.q_norm(split(query)), attention.k_norm(split(key)), split(value)
        if caught["rope"] is not None:
            prefix, half = attention.num_prefix_tokens, getattr(attention, "rotate_half", False)
            for values in (query, key):
                values[:, :, prefix:] = apply_rot_embed_cat(values[:, :, prefix:], caught["rope"], half=half)
        weights = (query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5).softmax(dim=-1)
        output = attention.proj(attention.norm((weights @ value).transpose(1, 2).flatten(2)))
        torch.testing.assert_close(output, caught["output"], rtol=1e-3, atol=1e-4)
    return weights


@pytest.mark.parametrize("name", NETWORKS)
def test_attention_equals_that_of_queries_and_keys_and_rows_sum_to_one(
    name: str, backbones: Callable[[str], nn.Module], images: Tensor
) -> None:
    backbone = backbones(name)
    found = attention_weights(backbone, images)
    tokens = PREFIXES[name] + GRID[0] * GRID[1]
    assert found.shape[2:] == (tokens, tokens)
    torch.testing.assert_close(found.sum(dim=-1), torch.ones(found.shape[:3]))
    torch.testing.assert_close(found, direct_attention(backbone, images), rtol=1e-4, atol=1e-6)
    assert found.std(dim=-1).max() > 0.02  # an even attention would hide mistakes


@pytest.mark.parametrize("name", NETWORKS)
def test_the_class_tokens_row_without_class_token_and_registers_lies_on_the_grid(
    name: str, backbones: Callable[[str], nn.Module], images: Tensor
) -> None:
    weights = attention_weights(backbones(name), images)
    maps, others = class_attention(backbones(name), images)
    assert maps.shape == (*weights.shape[:2], *GRID)
    for row in range(GRID[0]):
        for column in range(GRID[1]):
            expected = weights[:, :, 0, PREFIXES[name] + row * GRID[1] + column]
            torch.testing.assert_close(maps[:, :, row, column], expected, rtol=0, atol=0)
    torch.testing.assert_close(others + maps.sum(dim=(-2, -1)), torch.ones(weights.shape[:2]))


def test_tracing_leaves_the_network_as_it_was(backbones: Callable[[str], nn.Module], images: Tensor) -> None:
    backbone: Any = backbones("registers")
    attention = backbone.layers.network.blocks[-1].attn
    before = backbone(images)["block1"]
    assert attention.fused_attn
    attention_weights(backbone, images)
    assert attention.fused_attn
    assert not attention.attn_drop._forward_pre_hooks
    torch.testing.assert_close(backbone(images)["block1"], before, rtol=0, atol=0)


def spec_of(model: str, **options: Any) -> PretrainedSpec:
    values = {"source": "timm", "model": model, "weights": "random", "layers": [0, 1], "image_size": 48}
    return PretrainedSpec.model_validate(values | options)


@pytest.fixture
def photographs(tmp_path: Path) -> dict[str, Path]:
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        Image.fromarray(random.integers(0, 255, (60, 50, 3), np.uint8)).save(tmp_path / f"{name}.png")
    return {name: tmp_path / f"{name}.png" for name in ("b", "a")}


def test_images_are_traced_in_order_and_from_files_that_did_not_change(
    photographs: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    spec = spec_of("test_vit", image_size=[48, 64])
    digests = {name: digest_file(path) for name, path in photographs.items()}
    with caplog.at_level(logging.INFO):
        traced = trace_attention(spec, photographs, digests=digests, name="out/attention.h5")
    passes = read_passes("\n".join(caplog.messages))
    assert {path: count for path, (count, _) in passes.items()} == {"out/attention.h5": 2}
    assert (traced.images, traced.block, traced.undefined) == (["b", "a"], "block1", "")
    alone = trace_attention(spec, {"a": photographs["a"]}, digests=digests)
    np.testing.assert_array_equal(traced.maps[1:], alone.maps)
    assert traced.maps.dtype == traced.others.dtype == np.float32
    with pytest.raises(UserError, match="changed since it was indexed"):
        trace_attention(spec, photographs, digests=digests | {"a": "0" * 64})


def test_a_model_without_class_token_has_none_to_show_and_says_so(
    photographs: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        traced = trace_attention(spec_of("test_vit2"), photographs, digests={})  # it has a register, which is none
    assert read_passes("\n".join(caplog.messages)) == {}  # and no image was passed
    assert traced.undefined == "the model has no class token"
    assert traced.maps.size == 0


def test_attention_that_cannot_be_taken_out_is_named(backbones: Callable[[str], nn.Module]) -> None:
    network: Any = nn.Module()
    network.cls_token = nn.Parameter(torch.zeros(1))
    network.blocks = nn.ModuleList([nn.Linear(2, 2)])
    assert why_untraceable(network) == "the attention of its blocks (Linear) cannot be traced"
    traceable: Any = backbones("rotary")
    assert why_untraceable(traceable.layers.network) == ""


@pytest.mark.parametrize(
    "spec",
    [
        ScatteringSpec(source="scattering", image_size=32, octaves=2),
        spec_of("legacy_xception", layers=["block1"], image_size=64),  # convolutions, in children named like blocks
        spec_of("test_vit", image_size=96, tiling={"tile": 48, "overlap": 16}),
    ],
    ids=["scattering", "convolutions", "tiled"],
)
def test_another_network_has_none_to_show_and_says_so(spec: Any, photographs: dict[str, Path]) -> None:
    traced = trace_attention(spec, photographs, digests={})
    assert traced.undefined == "the network is no vision transformer of timm that sees whole images"
    assert traced.maps.size == 0
