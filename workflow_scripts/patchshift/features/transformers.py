"""Vision transformers of timm: the tokens of chosen blocks as maps, at any size that the patches divide.

Blocks are named by their index: `block0` is the first. Class and register tokens take part in attention, and are
dropped from the maps, since they stand at no place in the image.

Tested in tests/features/test_transformers.py.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from patchshift.errors import UserError
from patchshift.plan.backbone_specs import BLOCK, PretrainedSpec, explain_patches


class TransformerBlocks(nn.Module):
    """The patch tokens of some blocks, as maps.

    Args:
        network: from `prune_blocks`, with its weights.
        layers: names of blocks, in the order to return them.
        final_norm: whether the tokens go through the network's final norm.
    """

    def __init__(self, network: nn.Module, layers: Sequence[str], *, final_norm: bool) -> None:
        super().__init__()
        self.network = network
        self.names = list(layers)
        self.blocks = _block_indices(layers)
        self.final_norm = final_norm

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Normalised images [B, 3, H, W] -> block name -> [B, C, H / patch, W / patch]."""
        ascending = sorted(self.blocks)
        tokens = self.network.forward_intermediates(  # type: ignore[operator]
            images, indices=ascending, norm=self.final_norm, output_fmt="NCHW", intermediates_only=True
        )
        return {name: tokens[ascending.index(block)] for name, block in zip(self.names, self.blocks, strict=True)}


def is_vision_transformer(network: nn.Module) -> bool:
    """Whether a network is one of timm's vision transformers with one grid of tokens (ViT, DeiT, DINO, CLIP, EVA)."""
    from timm.models.eva import Eva  # slow to import, which other sources need not wait for
    from timm.models.vision_transformer import VisionTransformer

    return isinstance(network, VisionTransformer | Eva)


def is_torchvision_transformer(network: nn.Module) -> bool:
    """Whether a network is torchvision's vision transformer, whose tokens have no way out as maps."""
    from torchvision.models import VisionTransformer

    return isinstance(network, VisionTransformer)


def prune_blocks(network: nn.Module, spec: PretrainedSpec) -> nn.Module:
    """Remove, in place, what stands behind the deepest block: later blocks, head, and the final norm if unused.

    Raises:
        UserError: if a layer is no block, the network has no final norm to apply, or the patches do not divide the
            image.
    """
    depth = len(network.blocks)  # type: ignore[arg-type]
    for layer in spec.layers:
        if not BLOCK.fullmatch(layer) or int(layer.removeprefix("block")) >= depth:
            raise UserError(
                f"{spec.model} has no layer '{layer}': layers of a vision transformer are its blocks, by index, here "
                f"block0 to block{depth - 1}"
            )
    if spec.final_norm and isinstance(network.norm, nn.Identity):
        raise UserError(f"{spec.model} has no final norm for its tokens: remove final_norm")
    patch = network.patch_embed.feat_ratio(as_scalar=False)  # type: ignore[operator, union-attr]
    if wrong := explain_patches(spec.model, patch, "image_size", spec.input_size):
        raise UserError(wrong)
    network.prune_intermediate_layers(_block_indices(spec.layers), prune_norm=not spec.final_norm, prune_head=True)  # type: ignore[operator]
    return network


def resize_positions(network: nn.Module, size: tuple[int, int]) -> None:
    """Set the input size of a network that has its weights.

    Learned position embeddings are resampled to the new grid of patches, once, as timm does when it loads weights
    (bicubic, with antialiasing); at the size of the weights they stay as they are. Rotary ones are computed anew.

    Args:
        network: a vision transformer of timm.
        size: (height, width) in pixels, multiples of the patch.
    """
    network.set_input_size(img_size=size)  # type: ignore[operator]


def _block_indices(layers: Sequence[str]) -> list[int]:
    return [int(layer.removeprefix("block")) for layer in layers]
