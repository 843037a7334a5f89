import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save

from patchshift.data.weight_files import find_fault

TENSORS = {"conv.weight": np.arange(12, dtype=np.float32).reshape(3, 4), "steps": np.array(3)}
SAFETENSORS = save(TENSORS, metadata={"format": "pt"})
PAGE = b"<!DOCTYPE html><html><body>Sign in to download</body></html>" * 20
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 12345\n"


class Doubled(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images * 2


def find(content: bytes, name: str, folder: Path) -> str | None:
    path = folder / "downloaded"
    path.write_bytes(content)
    return find_fault(path, name)


def in_memory(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def zipped(*members: str) -> bytes:
    def write(buffer: io.BytesIO) -> None:
        with zipfile.ZipFile(buffer, "w") as archive:
            for member in members:
                archive.writestr(member, b"content")

    return in_memory(write)


STATE = {"weight": torch.zeros(3)}
TORCH = in_memory(lambda buffer: torch.save(STATE, buffer))
LEGACY = in_memory(lambda buffer: torch.save(STATE, buffer, _use_new_zipfile_serialization=False))
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # torch's own: users have such files all the same
    SCRIPTED = in_memory(lambda buffer: torch.jit.save(torch.jit.script(Doubled()), buffer))
EXPORTED = in_memory(
    lambda buffer: torch.export.save(torch.export.export(Doubled(), (torch.zeros(1, 3, 8, 8),)), buffer)
)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (SAFETENSORS, "a.safetensors"),
        (save({"empty": np.zeros((0, 3), np.float32)}), "a.safetensors"),
        (TORCH, "a.pth"),
        (TORCH, "a.bin"),
        (LEGACY, "a.pth"),
        (SCRIPTED, "a.pt"),
        (SCRIPTED, "a.pts"),
        (EXPORTED, "a.pt2"),
    ],
)
def test_what_safetensors_and_torch_write_is_taken(content: bytes, name: str, tmp_path: Path) -> None:
    assert find(content, name, tmp_path) is None


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.pt", "a.bin", "a.pts", "a.pt2"])
@pytest.mark.parametrize("content", [b"", b"{}", b'{"error": "no access"}', PAGE, POINTER, b"\x80\x02}q\x00."])
def test_what_servers_send_in_their_place_is_refused(content: bytes, name: str, tmp_path: Path) -> None:
    fault = find(content, name, tmp_path)
    assert fault.startswith(
        "not a safetensors file: it has no header" if name == "a.safetensors" else "no file of torch"
    )


@given(st.integers(0, len(SAFETENSORS) - 1))
def test_no_part_of_a_safetensors_file_passes_for_the_whole(
    tmp_path_factory: pytest.TempPathFactory, length: int
) -> None:
    assert find(SAFETENSORS[:length], "a.safetensors", tmp_path_factory.getbasetemp())


@given(st.binary(max_size=200))
def test_any_header_is_taken_or_refused_without_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, header: bytes
) -> None:
    content = len(header).to_bytes(8, "little") + header + b"tensors"
    assert find(content, "a.safetensors", tmp_path_factory.getbasetemp())


@pytest.mark.parametrize(
    ("header", "fault"),
    [
        (b"[" * 50_000, "its header is damaged"),
        (json.dumps(["weight"]).encode(), "its header is damaged"),
        (json.dumps({"weight": [0, 4]}).encode(), "its header is damaged"),
        (json.dumps({"weight": {"data_offsets": [4]}}).encode(), "its header is damaged"),
        (json.dumps({"weight": {"data_offsets": None}}).encode(), "its header is damaged"),
        (json.dumps({"__metadata__": {}}).encode(), "no weights: it holds no tensor"),
        (json.dumps({"weight": {"data_offsets": [0, 8]}}).encode(), "it holds 4 bytes of tensors, its header says 8"),
    ],
)
def test_a_header_that_describes_no_tensors_is_refused(header: bytes, fault: str, tmp_path: Path) -> None:
    assert fault in str(find(len(header).to_bytes(8, "little") + header + b"\0" * 4, "a.safetensors", tmp_path))


def test_a_zip_file_of_torch_is_whole_and_holds_what_torch_loads(tmp_path: Path) -> None:
    assert "its end is missing" in str(find(TORCH[: len(TORCH) // 2], "a.pth", tmp_path))
    assert "a zip file of something else" in str(find(zipped("images/0.png", "data.pkl.txt"), "a.pth", tmp_path))


def test_weights_of_one_kind_do_not_pass_for_the_other(tmp_path: Path) -> None:
    assert "no file of torch" in str(find(SAFETENSORS, "a.pth", tmp_path))
    for content in (TORCH, LEGACY):
        assert "not a safetensors file" in str(find(content, "a.safetensors", tmp_path))
