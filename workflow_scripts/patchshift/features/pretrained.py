"""Networks of timm and torchvision, cut after the deepest layer used, with weights from a local file.

Tested in tests/features/test_backbones.py, and with every network of the catalog in
tests/features/test_backbone_contract.py.
"""

import difflib
import io
import logging
from collections.abc import Iterable
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn

from patchshift.errors import UserError
from patchshift.features.transformers import (
    TransformerBlocks,
    is_torchvision_transformer,
    is_vision_transformer,
    prune_blocks,
    resize_positions,
)
from patchshift.features.weights import fill_weights, find_file
from patchshift.plan.backbone_specs import BLOCK, RANDOM, PretrainedSpec
from patchshift.plan.loading import did_you_mean
from patchshift.runtime.torchvision_guard import make_torchvision_importable

RANDOM_SEED = 0
"""Of the initial weights that `weights: random` asks for: one untrained network per model, the same everywhere."""

log = logging.getLogger(__name__)


class PretrainedNetwork(nn.Module):
    """Normalises images and returns the maps of the chosen layers; see `build_backbone`."""

    mean: Tensor
    std: Tensor

    def __init__(self, layers: nn.Module, spec: PretrainedSpec) -> None:
        super().__init__()
        self.layers, self.names = layers, spec.layers
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images [B, 3, H, W] float32 in [0, 1] -> layer name -> [B, C, h, w], in the order of the spec."""
        normalised = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        maps: dict[str, Tensor] = self.layers(normalised)
        return {name: maps[name] for name in self.names}


def build_pretrained(spec: PretrainedSpec, weights_dir: Path | None) -> nn.Module:
    """Build a truncated network with the weights of `weights_dir / spec.weights`; see `build_backbone`.

    Everything behind the deepest layer is left out, so it costs no time and its weights may be absent from the file.
    Only with `weights: random` are the initial weights kept.

    Raises:
        UserError: if the model, a layer or the file does not exist, if the file does not fit the layers kept, or if a
            layer gives no map at this image size.
    """
    path = None if spec.weights == RANDOM else _find_weights(spec, weights_dir)
    network = _create_network(spec).eval()
    known = set(network.state_dict())
    transformer = is_vision_transformer(network)
    truncated = prune_blocks(network, spec) if transformer else _truncate(network, spec)
    if path is None:
        log.warning("%s has random weights, as its config says: it is untrained", spec.model)
    else:
        fill_weights(truncated, path, known=known, model=spec.model)
    if transformer:
        resize_positions(truncated, spec.input_size)  # behind the weights, whose positions are those of the original
        truncated = TransformerBlocks(truncated, spec.layers, final_norm=spec.final_norm)
    backbone = PretrainedNetwork(truncated.to(memory_format=torch.channels_last), spec).eval()  # type: ignore[call-overload]
    if not transformer:  # which gives maps by construction
        _check_maps(backbone, spec)
    return backbone


def _find_weights(spec: PretrainedSpec, weights_dir: Path | None) -> Path:
    remedy = f"put the {spec.source} weights of {spec.model} there under this name"
    return find_file(spec.weights, weights_dir, owner=spec.model, kind="weight", remedy=remedy)


def _create_network(spec: PretrainedSpec) -> nn.Module:
    """The whole network with its initial weights, which leave no trace in torch's global generator."""
    make_torchvision_importable()
    if spec.source == "timm":
        import timm  # importing costs seconds, which other sources need not pay

        names, create = timm.list_models(), timm.create_model
        architecture, _, tag = spec.model.partition(".")
        tags = timm.list_models(f"{architecture}.*", include_tags=True) if tag else []
    else:
        import torchvision

        # Those that classify images: constructors of others, like segmentation, fetch pretrained parts by default.
        names, create = torchvision.models.list_models(module=torchvision.models), torchvision.models.get_model
        architecture, tag, tags = spec.model, "", []
    if architecture not in names:
        raise UserError(f"{spec.source} has no model '{spec.model}'{_nearest(architecture, names)}")
    if tag and spec.model not in tags:
        raise UserError(f"timm has no weights '{tag}' of {architecture} (known: {', '.join(tags) or 'none'})")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(RANDOM_SEED)  # on the CPU alone, where networks are made
        network: nn.Module = create(
            spec.model, **({"pretrained": False} if spec.source == "timm" else {"weights": None})
        )
    return network


