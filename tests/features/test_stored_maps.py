from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from patchshift.features import stored_maps
from patchshift.features.stored_maps import StoredMaps, widen

MAPS = np.random.default_rng(0).normal(size=(7, 4, 5, 2)).astype(np.float16)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Maps of seven images; the second image was written last."""
    path = tmp_path / "maps.h5"
    with h5py.File(path, "w") as file:
        array = file.create_dataset("fine", MAPS.shape, np.float16, chunks=(1, *MAPS.shape[1:]))
        for image in (0, 2, 3, 4, 5, 6, 1):
            array[image] = MAPS[image]
    return path


@pytest.fixture
def readers() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as readers:
        yield readers


def test_every_finite_float16_is_widened_exactly() -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    values = every[np.isfinite(every)]
    wide = np.empty(values.shape, np.float32)
    widen(values, wide)
    np.testing.assert_array_equal(wide.view(np.uint32), values.astype(np.float32).view(np.uint32))  # signs of zero too


@pytest.mark.parametrize("step", [1, 320, 1000, 10**6])
@pytest.mark.parametrize("rows", [[], [4], [0, 1, 2, 3, 4, 5, 6], [6, 1, 1, 0, 5, 2]])
def test_images_are_found_wherever_they_lie_in_the_file_however_many_are_read_at_a_time(
    path: Path, readers: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, rows: list[int], step: int
) -> None:
    monkeypatch.setattr(stored_maps, "STEP", step)
    with h5py.File(path) as file, path.open("rb") as content:
        maps = StoredMaps(file["fine"], content.fileno())
        assert maps.shape == (4, 5, 2)
        read = maps.read(np.array(rows, np.int64), readers)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, MAPS[rows].astype(np.float32))


def test_a_file_that_was_cut_while_it_was_open_is_an_error(path: Path, readers: ThreadPoolExecutor) -> None:
    with h5py.File(path) as file, path.open("rb") as content:
        maps = StoredMaps(file["fine"], content.fileno())
        with path.open("r+b") as damaged:
            damaged.truncate(path.stat().st_size - 1)
        with pytest.raises(ValueError, match="the file ends too early"):
            maps.read(np.arange(7), readers)
