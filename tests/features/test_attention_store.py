from pathlib import Path

import numpy as np
import pytest

from patchshift.errors import UserError
from patchshift.features.attention_store import AttentionMaps


def make(undefined: str = "") -> AttentionMaps:
    random = np.random.default_rng(0)
    maps, others = random.random((2, 3, 4, 5)).astype(np.float32), random.random((2, 3)).astype(np.float32)
    return AttentionMaps(["a.png", "b.png"], "block7", maps, others, undefined)


def test_what_was_saved_is_read_back(tmp_path: Path) -> None:
    made = make()
    made.save(tmp_path / "attention.h5", {"stage": "trace_attention"})
    read = AttentionMaps.read(tmp_path / "attention.h5")
    assert (read.images, read.block, read.undefined) == (made.images, made.block, "")
    np.testing.assert_array_equal(read.maps, made.maps)
    np.testing.assert_array_equal(read.others, made.others)


def test_a_reason_for_having_none_is_kept(tmp_path: Path) -> None:
    empty = AttentionMaps([], "block1", np.zeros((0, 0, 0, 0), np.float32), np.zeros((0, 0), np.float32), "none")
    empty.save(tmp_path / "attention.h5", {})
    read = AttentionMaps.read(tmp_path / "attention.h5")
    assert (read.images, read.maps.shape, read.undefined) == ([], (0, 0, 0, 0), "none")


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make().save(tmp_path / name, {"stage": "trace_attention"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "attention.h5"
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"attention\.h5 is not a whole file of attention maps"):
        AttentionMaps.read(path)