def _truncate(network: nn.Module, spec: PretrainedSpec) -> nn.Module:
    """The part of the network that the layers need, traced; parameters keep their names."""
    from torchvision.models.feature_extraction import create_feature_extractor  # slow to import

    if is_torchvision_transformer(network):
        raise UserError(f"{spec.model} of torchvision gives no maps: take a vision transformer of timm (source: timm)")
    if spec.final_norm:
        raise UserError(f"{spec.model} is no vision transformer of timm and does not use final_norm: remove it")
    modules = [name for name, _ in network.named_modules() if name]
    for layer in spec.layers:
        if layer in modules:
            continue
        if BLOCK.fullmatch(layer):
            raise UserError(
                f"layer {layer.removeprefix('block')}: block indices are for timm's ViT, DeiT, DINO, CLIP, SigLIP and "
                f"EVA models; {spec.model} is none of them: name a module instead"
            )
        raise UserError(f"{spec.model} has no layer '{layer}'{_nearest(layer, modules)}")
    try:
        extractor = create_feature_extractor(network, list(spec.layers), suppress_diff_warning=True)
    except Exception as error:  # tracing can fail anywhere in the model's own code
        raise UserError(
            f"{spec.model} cannot be cut after {', '.join(spec.layers)} ({error}): choose other layers or another model"
        ) from error
    _copy_maps(extractor.graph)
    # The extractor has another graph for training, and copies of it would come out in training mode.
    return fx.GraphModule(extractor, extractor.graph)


def _copy_maps(graph: fx.Graph) -> None:
    """Let no operation in place that comes after a layer change its map; the deepest one has nothing behind it."""
    output = graph.output_node()
    for node in output.all_input_nodes:
        if node.next is not output:
            with graph.inserting_after(node):
                output.replace_input_with(node, graph.call_function(_copy, (node,)))


def _copy(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value  # others are refused, but not here


def _check_maps(backbone: PretrainedNetwork, spec: PretrainedSpec) -> None:
    """Every layer is a map: a wider image gives it more columns, and as many rows and channels."""
    height, width = spec.input_size
    maps, wider = _shapes(backbone, spec, height, width), {}
    with suppress(UserError):  # of networks that take one size only, which is square
        wider = _shapes(backbone, spec, height, 2 * width)
    for layer, shape in maps.items():
        if not _is_map(shape, wider.get(layer)):
            raise UserError(f"layer '{layer}' of {spec.model} gives {shape}, not a map (channels, rows, columns)")


def _is_map(shape: tuple[Any, ...], wider: tuple[Any, ...] | None) -> bool:
    if len(shape) != 3:
        return False
    if wider is None:  # rows and columns of a square are as many, and the channels could be either
        return bool(shape[0] != shape[1] == shape[2])
    return bool(wider[:2] == shape[:2] and wider[2] > shape[2])


def _shapes(backbone: PretrainedNetwork, spec: PretrainedSpec, height: int, width: int) -> dict[str, tuple[Any, ...]]:
    try:
        with torch.inference_mode(), redirect_stderr(io.StringIO()):  # where fx would print its code at an error
            maps: dict[str, Any] = backbone(torch.zeros(1, 3, height, width))
    except Exception as error:  # networks refuse sizes in many ways
        raise UserError(f"{spec.model} does not take images of {height} x {width}: {error}") from error
    return {
        layer: tuple(values.shape[1:]) if isinstance(values, Tensor) else (type(values).__name__,)
        for layer, values in maps.items()
    }


def _nearest(name: str, names: Iterable[str]) -> str:
    return did_you_mean(name, difflib.get_close_matches(name, list(names), n=5, cutoff=0))  # there are hundreds
