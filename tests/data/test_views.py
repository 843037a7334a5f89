"""Views: as torchvision resizes and cuts, to the pixel."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from patchshift.data import workers
from patchshift.data.adapters import index_images
from patchshift.data.images import read_image, read_mask
from patchshift.data.index import ImageRow, read_index
from patchshift.data.shifts import synthesize_shift
from patchshift.data.shifts.views import cut_view
from patchshift.plan.domain_specs import DomainSpec, ViewSpec
from patchshift.runtime.torchvision_guard import make_torchvision_importable

make_torchvision_importable()

from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize  # noqa: E402

MakeTree = Callable[..., Path]

PUBLISHED = ViewSpec(short_side=256, centre_crop=224)
SMALL = DomainSpec(view=ViewSpec(short_side=40, centre_crop=33))  # an odd rest: halves are rounded
SIZES = [(1024, 1024), (700, 900), (900, 700), (256, 256), (257, 256), (300, 301), (63, 230), (224, 391), (100, 100)]


def index(root: Path) -> list[ImageRow]:
    return index_images(root, "mvtec_ad", dataset="mine", masks="required", max_per_class=None)


def picture(size: tuple[int, int], *channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, *channels), np.uint8)


def torchvision_view(pixels: np.ndarray, spec: ViewSpec, mode: InterpolationMode) -> np.ndarray:
    return np.asarray(Compose([Resize(spec.short_side, mode), CenterCrop(spec.centre_crop)])(Image.fromarray(pixels)))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [(3,), ()], ids=["colour", "grey"])
@pytest.mark.parametrize("spec", [PUBLISHED, ViewSpec(short_side=101, centre_crop=64)], ids=["published", "odd"])
def test_an_image_is_what_torchvision_makes_of_it(
    size: tuple[int, int], channels: tuple[int, ...], spec: ViewSpec
) -> None:
    image = picture(size, *channels)
    mask = picture(size) > 200
    seen, (cut,) = cut_view(image, [mask], spec)
    np.testing.assert_array_equal(seen, torchvision_view(image, spec, InterpolationMode.BILINEAR))
    expected = torchvision_view(mask.astype(np.uint8), spec, InterpolationMode.NEAREST)
    np.testing.assert_array_equal(cut, expected > 0)
    assert seen.shape == (spec.centre_crop, spec.centre_crop, *channels)
    assert (seen.dtype, cut.dtype) == (np.uint8, np.bool_)


def test_a_grey_image_is_the_same_in_one_channel_and_in_three() -> None:
    image = picture((90, 70))
    spec = ViewSpec(short_side=64, centre_crop=50)
    three, _ = cut_view(image[..., None].repeat(3, axis=2), [], spec)
    np.testing.assert_array_equal(three, cut_view(image, [], spec)[0][..., None].repeat(3, axis=2))


def test_a_defect_too_small_for_nearest_neighbours_stays_marked_where_it_is() -> None:
    """Of 4 x 4 pixels of the original one is taken: else three in four lines of one pixel would be gone."""
    spec = ViewSpec(short_side=32, centre_crop=32)
    for row in range(60, 68):
        mask = np.zeros((128, 128), bool)
        mask[row, 80] = True
        _, (cut,) = cut_view(picture((128, 128)), [mask], spec)
        assert np.argwhere(cut).tolist() == [[row // 4, 20]]


def test_a_defect_outside_the_frame_marks_nothing_however_small() -> None:
    spec = ViewSpec(short_side=64, centre_crop=32)
    for corner in (0, 63):
        mask = np.zeros((128, 128), bool)
        mask[corner // 2, 80] = True
        assert not cut_view(picture((128, 128)), [mask], spec)[1][0].any()


def test_a_view_is_a_domain_with_all_images_and_masks(tmp_path: Path, make_mvtec_ad: MakeTree) -> None:
    root = make_mvtec_ad(size=(60, 80))
    ignore = np.zeros((60, 80), bool)
    ignore[:20] = True
    Image.fromarray(ignore).save(root / "ignore.png")
    rows = [replace(row, ignore="ignore.png") for row in index(root)]
    synthesize_shift(rows, root, SMALL, tmp_path / "domain")
    made = read_index(tmp_path / "domain" / "index.csv")
    assert [(row.key, row.label, row.defect) for row in made] == [(row.key, row.label, row.defect) for row in rows]
    for before, after in zip(rows, made, strict=True):
        original = read_image(root / before.image)
        expected = torchvision_view(original, SMALL.view, InterpolationMode.BILINEAR)
        np.testing.assert_array_equal(read_image(tmp_path / "domain" / after.image), expected)
        for name in ("mask", "ignore"):
            if getattr(before, name):
                mask = read_mask(root / getattr(before, name)).astype(np.uint8)
                expected = torchvision_view(mask, SMALL.view, InterpolationMode.NEAREST)
                np.testing.assert_array_equal(read_mask(tmp_path / "domain" / getattr(after, name)), expected > 0)


def test_the_number_of_workers_changes_nothing(
    tmp_path: Path, make_mvtec_ad: MakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "WORTH_SECONDS", 0)
    root = make_mvtec_ad(size=(60, 80))
    for count in (1, 2):
        synthesize_shift(index(root), root, SMALL, tmp_path / str(count), workers=count)
    first, second = (
        {path.relative_to(tmp_path / count): path.read_bytes() for path in (tmp_path / count).rglob("*.*")}
        for count in ("1", "2")
    )
    assert first == second
    assert len(first) == 13 + 5 + 1


def test_an_image_whose_defect_is_cut_away_counts_as_normal(
    tmp_path: Path, make_mvtec_ad: MakeTree, caplog: pytest.LogCaptureFixture
) -> None:
    """The label of an image is that of what is to be seen, as after a shift."""
    root = make_mvtec_ad({"crack": 3}, size=(60, 80))
    frame = [(slice(0, 60), slice(0, 8)), (slice(20, 40), slice(0, 40)), (slice(20, 40), slice(0, 26))]
    for number, marked in enumerate(frame):  # the frame begins at column 15
        mask = np.zeros((60, 80), np.uint8)
        mask[marked] = 255
        Image.fromarray(mask).save(root / f"ground_truth/crack/{number:03d}_mask.png")
    with caplog.at_level(logging.INFO):
        synthesize_shift(index(root), root, SMALL, tmp_path / "domain")
    cracks = [row for row in read_index(tmp_path / "domain" / "index.csv") if "crack" in row.key]
    assert [(row.label, row.defect, bool(row.mask)) for row in cracks] == [(0, "", False), *[(1, "crack", True)] * 2]
    assert caplog.messages[-2:] == [
        "1 image lost its defect, which left the frame, and counts as normal here: test/crack/000.png",
        "1 images show less than half of their defect's area",
    ]
