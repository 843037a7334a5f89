import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import center_of_mass

from patchshift.data.shifts.geometric import GEOMETRIC, draw_warp, warp_image, warp_mask
from patchshift.data.shifts.severities import LEVELS

SIZES = [(1, 1), (1, 40), (17, 231), (90, 61)]


def matrix_of(name: str, size: tuple[int, int], strength: float, seed: int) -> np.ndarray:
    return draw_warp(size, {name: LEVELS[name].between(strength)}, {name: np.random.default_rng(seed)})


def square(size: tuple[int, int] = (120, 160)) -> tuple[np.ndarray, np.ndarray]:
    """A bright square on grey, and its mask."""
    mask = np.zeros(size, bool)
    mask[40:64, 80:110] = True
    return np.where(mask[..., None], 240, 60).astype(np.uint8).repeat(3, 2), mask


@pytest.mark.parametrize("strength", [1, 2, 3])
@pytest.mark.parametrize("name", GEOMETRIC)
def test_the_mask_moves_with_the_image(name: str, strength: int) -> None:
    image, mask = square()
    for seed in range(8):
        matrix = matrix_of(name, mask.shape, strength, seed)
        bright, moved = warp_image(image, matrix)[..., 0] > 150, warp_mask(mask, matrix)
        assert np.count_nonzero(bright & moved) > 0.95 * np.count_nonzero(bright | moved)
        assert np.hypot(*np.subtract(center_of_mass(bright), center_of_mass(moved))) < 0.3


@pytest.mark.parametrize("name", GEOMETRIC)
def test_each_severity_moves_a_mark_further_in_the_same_direction(name: str) -> None:
    mark = np.array([130.0, 20.0, 1.0])
    for seed in range(8):
        ways = []
        for strength in (0, 1, 2, 3):
            x, y, w = np.linalg.inv(matrix_of(name, (120, 160), strength, seed)) @ mark
            ways.append(np.array([x / w, y / w]) - mark[:2])
        assert np.abs(ways[0]).max() < 1e-9
        lengths = np.linalg.norm(ways, axis=1)
        assert (np.diff(lengths) > 0).all()
        assert all(way @ ways[1] > 0.9 * np.linalg.norm(way) * lengths[1] for way in ways[2:])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", GEOMETRIC)
def test_nothing_enters_at_the_borders_whatever_the_size(name: str, size: tuple[int, int]) -> None:
    """Beyond the frame lies the mirrored image: its values, and no others."""
    image = np.random.default_rng(0).integers(200, 230, (*size, 3), np.uint8)
    for seed in range(4):
        matrix = matrix_of(name, size, 3, seed)
        moved = warp_image(image, matrix)
        assert moved.shape == image.shape
        assert image.min() <= moved.min() <= moved.max() <= image.max()
        assert warp_mask(np.ones(size, bool), matrix).all()


def test_far_beyond_the_frame_the_image_is_mirrored_again_and_again() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    shifted = warp_image(image, np.array([[1, 0, -9], [0, 1, 7], [0, 0, 1.0]]))
    mirrored = np.pad(image, 12, mode="symmetric")
    np.testing.assert_array_equal(shifted, mirrored[12 + 7 : 12 + 7 + 3, 12 - 9 : 12 - 9 + 4])


@pytest.mark.parametrize("name", GEOMETRIC)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_an_image_does_not_move_without_strength(name: str, height: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    image, mask = random.integers(0, 256, (height, width, 3), np.uint8), random.random((height, width)) < 0.5
    matrix = matrix_of(name, mask.shape, 0, seed)
    np.testing.assert_array_equal(warp_image(image, matrix), image)
    np.testing.assert_array_equal(warp_mask(mask, matrix), mask)


def marks(matrix: np.ndarray) -> tuple[float, float, float]:
    """From where two marks go: the angle of the line between them, its length, and the middle's way."""
    image = np.zeros((200, 200), np.uint8)
    image[96:104, 56:64] = image[96:104, 136:144] = 255
    bright = warp_image(image, matrix) > 128
    columns = np.arange(200)[None, :]
    left, right = (np.array(center_of_mass(bright & side)) for side in (columns < 100, columns >= 100))
    down, across = right - left
    way = np.abs((left + right) / 2 - 99.5).max()
    return float(np.degrees(np.arctan2(down, across))), float(np.hypot(down, across)), float(way)


@pytest.mark.parametrize(("strength", "degrees"), [(1, 5), (2, 10), (3, 20)])
def test_rotations_stay_in_their_range_about_the_centre(strength: int, degrees: float) -> None:
    turns, lengths, ways = np.array([marks(matrix_of("rotation", (200, 200), strength, seed)) for seed in range(20)]).T
    assert 0.7 * degrees < np.abs(turns).max() <= degrees + 0.3
    assert turns.min() < 0 < turns.max()
    np.testing.assert_allclose(lengths, 80, atol=0.5)
    assert ways.max() < 0.5


@pytest.mark.parametrize(("strength", "share"), [(1, 0.95), (2, 0.9), (3, 0.8)])
def test_crops_keep_their_share_of_the_area(strength: int, share: float) -> None:
    turns, lengths, _ = np.array([marks(matrix_of("crop", (200, 200), strength, seed)) for seed in range(20)]).T
    shares = (80 / lengths) ** 2
    assert share - 0.01 <= shares.min() < share + 0.03
    assert shares.max() <= 1.01
    assert np.abs(turns).max() < 0.3


@given(st.sampled_from(["crop"]), st.floats(0, 3), st.integers(0, 2**32 - 1))
def test_a_crop_lies_inside_the_image(name: str, strength: float, seed: int) -> None:
    height, width = 37, 90
    matrix = matrix_of(name, (height, width), strength, seed)
    corners = matrix @ np.array([[-0.5, -0.5, 1], [width - 0.5, height - 0.5, 1]]).T
    assert (corners[:2] >= -0.5 - 1e-9).all()
    assert (corners[0] <= width - 0.5 + 1e-9).all()
    assert (corners[1] <= height - 0.5 + 1e-9).all()


def test_several_transforms_are_one_warp_in_the_order_named() -> None:
    """A mark goes where one transform after the other takes it; the pixels are read only once."""
    size, names = (80, 120), ["rotation", "translation", "perspective"]
    amounts = {name: LEVELS[name].between(3) for name in names}
    streams = {name: np.random.default_rng(number) for number, name in enumerate(names)}
    whole = np.linalg.inv(draw_warp(size, amounts, streams))
    mark = np.array([30.0, 50.0, 1.0])
    step = mark
    for number, name in enumerate(names):
        step = np.linalg.inv(matrix_of(name, size, 3, number)) @ step
    expected, found = step / step[2], whole @ mark
    np.testing.assert_allclose(found / found[2], expected)
    backwards = draw_warp(
        size,
        {name: amounts[name] for name in reversed(names)},
        {name: np.random.default_rng(number) for number, name in enumerate(names)},
    )
    assert not np.allclose(np.linalg.inv(backwards) @ mark, whole @ mark, atol=0.1)
