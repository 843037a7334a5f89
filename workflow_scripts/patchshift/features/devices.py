"""The devices that backbones run on: which one, its name, and what only CUDA has.

Functions that take a device do nothing special on a CPU, so that one code serves both.
Tested in tests/features/test_devices.py.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from patchshift.errors import UserError

Float16 = npt.NDArray[np.float16]
Maps = dict[str, Float16]
"""Layer name -> [n, rows, columns, channels], as stored."""

CPU = torch.device("cpu")
SHORT_MEMORY = ("CUDA out of memory", "CUDA error: out of memory", "_ALLOC_FAILED", "_ALLOCATION_FAILED")
"""What errors say that are not torch's error of short memory but come from it."""

AUTOCAST = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def choose_device(wanted: str) -> torch.device:
    """The device that `auto`, `cpu` or `cuda` stands for; `auto` is CUDA where there is any.

    Raises:
        UserError: for `cuda` where there is none.
    """
    available = torch.cuda.is_available()
    if wanted == "cuda" and not available:
        build = "no CUDA device is visible" if torch.version.cuda else "this build of torch has no CUDA"
        raise UserError(f"device: 'cuda' is asked for, but {build} (torch {torch.__version__}): set `device: auto`")
    return torch.device("cuda", torch.cuda.current_device()) if available and wanted != "cpu" else CPU


def describe_device(device: torch.device) -> str:
    """`cpu`, or `cuda: ` and the name of the card."""
    return f"cuda: {torch.cuda.get_device_name(device)}" if device.type == "cuda" else device.type


def precision_on(device: torch.device, precision: str) -> str:
    """The precision of a forward pass: what the spec says on CUDA, `float32` elsewhere."""
    return precision if device.type == "cuda" else "float32"


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """What a forward pass of that precision runs in; nothing for `float32` and on a CPU."""
    if precision_on(device, precision) == "float32":
        return nullcontext()
    return torch.autocast(device.type, AUTOCAST[precision])


def place(backbone: nn.Module, device: torch.device) -> nn.Module:
    """Move a backbone to a device, and let float32 there be what it says (no TF32).

    Raises:
        UserError: if it does not fit in the device's memory.
    """
    if device.type != "cuda":
        return backbone
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        return backbone.to(device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            f"the backbone does not fit in the free memory of {describe_device(device)}: free some, or set "
            "`device: cpu`"
        ) from error


def send(pixels: Tensor, device: torch.device) -> Tensor:
    """Pixels on the device; pinned ones arrive while the caller goes on."""
    return pixels.to(device, non_blocking=True)


def is_out_of_memory(error: Exception) -> bool:
    """Whether the device's memory was too short, as torch, its interpreter or a library below them puts it."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    # TorchScript raises its own error, which quotes the one of torch.
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SHORT_MEMORY)


def release_memory(device: torch.device) -> None:
    """Give freed memory back to the device, in whatever sizes it was kept."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # memory that a copy still reads is not free yet
        torch.cuda.empty_cache()


def open_copy_stream(device: torch.device) -> torch.cuda.Stream | None:
    """A queue for copies that go on while the device computes; None where nothing is copied."""
    return torch.cuda.Stream(device) if device.type == "cuda" else None


def copy_back(maps: dict[str, Tensor], stream: torch.cuda.Stream | None) -> Callable[[], Maps]:
    """Begin to copy maps from their device.

    Args:
        maps: layer name -> [n, rows, columns, channels] float16.
        stream: from `open_copy_stream` of their device.

    Returns:
        A function that waits for the copies and returns them.
    """
    if stream is None:
        return lambda: {layer: values.numpy() for layer, values in maps.items()}
    stream.wait_stream(torch.cuda.current_stream(stream.device))
    copies = {}
    with torch.cuda.stream(stream):
        for layer, values in maps.items():
            values.record_stream(stream)  # its memory is not reused before the copy is done
            copies[layer] = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            copies[layer].copy_(values, non_blocking=True)
        done = stream.record_event()

    def wait() -> Maps:
        done.synchronize()
        return {layer: values.numpy() for layer, values in copies.items()}

    return wait
