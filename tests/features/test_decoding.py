import multiprocessing
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from patchshift.data.images import read_resized
from patchshift.errors import UserError
from patchshift.features import decoding
from patchshift.features.decoding import Batch, ImageBatches, count_workers, decode_in_processes

SIZE = (20, 12)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, str | None]]:
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    paths = [folder / f"{number}.png" for number in range(7)]
    for path in paths:
        Image.fromarray(generator.integers(0, 256, (31, 17, 3), np.uint8)).save(path)
    return [(path, None) for path in paths]


def test_batches_are_of_full_size_the_last_one_padded_with_black(files: list[tuple[Path, str | None]]) -> None:
    batches = ImageBatches(files, 3, SIZE)
    assert len(batches) == 3
    found = [batches[index] for index in range(3)]
    assert [batch.count for batch in found] == [3, 3, 1]
    pixels = torch.cat([batch.pixels for batch in found])
    assert pixels.shape == (9, *SIZE, 3)
    assert pixels.dtype == torch.uint8
    for row, (path, _) in enumerate(files):
        np.testing.assert_array_equal(pixels[row].numpy(), read_resized(path, SIZE))
    assert not pixels[7:].any()


def test_bad_files_are_named_and_the_others_of_their_batch_decoded(files: list[tuple[Path, str | None]]) -> None:
    batch = ImageBatches([files[0], (Path("absent.png"), None), (files[1][0], "0" * 64)], 3, SIZE)[0]
    assert batch.count == 3
    assert len(batch.mistakes) == 2
    assert "absent.png: cannot be read" in batch.mistakes[0]
    assert "changed since it was indexed" in batch.mistakes[1]
    assert batch.pixels[0].any()
    assert not batch.pixels[1:].any()


def test_processes_decode_the_same_in_the_same_order(files: list[tuple[Path, str | None]]) -> None:
    batches = ImageBatches([*files, (Path("absent.png"), None)], 2, SIZE)
    torch_state, python_state = torch.get_rng_state(), random.getstate()
    with decode_in_processes(batches, 2) as decoded:
        found = list(decoded)
    for index, batch in enumerate(found):
        expected = batches[index]
        assert (batch.count, batch.mistakes) == (expected.count, expected.mistakes)
        assert torch.equal(batch.pixels, expected.pixels)
    assert len(found) == len(batches)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert random.getstate() == python_state


def test_no_more_processes_start_than_there_are_batches_and_none_is_left(
    files: list[tuple[Path, str | None]],
) -> None:
    with decode_in_processes(ImageBatches(files, 4, SIZE), 8) as decoded:
        assert len(multiprocessing.active_children()) == 2
        next(decoded)
    assert multiprocessing.active_children() == []


def test_pixels_come_in_shared_memory(files: list[tuple[Path, str | None]]) -> None:
    batches = ImageBatches(files, 4, SIZE)
    assert not batches[0].pixels.is_shared()
    with decode_in_processes(batches, 1) as decoded:
        assert next(decoded).pixels.is_shared()


def test_too_little_shared_memory_names_the_setting(
    files: list[tuple[Path, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(tensor: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", refuse)  # in workers, which are copies of this process
    with (
        pytest.raises(UserError, match="need more shared memory than /dev/shm has: set `num_workers: 0`"),
        decode_in_processes(ImageBatches(files, 4, SIZE), 1) as decoded,
    ):
        next(decoded)


def test_too_little_memory_names_the_setting(
    files: list[tuple[Path, str | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhaust(*_: Any, **__: Any) -> None:
        raise MemoryError("out of it")

    monkeypatch.setattr(decoding, "read_resized", exhaust)
    with (
        pytest.raises(UserError, match=r"ended before its work was done \(Caught MemoryError.* or to 0"),
        decode_in_processes(ImageBatches(files, 4, SIZE), 1) as decoded,
    ):
        next(decoded)


def test_other_errors_stay_what_they_are(files: list[tuple[Path, str | None]]) -> None:
    with pytest.raises(RuntimeError, match="shared memory"), decode_in_processes(ImageBatches(files, 4, SIZE), 1):
        raise RuntimeError("too many resources requested: shared memory of the card")


@pytest.mark.parametrize(("cores", "workers"), [(3, 3), (64, 8)])
def test_by_default_processes_decode_for_cuda_only_one_per_core_but_few(
    monkeypatch: pytest.MonkeyPatch, cores: int, workers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert count_workers(None, cpu) == 0
    assert count_workers(None, cuda) == workers
    assert [count_workers(3, device) for device in (cpu, cuda)] == [3, 3]
    assert count_workers(0, cuda) == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_pixels_are_pinned_on_request(files: list[tuple[Path, str | None]]) -> None:
    with decode_in_processes(ImageBatches(files, 4, SIZE), 1, pin_memory=True) as decoded:
        batch = next(decoded)
    assert isinstance(batch, Batch)
    assert batch.pixels.is_pinned()
