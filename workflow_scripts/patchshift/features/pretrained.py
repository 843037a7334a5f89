"""Networks of timm and torchvision with weights from a local file, cut after the deepest layer used.

Tested in tests/features/test_backbones.py.
"""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from patchshift.errors import UserError
from patchshift.plan.backbone_specs import PretrainedSpec
from patchshift.plan.loading import did_you_mean
from patchshift.runtime.torchvision_guard import make_torchvision_importable


class PretrainedNetwork(nn.Module):
    """Normalises images and returns the maps of the chosen layers; see `build_backbone`."""

    mean: Tensor
    std: Tensor

    def __init__(self, layers: nn.Module, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        super().__init__()
        self.layers = layers
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images [B, 3, H, W] float32 in [0, 1] -> layer name -> [B, C, h, w]."""
        normalised = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        maps: dict[str, Tensor] = self.layers(normalised)
        return maps


def build_pretrained(spec: PretrainedSpec, weights_dir: Path | None) -> nn.Module:
    """Build a truncated network with the weights of `weights_dir / spec.weights`; see `build_backbone`.

    Everything behind the deepest layer is left out, so it costs no time and its weights may be absent from the file.

    Raises:
        UserError: if the model, a layer or the file does not exist, if the file does not fit the layers kept, or if a
            layer gives no square map.
    """
    path = _find_weights(spec, weights_dir)
    network = _create_network(spec).eval()
    truncated = _truncate(network, spec)
    _load_weights(truncated, path, known=network.state_dict().keys(), model=spec.model)
    backbone = PretrainedNetwork(truncated.to(memory_format=torch.channels_last), spec.mean, spec.std).eval()  # type: ignore[call-overload]
    _check_maps(backbone, spec)
    return backbone


def _find_weights(spec: PretrainedSpec, weights_dir: Path | None) -> Path:
    if weights_dir is None:
        raise UserError(f"{spec.model} needs weights: set weights_dir to the folder that holds '{spec.weights}'")
    path = weights_dir / spec.weights
    if not path.is_file():
        raise UserError(
            f"no weight file {path}: put a safetensors file with the {spec.source} weights of {spec.model} there, or "
            "set weights_dir to the folder that holds it"
        )
    return path


def _create_network(spec: PretrainedSpec) -> nn.Module:
    make_torchvision_importable()
    if spec.source == "timm":
        import timm  # importing costs seconds, which other sources need not pay

        names, create = timm.list_models(), timm.create_model
    else:
        import torchvision

        names, create = torchvision.models.list_models(), torchvision.models.get_model
    architecture = spec.model.split(".")[0]  # timm allows a tag of weights behind the architecture
    if architecture not in names:
        raise UserError(f"{spec.source} has no model '{spec.model}'{_nearest(architecture, names)}")
    network: nn.Module = create(spec.model, **({"pretrained": False} if spec.source == "timm" else {"weights": None}))
    return network


def _truncate(network: nn.Module, spec: PretrainedSpec) -> nn.Module:
    """The part of the network that the layers need, traced; parameters keep their names."""
    from torchvision.models.feature_extraction import create_feature_extractor  # slow to import

    modules = [name for name, _ in network.named_modules() if name]
    for layer in spec.layers:
        if layer not in modules:
            raise UserError(f"{spec.model} has no layer '{layer}'{_nearest(layer, modules)}")
    try:
        truncated: nn.Module = create_feature_extractor(network, list(spec.layers), suppress_diff_warning=True)
    except Exception as error:  # tracing can fail anywhere in the model's own code
        raise UserError(
            f"{spec.model} cannot be cut after {', '.join(spec.layers)} ({error}): choose other layers or another model"
        ) from error
    return truncated


def _load_weights(truncated: nn.Module, path: Path, *, known: Iterable[str], model: str) -> None:
    """Fill all parameters from a file, which may hold more layers of the same model, and nothing else."""
    expected = truncated.state_dict()
    try:
        with safe_open(path, framework="pt") as file:
            stored = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            weights = {name: file.get_tensor(name) for name in stored if name in expected}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}): fetch it again") from error
    # Counters of seen batches play no part in inference, and older weight files lack them.
    missing = [name for name in expected if name not in stored and not name.endswith("num_batches_tracked")]
    foreign = sorted(stored.keys() - set(known))
    misshapen = [
        f"{name} {list(stored[name])} instead of {list(expected[name].shape)}"
        for name in weights
        if stored[name] != tuple(expected[name].shape)
    ]
    for fault, names in (("lacks", missing), ("has the wrong shape of", misshapen), ("has unknown weights", foreign)):
        if names:
            listed = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
            raise UserError(f"{path} does not fit {model}: it {fault} {listed}; bring the weights of this model")
    truncated.load_state_dict(weights, strict=False)  # only counters can be missing here


def _check_maps(backbone: PretrainedNetwork, spec: PretrainedSpec) -> None:
    height, width = spec.input_size
    try:
        with torch.inference_mode():
            maps: dict[str, Any] = backbone(torch.zeros(1, 3, height, width))
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"{spec.model} does not take images of {height} x {width}: {error}") from error
    for layer, values in maps.items():
        shape = tuple(values.shape[1:]) if isinstance(values, Tensor) else type(values).__name__
        if len(shape) != 3 or shape[1] != shape[2]:
            raise UserError(f"layer '{layer}' of {spec.model} gives {shape}, not a map (channels, rows, columns)")


def _nearest(name: str, names: Iterable[str]) -> str:
    return did_you_mean(name, difflib.get_close_matches(name, list(names), n=5, cutoff=0))  # there are hundreds
