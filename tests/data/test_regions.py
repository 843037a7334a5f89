from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from patchshift.data.index import ImageRow, add_digests
from patchshift.data.packs import write_pack
from patchshift.data.regions import (
    defective_patches,
    ignore_patches,
    measure_patch_shares,
    read_defective_patches,
    read_ignored_patches,
)
from patchshift.errors import UserError

LENGTHS = st.integers(1, 13)


def shared(start: Fraction, end: Fraction, pixel: int) -> Fraction:
    return max(Fraction(0), min(end, Fraction(pixel + 1)) - max(start, Fraction(pixel)))


@settings(deadline=None)
@given(LENGTHS, LENGTHS, LENGTHS, LENGTHS, st.integers(0, 999))
def test_a_patch_is_ignored_if_more_than_half_of_its_area_is(
    height: int, width: int, rows: int, columns: int, seed: int
) -> None:
    ignore = np.random.default_rng(seed).random((height, width)) < 0.5
    found = ignore_patches(ignore, (rows, columns))
    assert found.shape == (rows, columns)
    for row in range(rows):
        for column in range(columns):
            top, left = Fraction(row * height, rows), Fraction(column * width, columns)
            bottom, right = top + Fraction(height, rows), left + Fraction(width, columns)
            area = sum(
                (shared(top, bottom, y) * shared(left, right, x) for y, x in np.argwhere(ignore).tolist()), Fraction(0)
            )
            assert found[row, column] == (2 * area > Fraction(height * width, rows * columns))


@settings(deadline=None)
@given(LENGTHS, LENGTHS, LENGTHS, LENGTHS, st.integers(0, 999))
def test_shares_of_patches_add_up_to_the_mask(height: int, width: int, rows: int, columns: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    shares = measure_patch_shares(mask, (rows, columns))
    assert shares.shape == (rows, columns)
    assert ((shares >= 0) & (shares <= 1)).all()
    assert shares.mean() == pytest.approx(mask.mean())
    np.testing.assert_array_equal(shares > 0.5, ignore_patches(mask, (rows, columns)))


def test_half_a_patch_is_not_ignored_whatever_the_rounding() -> None:
    ignore = np.zeros((7, 30), bool)
    ignore[:, :5] = True  # half of the first of three patches
    assert not ignore_patches(ignore, (7, 3)).any()
    ignore[3, 5] = True
    assert np.argwhere(ignore_patches(ignore, (7, 3))).tolist() == [[3, 0]]


@settings(deadline=None)
@given(LENGTHS, LENGTHS, st.integers(1, 20))
def test_all_or_nothing_stays_so_on_any_grid(height: int, width: int, patches: int) -> None:
    assert ignore_patches(np.ones((height, width), bool), (patches, patches)).all()
    assert not ignore_patches(np.zeros((height, width), bool), (patches, patches)).any()


@pytest.fixture
def rows(tmp_path: Path) -> list[ImageRow]:
    """Two images of different size, of which the second one's right half is ignored, and one without ignore mask."""
    for name, size in (("a", (8, 4)), ("b", (20, 10)), ("c", (8, 4))):
        Image.new("RGB", size).save(tmp_path / f"{name}.png")
        ignore = np.zeros(size[::-1], np.uint8)
        ignore[:, size[0] // 2 :] = name == "b"
        Image.fromarray(ignore).save(tmp_path / f"{name}_ignore.png")
    named = [ImageRow(f"{name}.png", "", "", 0, "", ignore=f"{name}_ignore.png") for name in "ab"]
    return add_digests([*named, ImageRow("c.png", "", "", 0, "")], tmp_path)


def test_ignored_patches_are_those_of_the_images_asked_for_in_their_order(tmp_path: Path, rows: list[ImageRow]) -> None:
    write_pack(tmp_path / "pack.h5", rows, tmp_path, {})
    ignored = read_ignored_patches(tmp_path / "pack.h5", ["c.png", "b.png"], (2, 4))
    assert ignored is not None
    assert ignored.tolist() == [[[False] * 4] * 2, [[False, False, True, True]] * 2]
    with pytest.raises(UserError, match=r"pack\.h5 lacks new\.png"):
        read_ignored_patches(tmp_path / "pack.h5", ["new.png"], (2, 4))


def test_without_ignore_masks_there_is_nothing_to_ignore(tmp_path: Path, rows: list[ImageRow]) -> None:
    write_pack(tmp_path / "pack.h5", rows[2:], tmp_path, {})
    assert read_ignored_patches(tmp_path / "pack.h5", ["c.png"], (2, 4)) is None


@settings(deadline=None)
@given(LENGTHS, LENGTHS, LENGTHS, LENGTHS, st.integers(0, 999), st.floats(0, 1))
def test_defective_patches_are_those_more_than_half_covered_or_else_the_most_covered_one(
    height: int, width: int, rows: int, columns: int, seed: int, density: float
) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < density
    found, filled = defective_patches(mask, (rows, columns)), ignore_patches(mask, (rows, columns))
    assert found.any() == mask.any()
    if filled.any():
        np.testing.assert_array_equal(found, filled)
    elif mask.any():
        shares = measure_patch_shares(mask, (rows, columns))
        assert found.sum() == 1
        assert shares[found] == shares.max()


def test_defective_patches_are_read_from_masks_without_what_is_ignored(tmp_path: Path) -> None:
    rows = []
    for name, box in (("a", (0, 0, 8, 2)), ("b", (2, 0, 3, 1)), ("none", (0, 0, 0, 0))):
        left, top, right, bottom = box
        Image.new("RGB", (8, 4)).save(tmp_path / f"{name}.png")
        mask, ignore = np.zeros((4, 8), np.uint8), np.zeros((4, 8), np.uint8)
        mask[top:bottom, left:right] = 7
        ignore[:, 4:] = name == "a"
        Image.fromarray(mask).save(tmp_path / f"{name}_mask.png")
        Image.fromarray(ignore).save(tmp_path / f"{name}_ignore.png")
        rows.append(ImageRow(f"{name}.png", f"{name}_mask.png", "", 1, "spot", ignore=f"{name}_ignore.png"))
    write_pack(tmp_path / "pack.h5", add_digests(rows, tmp_path), tmp_path, {})
    found = read_defective_patches(tmp_path / "pack.h5", ["none.png", "b.png", "a.png"], (2, 4))
    nothing = [False] * 4
    assert found.tolist() == [
        [nothing, nothing],
        [[False, True, False, False], nothing],
        [[True, True, False, False], nothing],
    ]
    with pytest.raises(UserError, match=r"pack\.h5 lacks new\.png"):
        read_defective_patches(tmp_path / "pack.h5", ["new.png"], (2, 4))
