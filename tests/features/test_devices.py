from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from patchshift.errors import UserError
from patchshift.features import devices

CUDA = torch.device("cuda", 0)


def test_auto_is_the_cpu_where_there_is_no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert devices.choose_device("auto") == devices.choose_device("cpu") == devices.CPU
    assert devices.describe_device(devices.CPU) == "cpu"


def test_auto_is_cuda_where_there_is_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"Card {device.index}")
    assert devices.choose_device("auto") == devices.choose_device("cuda") == CUDA
    assert devices.choose_device("cpu") == devices.CPU
    assert devices.describe_device(CUDA) == "cuda: Card 0"


def test_cuda_without_cuda_is_one_clear_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"device: 'cuda' is asked for, but .*: set `device: auto`"):
        devices.choose_device("cuda")


def test_autocast_is_for_low_precision_on_cuda_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(torch, "autocast", lambda *arguments: asked.append(arguments) or nullcontext())
    for device in (devices.CPU, CUDA):
        for precision in ("float32", "float16", "bfloat16"):
            with devices.autocast(device, precision):
                pass
    assert asked == [("cuda", torch.float16), ("cuda", torch.bfloat16)]
    assert devices.precision_on(devices.CPU, "float16") == "float32"
    assert devices.precision_on(CUDA, "float16") == "float16"


class Module(torch.nn.Module):
    """Remembers where it was sent, or cannot be sent."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__()
        self.error, self.sent = error, []

    def to(self, device: torch.device) -> "Module":  # type: ignore[override]
        if self.error:
            raise self.error
        self.sent.append(device)
        return self


def test_a_backbone_moves_to_cuda_only_where_float32_stays_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = True
    try:
        module = Module()
        assert devices.place(module, devices.CPU) is module
        assert module.sent == []
        devices.place(module, CUDA)
        assert module.sent == [CUDA]
        assert not matmul.allow_tf32
        assert not cudnn.allow_tf32
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("CUDA error: out of memory\nCUDA kernel ...")]
)
def test_a_backbone_that_does_not_fit_is_the_users_to_mend(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Card")
    with pytest.raises(UserError, match=r"does not fit in the free memory of cuda: Card.*`device: cpu`"):
        devices.place(Module(error), CUDA)


def test_a_backbone_that_cannot_be_moved_for_another_reason_keeps_its_error() -> None:
    with pytest.raises(RuntimeError, match="illegal memory access"):
        devices.place(Module(RuntimeError("CUDA error: an illegal memory access was encountered")), CUDA)


def test_short_memory_is_told_from_other_errors() -> None:
    assert devices.is_out_of_memory(torch.cuda.OutOfMemoryError("CUDA out of memory"))
    for words in (
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling ...",
        "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    ):
        assert devices.is_out_of_memory(RuntimeError(words))
    quoted = "The following operation failed in the TorchScript interpreter.\nRuntimeError: CUDA out of memory. Tried"
    assert devices.is_out_of_memory(RuntimeError(quoted))
    assert not devices.is_out_of_memory(ValueError("CUDA out of memory"))
    assert not devices.is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


def test_only_cuda_is_asked_for_streams_and_to_release_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    fake = SimpleNamespace(
        Stream=lambda device: asked.append("stream"),
        synchronize=lambda device: asked.append("synchronize"),
        empty_cache=lambda: asked.append("empty"),
    )
    monkeypatch.setattr(torch, "cuda", fake)
    assert devices.open_copy_stream(devices.CPU) is None
    devices.release_memory(devices.CPU)
    assert asked == []
    devices.open_copy_stream(CUDA)
    devices.release_memory(CUDA)
    assert asked == ["stream", "synchronize", "empty"]


def test_maps_come_back_as_they_are_on_a_cpu() -> None:
    maps = {"layer": torch.arange(6, dtype=torch.float16).reshape(1, 1, 2, 3)}
    copied = devices.copy_back(maps, None)()
    np.testing.assert_array_equal(copied["layer"], maps["layer"].numpy())
    assert devices.send(maps["layer"], devices.CPU) is maps["layer"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_maps_come_back_from_cuda_while_it_goes_on() -> None:
    device = devices.choose_device("cuda")
    stream = devices.open_copy_stream(device)
    values = torch.rand(4, 50, 50, 64, dtype=torch.float16, generator=torch.Generator().manual_seed(0))
    waits = [devices.copy_back({"layer": devices.send(values.pin_memory(), device) + i}, stream) for i in range(5)]
    for i, wait in enumerate(waits):
        np.testing.assert_array_equal(wait()["layer"], (values + i).numpy())
