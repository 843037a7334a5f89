import math
from pathlib import Path

import numpy as np
import pytest

from patchshift.errors import UserError
from patchshift.evaluation.inspection_store import Inspection, PatchMap
from patchshift.evaluation.separability import Separation


def make(*, empty: bool = False) -> Inspection:
    random = np.random.default_rng(0)
    if empty:
        return Inspection(PatchMap([], [], {}, False, 0.0), [], [], {"layer9": np.zeros((0, 2, 3), np.float32)})
    points = {method: random.random((3, 2)).astype(np.float32) for method in ("umap", "tsne")}
    rows = [
        Separation("layer2", "dent", 3, 6, 0.9, 0.8, 1.0, 0.75),
        Separation("layer10", "dent", 3, 0, math.nan, math.nan, math.nan, math.nan),
    ]
    energies = {layer: random.random((2, 4, 5)).astype(np.float32) for layer in ("layer2", "layer10", "images")}
    return Inspection(PatchMap(["a", "b", "a"], ["", "dent", ""], points, True, 0.5), rows, ["b", "a"], energies)


@pytest.mark.parametrize("empty", [False, True])
def test_what_was_saved_is_read_back_in_its_order(tmp_path: Path, empty: bool) -> None:
    made = make(empty=empty)
    made.save(tmp_path / "look.h5", {"stage": "inspect_features"})
    read = Inspection.read(tmp_path / "look.h5")
    for name in ("images", "defects", "located", "variance"):
        assert getattr(read.patches, name) == getattr(made.patches, name)
    assert repr(read.separations) == repr(made.separations)  # NaN equals nothing
    assert read.shown == made.shown
    for found, expected in ((read.patches.coordinates, made.patches.coordinates), (read.energies, made.energies)):
        assert list(found) == list(expected)
        for key, values in expected.items():
            np.testing.assert_array_equal(found[key], values)


def test_saving_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make().save(tmp_path / name, {"stage": "inspect_features"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "look.h5"
    path.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"look\.h5 is not a whole inspection"):
        Inspection.read(path)
