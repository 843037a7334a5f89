import numpy as np
import pytest

from patchshift.data.shifts.photometric import PHOTOMETRIC
from patchshift.data.shifts.severities import LEVELS

COLOURS = ("saturation", "hue")
SIZES = [(1, 1), (17, 231), (230, 63)]


def apply(name: str, image: np.ndarray, strength: float, seed: int = 0) -> np.ndarray:
    return PHOTOMETRIC[name](image, LEVELS[name].between(strength), np.random.default_rng(seed))


def coloured(size: tuple[int, int] = (60, 80)) -> np.ndarray:
    """Smooth colours with some texture, far from black and white."""
    y, x = np.mgrid[: size[0], : size[1]]
    channels = [120 + 50 * np.sin(x / 9), 110 + 40 * np.cos(y / 7), 90 + 30 * np.sin((x + y) / 5)]
    texture = np.random.default_rng(0).integers(-10, 10, (*size, 1))
    return (np.stack(channels, axis=2) + texture).astype(np.uint8)


@pytest.mark.parametrize("name", PHOTOMETRIC)
def test_severity_changes_more_pixels_more(name: str) -> None:
    image = coloured((240, 320))
    changes = np.array(
        [
            [np.abs(apply(name, image, strength, seed).astype(float) - image).mean() for strength in (1, 2, 3)]
            for seed in range(6)
        ]
    )
    mild, moderate, severe = changes.mean(axis=0)
    assert 0 < mild < moderate < severe


@pytest.mark.parametrize("name", PHOTOMETRIC)
def test_a_faint_shift_is_nearly_the_image(name: str) -> None:
    image = coloured()
    change = np.abs(apply(name, image, 0.02).astype(float) - image)
    # JPEG and the way to hues and back round, even where they do nothing else
    assert change.mean() < 1.0


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", PHOTOMETRIC)
def test_size_and_type_stay_and_the_input_too(name: str, size: tuple[int, int]) -> None:
    for image in (coloured(size), coloured(size)[..., 0]):
        before = image.copy()
        shifted = apply(name, image, 3)
        assert (shifted.shape, shifted.dtype) == (image.shape, np.uint8)
        np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("name", COLOURS)
def test_shifts_of_colour_leave_grey_images(name: str) -> None:
    grey = coloured()[..., 0]
    np.testing.assert_array_equal(apply(name, grey, 3), grey)
    equal = grey[..., None].repeat(3, axis=2)
    np.testing.assert_array_equal(apply(name, equal, 3), equal)


@pytest.mark.parametrize("name", ["gaussian_blur", "motion_blur", "defocus", "jpeg", "contrast", "brightness"])
@pytest.mark.parametrize("level", [0, 60, 255])
def test_even_images_stay_even_to_their_borders(name: str, level: int) -> None:
    image = np.full((50, 70), level, np.uint8)
    for seed in range(3):
        shifted = apply(name, image, 3, seed)
        assert shifted.min() == shifted.max()
        if name not in ("brightness", "jpeg"):  # JPEG rounds the level of a whole block
            np.testing.assert_array_equal(shifted, image)


@pytest.mark.parametrize(("name", "sides"), [("motion_blur", (1, 4)), ("defocus", (2, 2))])
def test_a_blurred_point_is_a_line_or_a_disc_of_the_same_light(name: str, sides: tuple[int, int]) -> None:
    image = np.zeros((200, 200), np.uint8)
    image[90:110, 90:110] = 250
    light = apply(name, image, 3).astype(float)
    assert light.sum() == pytest.approx(image.sum(), rel=0.005)
    covariance = np.cov(np.argwhere(light > 30).T)
    small, large = np.sqrt(np.linalg.eigvalsh(covariance))
    ratio = large / small
    assert ratio > 1.1 if sides[0] != sides[1] else ratio < 1.02


@pytest.mark.parametrize("name", ["motion_blur", "defocus"])
def test_focus_and_motion_mean_the_same_at_every_size(name: str) -> None:
    """Their amounts are shares of the image: twice the image, twice the blur."""
    widths = []
    for size in (100, 200, 400):
        image = np.zeros((size, size), np.uint8)
        image[size // 2 :, :] = 200
        profile = apply(name, image, 3, seed=3)[:, size // 2].astype(float)
        widths.append(np.count_nonzero((profile > 2) & (profile < 198)) / size)
    assert max(widths) - min(widths) < 0.025
    assert widths[0] > 0.01


def test_gaussian_noise_has_the_declared_spread_in_each_channel() -> None:
    image = np.full((200, 200, 3), 128, np.uint8)
    spreads = []
    for seed in range(30):
        noise = apply("gaussian_noise", image, 2, seed) / 255 - 128 / 255
        spreads.append(noise.std())
        assert abs(np.corrcoef(noise.reshape(-1, 3).T)[0, 1]) < 0.05
    assert 0.01 - 0.001 < min(spreads) < 0.02 < 0.04 < max(spreads) < 0.05 + 0.001


def test_shot_noise_grows_with_the_root_of_the_light() -> None:
    spreads = {level: apply("shot_noise", np.full((200, 200), level, np.uint8), 2, seed=1).std() for level in (40, 160)}
    assert spreads[160] == pytest.approx(2 * spreads[40], rel=0.03)


def test_dead_pixels_stay_dead_as_their_share_grows() -> None:
    image = np.full((200, 300, 3), 100, np.uint8)
    dead = []
    for strength, (low, high) in zip((1, 2, 3), ((0.001, 0.005), (0.005, 0.015), (0.015, 0.04)), strict=True):
        noisy = apply("salt_and_pepper", image, strength)
        assert set(np.unique(noisy)) == {0, 100, 255}
        dead.append((noisy != 100).any(axis=2))
        assert 0.8 * low < dead[-1].mean() < 1.2 * high
    assert (dead[0] <= dead[1]).all()
    assert (dead[1] <= dead[2]).all()


def test_noise_of_another_severity_is_the_same_noise_scaled() -> None:
    image = np.full((100, 100), 128, np.uint8)
    for name in ("gaussian_noise", "shot_noise"):
        mild, severe = (apply(name, image, strength).astype(float).ravel() - 128 for strength in (2, 3))
        assert np.corrcoef(mild, severe)[0, 1] > 0.98


def test_vignetting_darkens_corners_and_leaves_the_middle() -> None:
    image = np.full((101, 151), 200, np.uint8)
    shifted = apply("vignetting", image, 2)
    assert shifted[50, 75] == 200
    corners = shifted[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == corners[0]).all()
    assert 0.48 < corners[0] / 200 < 0.77
    assert (np.diff(shifted[50, 75:].astype(int)) <= 0).all()


def test_an_illumination_gradient_is_linear_and_keeps_the_mean() -> None:
    image = np.full((80, 120), 100, np.uint8)
    shifted = apply("illumination", image, 2).astype(float)
    assert shifted.mean() == pytest.approx(100, abs=0.5)
    assert 20 <= shifted.max() - 100 <= 41
    # a plane: rounding apart, every row is the first one, raised
    steps = shifted - shifted[:, :1] - (shifted[:1] - shifted[0, 0])
    assert np.abs(steps).max() <= 2


def test_hues_turn_and_lightness_stays() -> None:
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 200
    turned = PHOTOMETRIC["hue"](red, (120, 120), np.random.default_rng(0))
    assert np.abs(turned[0, 0].astype(int) - [0, 200, 0]).max() <= 5
