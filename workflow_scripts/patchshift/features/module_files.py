"""Modules from files: TorchScript (`.pt`, `.pts`) and exported programs (`.pt2`) as backbones.

Such a file is a program: building a backbone runs it, so take it only from where you would take any other program.

- TorchScript runs in torch's own interpreter. Its constants are read by torch's C++ reader, which knows tensors and
  the types that the file itself defines, and no Python.
- An exported program is a graph of torch's operators and raw tensors. `torch.export.load` (2.13) reads some parts of
  an archive with Python's pickle: weights and constants marked `use_pickle`, opaque objects, everything of archives
  before 2.8, and example inputs that are more than tensors. Pickle could run anything, unseen; so archives with any of
  these, or with compiled code, are refused before torch reads them, and example inputs must pass `weights_only`. What
  remains as Python are conditions on shapes, which torch evaluates: the reason to trust the file all the same.

Tested in tests/features/test_module_files.py.
"""

import io
import json
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from patchshift.data.weight_files import check_receipt
from patchshift.errors import UserError
from patchshift.features.devices import is_out_of_memory
from patchshift.features.weights import find_file
from patchshift.plan.backbone_specs import FileSpec

PARTS = re.compile(
    r"archive_format|archive_version|byteorder|version|\.data/\w+|\.format_version|\.storage_alignment|models/model\.json|extra/.*"
    r"|data/sample_inputs/model\.pt|data/weights/(weight_\d+|model_weights_config\.json)"
    r"|data/constants/(tensor_\d+|model_constants_config\.json)"
)
"""What an archive of one exported program holds where nothing in it is pickled or compiled."""

PAYLOADS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
EXAMPLES = "data/sample_inputs/model.pt"

TOLERANCE = 1e-3
"""How far an image's maps may differ with other images beside it, relative to the layer's largest value."""


class FileModule(nn.Module):
    """Normalises images and names the maps that a module returns; see `build_backbone`."""

    mean: Tensor
    std: Tensor

    def __init__(self, module: Callable[[Tensor], Any], spec: FileSpec) -> None:
        super().__init__()
        self.module = module
        self.names, self.file, self.batch_size = list(spec.layers), spec.weights, spec.batch_size
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1))

    def train(self, mode: bool = True) -> Self:
        """Set this wrapper's mode; the module's own is part of its file, and exported programs refuse to change it."""
        self.training = mode
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images [B, 3, H, W] float32 in [0, 1] -> layer name -> [B, C, h, w].

        Raises:
            UserError: if the module does not take other batches or another device than it was checked with.
        """
        # In torch's usual order of memory: a module may have been traced with views that no other order allows.
        normalised = ((images - self.mean) / self.std).contiguous()
        try:
            outputs = self.module(normalised)
        except Exception as error:  # it can fail anywhere in the module's own code
            if is_out_of_memory(error):
                raise
            if explained := self._explain(error, images):
                raise explained from error
            raise
        return self._name(outputs)

    def _explain(self, error: Exception, images: Tensor) -> UserError | None:
        """The user's version of a failure with what `_check_maps` did not try, or None where that was the same."""
        where = images.device.type
        if len(images) != self.batch_size and "device" not in str(error):
            return UserError(
                f"{self.file} takes batches of {self.batch_size} images only, for which memory was short, and not of "
                f"{len(images)} ({_reason(error)}): export it with a dynamic batch, or for a smaller batch, and set "
                "batch_size to that"
            )
        if where != "cpu":
            return UserError(
                f"{self.file} runs on the CPU but not on {where} ({_reason(error)}): set `device: cpu`, or export it "
                "so that tensors that it makes are on the device of its input"
            )
        return None

    def _name(self, outputs: Any) -> dict[str, Tensor]:
        if isinstance(outputs, dict):
            missing = [name for name in self.names if name not in outputs]
            if missing:
                found = ", ".join(map(str, outputs))
                raise UserError(f"{self.file} returns no map '{missing[0]}': set layers to some of {found}")
            return {name: outputs[name] for name in self.names}
        maps = [outputs] if isinstance(outputs, Tensor) else outputs
        if not isinstance(maps, tuple | list):
            raise UserError(
                f"{self.file} returns {type(outputs).__name__}: it must return one map, a tuple or list of maps, or a "
                "dict of maps by layer name"
            )
        if len(maps) != len(self.names):
            raise UserError(
                f"{self.file} returns {len(maps)} maps, but layers names {len(self.names)} ({', '.join(self.names)}): "
                "name each map, in order"
            )
        return dict(zip(self.names, maps, strict=True))


