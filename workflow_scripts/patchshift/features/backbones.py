"""One door to all backbones: a spec in, a module from images to named layer maps out.

A new source is one builder here and one spec in `plan/backbone_specs.py`.

Tested in tests/features/test_backbones.py; every id of the catalog in tests/features/test_backbone_contract.py.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from patchshift.features.module_files import build_from_file
from patchshift.features.pretrained import build_pretrained
from patchshift.features.scattering import ScatteringTransform
from patchshift.features.tiling import cut_to_tile, tile_backbone
from patchshift.plan.backbone_specs import BackboneSpec

BUILDERS: dict[str, Callable[[Any, Path | None], nn.Module]] = {
    "scattering": lambda spec, _: ScatteringTransform(spec),
    "timm": build_pretrained,
    "torchvision": build_pretrained,
    "file": build_from_file,
}
"""Source -> builder, called with the spec and the folder of weight files."""


def build_backbone(spec: BackboneSpec, *, weights_dir: Path | None = None) -> nn.Module:
    """Build a backbone, ready for inference.

    Args:
        spec: which network or transform, its input size and layers.
        weights_dir: folder of local weight files; sources without weights need none.

    Returns:
        A module in evaluation mode on the CPU: images [B, 3, *input_size] float32, RGB in [0, 1] -> dict of layer
        name -> [B, C, h, w] float32, in the order of `spec.layers`. Normalisation is part of the module.

    Raises:
        UserError: if the model, a layer or the weight file does not exist, or they do not fit each other or the
            input size.
    """
    network = BUILDERS[spec.source](cut_to_tile(spec), weights_dir).eval().requires_grad_(False)
    return tile_backbone(network, spec).eval()
