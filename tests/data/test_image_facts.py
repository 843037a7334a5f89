import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from patchshift.data.image_facts import DEFECT_FACTS, FACTS, IMAGE_FACTS, measure_facts

SIDES = st.tuples(st.integers(3, 30), st.integers(3, 30))


def grey(luminance: np.ndarray) -> np.ndarray:
    return np.repeat(luminance.astype(np.uint8)[..., None], 3, axis=2)


@given(SIDES, st.integers(0, 99), st.booleans())
def test_light_and_sharpness_are_those_of_the_pixels_that_are_not_ignored(
    size: tuple[int, int], seed: int, ignoring: bool
) -> None:
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (*size, 3), dtype=np.uint8)
    ignore = random.random(size) < 0.3 if ignoring else np.zeros(size, bool)
    ignore[1, 1] = False
    facts = measure_facts(image, None, ignore if ignoring else None)
    luminance = np.asarray(Image.fromarray(image).convert("L"), np.float64) / 255
    laplacian = ndimage.laplace(luminance)[1:-1, 1:-1]
    assert facts["brightness"] == pytest.approx(luminance[~ignore].mean())
    assert facts["contrast"] == pytest.approx(luminance[~ignore].std())
    assert facts["sharpness"] == pytest.approx(laplacian[~ignore[1:-1, 1:-1]].var())


def test_luminance_weighs_colours_as_rec_601() -> None:
    green = np.zeros((4, 4, 3), np.uint8)
    green[..., 1] = 255
    assert measure_facts(green, None, None)["brightness"] == pytest.approx(0.587, abs=0.5 / 255)


def test_a_sharper_image_is_sharper_and_a_flat_one_has_no_contrast() -> None:
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (40, 40)).astype(float)
    sharp, soft, flat = (
        measure_facts(grey(picture), None, None)
        for picture in (noise, ndimage.gaussian_filter(noise, 2), np.full((40, 40), 90.0))
    )
    assert sharp["sharpness"] > 10 * soft["sharpness"] > 0
    assert (flat["contrast"], flat["sharpness"]) == (0.0, 0.0)


def test_facts_of_a_defect_are_those_of_its_pixels() -> None:
    luminance = np.full((50, 100), 100)
    mask = np.zeros((50, 100), bool)
    mask[10:14, 70:80] = True
    mask[14, 80] = True  # touches by a corner: one region
    mask[30, 20] = True
    luminance[mask] = 151
    facts = measure_facts(grey(luminance), mask, None)
    assert facts["defect_area"] == 42 / 5000
    assert facts["defect_regions"] == 2
    assert facts["defect_contrast"] == pytest.approx(51 / 255)
    rows, columns = np.nonzero(mask)
    assert facts["defect_row"] == pytest.approx((rows.mean() + 0.5) / 50)
    assert facts["defect_column"] == pytest.approx((columns.mean() + 0.5) / 100)
    assert facts["border_distance"] == 10 / 50


@pytest.mark.parametrize(
    ("rows", "columns", "distance"),
    [((0, 2), (9, 12), 0), ((5, 6), (29, 30), 0), ((17, 18), (8, 9), 2), ((8, 9), (3, 9), 3)],
)
def test_the_border_distance_is_that_of_the_nearest_pixel(
    rows: tuple[int, int], columns: tuple[int, int], distance: int
) -> None:
    mask = np.zeros((20, 30), bool)
    mask[slice(*rows), slice(*columns)] = True
    assert measure_facts(grey(np.zeros((20, 30))), mask, None)["border_distance"] == distance / 20


@given(SIDES, st.integers(0, 99))
def test_contrast_is_against_a_ring_around_the_defect(size: tuple[int, int], seed: int) -> None:
    random = np.random.default_rng(seed)
    luminance, mask = random.integers(0, 256, size), random.random(size) < 0.05
    ignore = random.random(size) < 0.2
    mask[0, 0], ignore[0, 0] = True, False
    defect = mask & ~ignore
    ring = ndimage.binary_dilation(defect, np.ones((5, 5))) & ~mask & ~ignore  # two pixels: the image is small
    found = measure_facts(grey(luminance), mask, ignore)["defect_contrast"]
    if ring.any():
        assert found == pytest.approx(abs(luminance[defect].mean() - luminance[ring].mean()) / 255)
    else:
        assert math.isnan(found)


def test_the_ring_grows_with_the_image() -> None:
    luminance, mask = np.zeros((400, 500)), np.zeros((400, 500), bool)
    mask[200, 250] = True
    luminance[192:209, 242:259] = 255  # eight pixels around it: 2 % of the shorter side
    assert measure_facts(grey(luminance), mask, None)["defect_contrast"] == 0
    luminance[191] = 255
    assert measure_facts(grey(luminance), mask, None)["defect_contrast"] == 0
    luminance[192, 242] = 0
    assert measure_facts(grey(luminance), mask, None)["defect_contrast"] > 0


def test_what_is_ignored_of_a_defect_is_none() -> None:
    mask, ignore = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    mask[5:7, 5:15] = True
    ignore[:, 8:] = True
    facts = measure_facts(grey(np.arange(400).reshape(20, 20) % 200), mask, ignore)
    assert facts["defect_area"] == 6 / 400
    assert facts["defect_column"] == pytest.approx(7 / 20 - 0.5 / 20)


def test_an_image_without_a_visible_defect_has_no_facts_of_one() -> None:
    image, mask, all_of_it = grey(np.zeros((8, 8))), np.zeros((8, 8), bool), np.ones((8, 8), bool)
    for facts in (
        measure_facts(image, None, None), measure_facts(image, mask, None), measure_facts(image, all_of_it, all_of_it)
    ):  # fmt: skip
        assert tuple(facts) == FACTS
        assert all(math.isnan(facts[name]) for name in DEFECT_FACTS)
    assert all(math.isnan(facts[name]) for name in IMAGE_FACTS)


def test_a_defect_that_fills_its_image_has_no_ring_and_a_tiny_image_no_sharpness() -> None:
    facts = measure_facts(grey(np.zeros((2, 9))), np.ones((2, 9), bool), None)
    assert (facts["defect_area"], facts["border_distance"]) == (1.0, 0.0)
    assert math.isnan(facts["defect_contrast"])
    assert math.isnan(facts["sharpness"])