def build_from_file(spec: FileSpec, weights_dir: Path | None) -> nn.Module:
    """Build a backbone from the module in `weights_dir / spec.weights`; see `build_backbone`.

    The module gets normalised images [B, 3, H, W] float32, B = `batch_size`, and returns maps [B, C, h, w]: one for
    one layer, a tuple or list in the order of `layers`, or a dict that has the layers among its keys.

    Raises:
        UserError: if the file is missing, cannot be read, would have to be unpickled, does not take the images, or
            does not return such maps.
    """
    remedy = f"put '{spec.weights}' into {weights_dir}"
    path = find_file(spec.weights, weights_dir, owner="the backbone", kind="module", remedy=remedy)
    check_receipt(path)
    load = _load_program if path.suffix == ".pt2" else _load_torchscript
    backbone = FileModule(load(path), spec).eval()
    _check_maps(backbone, spec)
    return backbone


def _load_torchscript(path: Path) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TorchScript as such: users know what they bring
            module: nn.Module = torch.jit.load(path, map_location="cpu")
    except Exception as error:  # a damaged file can fail anywhere in torch's reader
        raise UserError(
            f"{path} is not a whole TorchScript module ({_reason(error)}): write it with torch.jit.save, or name it "
            ".pt2 if it is an exported program; a .pt file of weights alone belongs to a model (source: timm or "
            "torchvision)"
        ) from error
    return module.eval()


def _load_program(path: Path) -> Callable[[Tensor], Any]:
    from torch.export.pt2_archive import PT2ArchiveReader  # slow to import, which other sources need not wait for
    from torch.export.pt2_archive._package import load_pt2  # torch.export.load would fall back to pickled archives

    try:
        refused = _find_pickle(PT2ArchiveReader(str(path)))
        if not refused:
            return load_pt2(str(path)).exported_programs["model"].module()
    except Exception as error:  # a damaged file can fail anywhere in torch's reader
        raise UserError(
            f"{path} is not a whole exported program ({_reason(error)}): write it with torch.export.save of this "
            f"version of torch ({torch.__version__})"
        ) from error
    raise UserError(
        f"{path} is refused: it holds {refused}, which could run any code when it is read. Export a module of plain "
        f"tensors anew with torch {torch.__version__}, or save it as TorchScript"
    )


def _find_pickle(archive: Any) -> str | None:
    """What an archive holds that torch would unpickle, or that is compiled code; None where all is plain."""
    for name in archive.get_file_names():
        if not PARTS.fullmatch(name):
            return f"'{name}'"
    for payload in PAYLOADS:
        for name, entry in json.loads(archive.read_string(payload))["config"].items():
            if entry["use_pickle"] is not False:
                return f"a pickled '{name}'"
    try:
        torch.load(io.BytesIO(archive.read_bytes(EXAMPLES)), weights_only=True)
    except Exception:  # whatever it is, torch would go on and unpickle it all the same
        return "pickled example inputs"
    return None


def _check_maps(backbone: FileModule, spec: FileSpec) -> None:
    """All layers are maps, and an image's maps do not depend on the images beside it."""
    height, width = spec.input_size
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(spec.batch_size, 3, height, width, generator=generator)
    others = torch.rand(spec.batch_size, 3, height, width, generator=generator)
    others[0] = images[0]
    with torch.inference_mode():
        try:
            maps, beside = backbone(images), backbone(others)
        except UserError:
            raise
        except Exception as error:  # it can fail anywhere in the module's own code
            raise UserError(
                f"{spec.weights} does not take {spec.batch_size} images of {height} x {width} ({_reason(error)}): set "
                "batch_size and image_size (or tiling.tile) to what it was exported with, which is all that an "
                "exported program takes unless its dimensions were declared dynamic, or export it for these"
            ) from error
    for layer, values in maps.items():
        if wrong := _describe_wrong(values, spec.batch_size):
            raise UserError(
                f"layer '{layer}' of {spec.weights} gives {wrong} for {spec.batch_size} images, not maps "
                "[images, channels, rows, columns] of finite floating-point numbers"
            )
        if (values[0] - beside[layer][0]).abs().max() > TOLERANCE * values[0].abs().max():
            raise UserError(
                f"layer '{layer}' of {spec.weights}: an image's maps change with the images beside it, or by chance; "
                "export the module in evaluation mode (module.eval())"
            )


def _describe_wrong(values: Any, count: int) -> str | None:
    """What stands in the place of an output that is no maps of `count` images; None for maps."""
    if not isinstance(values, Tensor):
        return type(values).__name__
    if values.ndim != 4 or len(values) != count or not values.numel():
        return str(tuple(values.shape))
    if not values.is_floating_point():
        return f"{tuple(values.shape)} of {str(values.dtype).removeprefix('torch.')}"
    return None if values.isfinite().all() else f"{tuple(values.shape)} with NaN or infinite values"


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[-1] if lines[0].startswith("The following operation failed") else lines[0].rstrip(" .:")
