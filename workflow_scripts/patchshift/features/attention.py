"""Where the class token of a vision transformer looks: its attention to the patches, head by head.

Tested in tests/features/test_attention.py.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from patchshift.data.images import map_files, read_resized
from patchshift.features.attention_store import AttentionMaps
from patchshift.features.backbones import build_backbone
from patchshift.features.transformers import TransformerBlocks
from patchshift.plan.backbone_specs import BackboneSpec
from patchshift.runtime.pace import Pace

log = logging.getLogger(__name__)


def trace_attention(
    spec: BackboneSpec,
    images: Mapping[str, Path],
    *,
    digests: Mapping[str, str],
    weights_dir: Path | None = None,
    name: str = "attention",
) -> AttentionMaps:
    """Attention of the class token in the deepest cached block, on some images.

    Args:
        spec: the backbone.
        images: image key -> file.
        digests: image key -> SHA-256 that its file must have.
        weights_dir: folder of weight files.
        name: what is made of it; the log says that its images were passed through the backbone.

    Returns:
        The maps; without any, and with the reason, if the network is no vision transformer that sees whole images or
        has no class token.

    Raises:
        UserError: if the backbone cannot be built, or images cannot be used.
    """
    backbone = build_backbone(spec, weights_dir=weights_dir)
    layers = getattr(backbone, "layers", None)
    if isinstance(layers, TransformerBlocks):
        block, reason = f"block{len(layers.network.blocks) - 1}", why_untraceable(layers.network)  # type: ignore[arg-type]
    else:  # a convolutional network, which may have children named like blocks, or one that sees tiles
        block, reason = "no block", "the network is no vision transformer of timm that sees whole images"
    if reason:
        log.warning("%s: no attention to show: %s", getattr(spec, "model", spec.source), reason)
        return AttentionMaps([], block, np.zeros((0, 0, 0, 0), np.float32), np.zeros((0, 0), np.float32), reason)
    size, traced = spec.input_size, []
    pixels = map_files(lambda key: read_resized(images[key], size, digest=digests[key]), images)
    with Pace(name, len(images)) as pace:
        for each in pixels:  # one at a time: the attention of all tokens to all takes memory
            traced.append(class_attention(backbone, torch.from_numpy(each.copy()).permute(2, 0, 1)[None] / 255))
            pace.report(len(traced))
    maps, others = (torch.cat(parts).numpy() for parts in zip(*traced, strict=True))
    return AttentionMaps(list(images), block, maps, others)


def why_untraceable(network: nn.Module) -> str:
    """Why a vision transformer has no attention of a class token to show; empty if it has."""
    if getattr(network, "cls_token", None) is None:
        return "the model has no class token"
    attention = _attention_of(network)
    if not (hasattr(attention, "fused_attn") and isinstance(getattr(attention, "attn_drop", None), nn.Module)):
        return f"the attention of its blocks ({type(attention).__name__}) cannot be traced"
    return ""


def class_attention(backbone: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Attention of the class token in the deepest block.

    Args:
        backbone: from `build_backbone`, of a network for which `why_untraceable` has nothing to say.
        images: [B, 3, H, W] float32 in [0, 1].

    Returns:
        [B, heads, rows, columns], attention to each patch, and [B, heads], attention to the class token itself and to
        registers; for each image and head they sum to one together.
    """
    weights = attention_weights(backbone, images)
    rows, columns = map(int, _find_transformer(backbone).patch_embed.grid_size)  # type: ignore[union-attr, arg-type]
    prefix = weights.shape[-1] - rows * columns
    from_class = weights[:, :, 0]  # timm puts it before registers and patches
    return from_class[..., prefix:].unflatten(-1, (rows, columns)), from_class[..., :prefix].sum(dim=-1)


def attention_weights(backbone: nn.Module, images: Tensor) -> Tensor:
    """The attention of every token of the deepest block to every token: [B, heads, tokens, tokens], rows sum to one.

    It is what the block itself computes, rotary positions and normalised queries included: fused kernels, which keep
    it to themselves, are switched off, and it is taken where it would be thinned out in training.

    Args:
        backbone: from `build_backbone`, a vision transformer of timm.
        images: [B, 3, H, W] float32 in [0, 1].
    """
    attention = _attention_of(_find_transformer(backbone))
    found: list[Tensor] = []
    hook = attention.attn_drop.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))  # type: ignore[union-attr]
    fused = attention.fused_attn
    attention.fused_attn = False  # type: ignore[assignment]
    try:
        with torch.inference_mode():
            backbone(images)
    finally:
        attention.fused_attn = fused
        hook.remove()
    return found[-1].float()


def _find_transformer(backbone: nn.Module) -> nn.Module:
    """The network inside a backbone, blocks behind the deepest cached one removed."""
    blocks: TransformerBlocks = backbone.layers  # type: ignore[assignment]
    return blocks.network


def _attention_of(network: nn.Module) -> nn.Module:
    """The module that holds the attention of the deepest block: a part of it, or in parallel blocks the block."""
    block = network.blocks[-1]  # type: ignore[index]
    attention: nn.Module = getattr(block, "attn", block)  # type: ignore[arg-type, assignment]
    return attention
