"""One image under a shift: what all transforms and compositions have in common."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchshift.data.shifts import shift_image
from patchshift.data.shifts.geometric import GEOMETRIC
from patchshift.data.shifts.photometric import PHOTOMETRIC
from patchshift.plan.domain_specs import COMPOSITIONS, DomainSpec

DIGESTS = [f"{number:064x}" for number in range(4)]
SHIFTS = [*GEOMETRIC, *PHOTOMETRIC, *COMPOSITIONS]
COLOURS = ("saturation", "hue")


def spec(shift: str | list[str], severity: str | float = "moderate", seed: int = 0) -> DomainSpec:
    return DomainSpec.model_validate({"shift": shift, "severity": severity, "seed": seed})


def picture(size: tuple[int, int] = (120, 160)) -> tuple[np.ndarray, np.ndarray]:
    """Textured colours and a mask."""
    random = np.random.default_rng(1)
    mask = np.zeros(size, bool)
    mask[20:45, 30:70] = True
    image = random.integers(60, 180, (*size, 3), np.uint8)
    image[mask] = (220, 90, 60)
    return image, mask


@pytest.mark.parametrize("shift", SHIFTS)
def test_an_image_draws_from_its_own_stream(shift: str) -> None:
    image, mask = picture()
    first, again = (shift_image(image, [mask], DIGESTS[0], spec(shift))[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    for digest, seed in ((DIGESTS[1], 0), (DIGESTS[0], 1)):
        assert not np.array_equal(first, shift_image(image, [mask], digest, spec(shift, seed=seed))[0])


@pytest.mark.parametrize("shift", SHIFTS)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1))
@settings(max_examples=10, deadline=None)
def test_severity_0_is_the_image(shift: str, height: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    image, mask = random.integers(0, 256, (height, width, 3), np.uint8), random.random((height, width)) < 0.5
    shifted, (moved,) = shift_image(image, [mask], DIGESTS[0], spec(shift, 0.0, seed))
    np.testing.assert_array_equal(shifted, image)
    np.testing.assert_array_equal(moved, mask)


@pytest.mark.parametrize("size", [(1, 1), (17, 231), (230, 63)])
@pytest.mark.parametrize("shift", SHIFTS)
def test_size_and_type_stay(shift: str, size: tuple[int, int]) -> None:
    image, mask = picture(size)
    shifted, (moved,) = shift_image(image, [mask], DIGESTS[0], spec(shift, "severe"))
    assert (shifted.shape, shifted.dtype, moved.shape, moved.dtype) == (image.shape, np.uint8, mask.shape, np.bool_)


@pytest.mark.parametrize("shift", [*GEOMETRIC, "geometric", "mixed"])
def test_all_masks_move_alike(shift: str) -> None:
    image, mask = picture()
    other = np.zeros_like(mask)
    other[:30, :50] = True
    domain = spec(shift, "severe")
    _, moved = shift_image(image, [mask, other], DIGESTS[1], domain)
    for one, alone in zip(moved, (mask, other), strict=True):
        np.testing.assert_array_equal(one, shift_image(image, [alone], DIGESTS[1], domain)[1][0])
        assert not np.array_equal(one, alone)


@pytest.mark.parametrize("shift", [*PHOTOMETRIC, "photometric"])
def test_photometric_shifts_leave_masks(shift: str) -> None:
    image, mask = picture()
    shifted, (moved,) = shift_image(image, [mask], DIGESTS[0], spec(shift))
    np.testing.assert_array_equal(moved, mask)
    assert not np.array_equal(shifted, image)


@pytest.mark.parametrize("shift", SHIFTS)
def test_grey_stays_grey(shift: str) -> None:
    image, mask = picture()
    grey = image[..., :1].repeat(3, axis=2)
    shifted, _ = shift_image(grey, [mask], DIGESTS[0], spec(shift, "severe"))
    assert (shifted == shifted[..., :1]).all()
    assert np.array_equal(shifted, grey) == (shift in COLOURS)


@pytest.mark.parametrize("level", [0, 128, 255])
def test_an_even_image_has_no_border_after_all_geometric_transforms_and_blurs(level: int) -> None:
    image = np.full((61, 90, 3), level, np.uint8)
    everything = spec([*GEOMETRIC, "gaussian_blur", "motion_blur", "defocus"], "severe")
    for digest in DIGESTS:
        shifted, (moved,) = shift_image(image, [np.ones((61, 90), bool)], digest, everything)
        assert shifted.min() == shifted.max() == level
        assert moved.all()


def test_geometric_transforms_come_first_and_a_transform_draws_the_same_in_company() -> None:
    image, mask = picture()
    digest = DIGESTS[0]
    together, (moved,) = shift_image(image, [mask], digest, spec(["contrast", "rotation", "shot_noise"]))
    turned, (turned_mask,) = shift_image(image, [mask], digest, spec("rotation"))
    contrasted, _ = shift_image(turned, [mask], digest, spec("contrast"))
    expected, _ = shift_image(contrasted, [mask], digest, spec("shot_noise"))
    np.testing.assert_array_equal(together, expected)
    np.testing.assert_array_equal(moved, turned_mask)


def test_photometric_transforms_keep_their_order() -> None:
    image, mask = picture()
    one, other = (
        shift_image(image, [mask], DIGESTS[0], spec(names))[0]
        for names in (["gaussian_noise", "gaussian_blur"], ["gaussian_blur", "gaussian_noise"])
    )
    steps = [np.abs(np.diff(shifted.astype(float), axis=1)).mean() for shifted in (one, other)]
    assert steps[0] < steps[1]


@pytest.mark.parametrize("shift", COMPOSITIONS)
def test_a_composition_is_the_list_of_its_transforms(shift: str) -> None:
    image, mask = picture()
    named, listed = (shift_image(image, [mask], DIGESTS[0], spec(what))[0] for what in (shift, COMPOSITIONS[shift]))
    np.testing.assert_array_equal(named, listed)
