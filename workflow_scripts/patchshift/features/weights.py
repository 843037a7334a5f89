"""Read weight files and fill networks with them: all that a network needs, and nothing that it does not know.

A file is taken as it is. Weights keep the names that the library (timm, torchvision) gives them; no file is renamed,
reshaped or resampled to make it fit. So checkpoints in other names, such as the original ones of DINOv2, DINOv3 or
OpenAI, are refused: timm publishes all of them in its own names.

Tested in tests/features/test_weights_loading.py.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from patchshift.data.weight_files import ZIP, check_receipt, find_fault
from patchshift.errors import UserError
from patchshift.plan.backbone_specs import PICKLED, SAFE

NESTED = ("state_dict", "model")
"""Keys under which checkpoints of a training keep the network's weights."""

COMPUTED = ("num_batches_tracked", "rope.periods", "rope.freqs_cos", "rope.freqs_sin")
"""How names end that hold no weights: counters of seen batches, and rotary embeddings, which timm computes anew. Some
files have them and some lack them."""

NAMED = 10
"""How many weights an error names."""


def find_file(name: str, weights_dir: Path | None, *, owner: str, kind: str, remedy: str) -> Path:
    """Where a backbone's file is.

    Args:
        name: the file's name in `weights_dir`.
        weights_dir: folder of weight files, if the config has one.
        owner: what needs the file, for messages.
        kind: what the file is, for messages.
        remedy: how to bring it, for messages.

    Raises:
        UserError: if there is no folder, or no file.
    """
    if weights_dir is None:
        raise UserError(f"{owner} needs '{name}': set weights_dir to the folder that holds it")
    path = weights_dir / name
    if not path.is_file():
        raise UserError(f"no {kind} file {path}: {remedy}, or set weights_dir to the folder that holds it")
    return path


def load_weights(path: Path) -> dict[str, Tensor]:
    """The weights in a file, on the CPU, by name.

    Values are mapped from the file where its format allows that, so names and shapes can be looked at before anything
    large is read, and weights that nobody takes are never read.

    Args:
        path: a safetensors file (`.safetensors`), or a dict of tensors as torch.save writes it (`.pth`, `.pt`,
            `.bin`), possibly under "state_dict" or "model". The latter is a pickle, of which torch reads only what
            plain tensors need: nothing in the file is run. If a receipt of its download lies beside it, the file must
            still be the one that was downloaded.

    Raises:
        UserError: if the file is not there, damaged, of another kind, not the one its receipt names, or would have to
            run code to be read.
    """
    if not path.is_file():
        raise UserError(f"no weight file {path}: bring it there")
    check_receipt(path)
    if path.name.endswith(SAFE):
        return _read_safetensors(path)
    if path.name.endswith(PICKLED):
        return _read_pickle(path)
    raise UserError(f"{path} is no weight file (known: {', '.join(SAFE + PICKLED)}): convert it to safetensors")


def fill_weights(network: nn.Module, path: Path, *, known: Collection[str], model: str) -> None:
    """Fill all parameters and buffers of a network from a file.

    Args:
        network: the part of a model that is used.
        path: see `load_weights`.
        known: names in the whole model: what the file may hold besides.
        model: the model's name, for messages.

    Raises:
        UserError: if the file lacks a weight, has one of the wrong shape, or one that the model does not know.
    """
    weights, expected = load_weights(path), network.state_dict()
    shapes = {name: tuple(value.shape) for name, value in expected.items()}
    missing = [name for name in expected if name not in weights and not name.endswith(COMPUTED)]
    foreign = sorted(name for name in weights.keys() - set(known) if not name.endswith(COMPUTED))
    misshapen = [
        f"{name} {list(weights[name].shape)} instead of {list(shape)}"
        for name, shape in shapes.items()
        if name in weights and tuple(weights[name].shape) != shape
    ]
    for fault, names, remedy in (
        ("lacks", missing, "all weights of the model, or choose earlier layers"),
        ("has the wrong shape of", misshapen, "the weights of this model"),
        ("has unknown weights", foreign, "the weights of this model"),
    ):
        if names:
            listed = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
            raise UserError(f"{path} does not fit {model}: it {fault} {listed}; bring {remedy}")
    network.load_state_dict({name: weights[name] for name in expected if name in weights}, strict=False)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is not a whole safetensors file ({error}): fetch it again") from error


def _read_pickle(path: Path) -> dict[str, Tensor]:
    if fault := find_fault(path, path.name):
        raise UserError(f"{path} holds no weights: {fault}: fetch it again")
    with path.open("rb") as file:
        mappable = file.read(len(ZIP)) == ZIP  # as torch.save writes since version 1.6
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mappable)
    except Exception as error:  # a damaged or malicious file can fail anywhere in torch's reader
        raise UserError(
            f"{path} cannot be read as plain tensors ({_reason(error)}); nothing in it was run: fetch it again from "
            "where you trust it, or convert it to safetensors if you know who wrote it"
        ) from error
    weights = next((content[key] for key in NESTED if _is_mapping(content) and _is_mapping(content.get(key))), content)
    if not _is_mapping(weights) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise UserError(f"{path} holds no plain dict of tensors by name: convert its weights to safetensors")
    return dict(weights)


def _reason(error: Exception) -> str:
    """What torch could not read, without its advice to run it all the same."""
    text = str(error) or type(error).__name__
    refused = re.search(r"unsupported [^\n]*", text, re.IGNORECASE)
    return (refused[0] if refused else text).split(". ")[0].strip(" .\n")


def _is_mapping(content: Any) -> bool:
    return isinstance(content, Mapping)
