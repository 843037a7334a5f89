import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import distance_transform_edt
from threadpoolctl import threadpool_limits

from patchshift.data import demo
from patchshift.data.demo.canvas import Canvas, path_distance, ramp
from patchshift.data.demo.pose import Pose
from patchshift.errors import UserError
from patchshift.plan.data_specs import GeneratorSpec

TINY = GeneratorSpec(train_good=2, test_good=1, test_per_defect=1)
DEFECTS = [(category, defect) for category in demo.CATEGORIES for defect in demo.defect_types(category)]


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def defective(category: str, defect: str, number: int) -> demo.Photograph:
    return demo.take_photograph(category, f"test/{defect}", number, seed=3, image_size=256)


@pytest.fixture(scope="module")
def photographs() -> dict[tuple[str, str], list[demo.Photograph]]:
    return {pair: [defective(*pair, number) for number in range(2)] for pair in DEFECTS}


@pytest.mark.parametrize("category", demo.CATEGORIES)
def test_layout_is_that_of_mvtec_ad(category: str, tmp_path: Path) -> None:
    demo.generate_category(category, tmp_path, TINY)
    expected = {"train/good/000.png", "train/good/001.png", "test/good/000.png"}
    for defect in demo.defect_types(category):
        expected |= {f"test/{defect}/000.png", f"ground_truth/{defect}/000_mask.png"}
    assert set(digests(tmp_path)) == expected
    for name in expected:
        image = Image.open(tmp_path / name)
        assert image.size == (256, 256)
        assert image.mode == ("L" if name.endswith("_mask.png") else "RGB")
        if image.mode == "L":
            assert set(np.unique(np.asarray(image))) == {0, 255}


def test_generating_again_gives_the_same_bytes_for_any_number_of_threads(tmp_path: Path) -> None:
    for threads in (1, 2):
        with threadpool_limits(threads):
            demo.generate_category("connector", tmp_path / str(threads), TINY)
    assert digests(tmp_path / "1") == digests(tmp_path / "2")


def test_asking_for_more_images_changes_no_other(tmp_path: Path) -> None:
    demo.generate_category("weave", tmp_path / "few", TINY)
    more = TINY.model_copy(update={"train_good": 4, "test_good": 2, "test_per_defect": 2})
    demo.generate_category("weave", tmp_path / "more", more)
    few, many = digests(tmp_path / "few"), digests(tmp_path / "more")
    assert len(many) > len(few)
    assert few.items() <= many.items()


def test_all_images_differ(tmp_path: Path) -> None:
    for category in demo.CATEGORIES:
        demo.generate_category(category, tmp_path / category, TINY)
    assert len(set(digests(tmp_path).values())) == len(digests(tmp_path))


def test_another_seed_gives_other_images() -> None:
    first, second = (
        demo.take_photograph("casting", "train/good", 0, seed=seed, image_size=256).image for seed in (0, 1)
    )
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("category", demo.CATEGORIES)
def test_every_category_has_four_or_more_defect_types(category: str) -> None:
    assert len(demo.defect_types(category)) >= 4


@pytest.mark.parametrize(("category", "defect"), DEFECTS)
def test_the_mask_is_where_the_image_differs_from_its_sound_twin(
    category: str, defect: str, photographs: dict[tuple[str, str], list[demo.Photograph]]
) -> None:
    for photograph in photographs[category, defect]:
        difference = np.abs(photograph.image.astype(int) - photograph.sound.astype(int)).max(axis=2)
        outside = difference[~photograph.mask]
        # Two levels more than VISIBLE: rounding of either image, and specks of less than SMALLEST_MASK pixels.
        assert np.mean(outside <= demo.VISIBLE + 2) > 0.9998
        assert outside.mean() < 0.1
        assert np.mean(difference[photograph.mask] >= demo.VISIBLE - 1) > 0.6


@pytest.mark.parametrize(("category", "defect"), DEFECTS)
def test_masks_are_not_empty_and_lie_in_few_regions(
    category: str, defect: str, photographs: dict[tuple[str, str], list[demo.Photograph]]
) -> None:
    for photograph in photographs[category, defect]:
        assert demo.SMALLEST_MASK <= photograph.mask.sum() < 0.25 * photograph.mask.size


def test_a_good_image_has_an_empty_mask_and_is_its_own_twin() -> None:
    photograph = demo.take_photograph("connector", "test/good", 0, seed=0, image_size=256)
    assert not photograph.mask.any()
    np.testing.assert_array_equal(photograph.image, photograph.sound)


def test_defects_range_from_a_few_pixels_to_large(
    photographs: dict[tuple[str, str], list[demo.Photograph]],
) -> None:
    areas = [photograph.mask.sum() for group in photographs.values() for photograph in group]
    assert min(areas) < 60
    assert max(areas) > 1500


@pytest.mark.parametrize("category", demo.CATEGORIES)
def test_images_are_neither_flat_nor_clipped(category: str) -> None:
    image = demo.take_photograph(category, "train/good", 0, seed=0, image_size=256).image
    assert image.std() > 10
    assert np.mean((image == 0) | (image == 255)) < 0.01


def test_a_larger_image_shows_the_same_scene() -> None:
    small, large = (
        demo.take_photograph("casting", "train/good", 0, seed=0, image_size=size).image for size in (256, 512)
    )
    shrunk = np.asarray(Image.fromarray(large).resize((256, 256), Image.Resampling.BOX)).astype(float)
    assert np.abs(shrunk - small).mean() < 4


def test_an_unknown_category_is_named_with_the_nearest_known_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'weav'.*did you mean 'weave'"):
        demo.generate_category("weav", tmp_path, TINY)


def test_path_distance_equals_the_distance_transform_of_the_drawn_path() -> None:
    canvas = Canvas(256)
    points = np.array([[-40, -30], [10, 5], [60, -20]], dtype=np.float32)
    distance, along = path_distance(canvas, points, reach=6)
    near = distance < 6
    drawn = distance_transform_edt(~(distance < 0.4)) * canvas.spacing
    np.testing.assert_allclose(distance[near], drawn[near], atol=0.9)
    x, _ = canvas.grid()
    assert along[near & (x < -38)].max() < 0.1
    assert along[near & (x > 58)].min() > 0.9


def test_a_ramp_runs_from_start_to_stop_either_way() -> None:
    values = np.linspace(-2, 2, 9, dtype=np.float32)
    np.testing.assert_allclose(ramp(values, -1, 1) + ramp(values, 1, -1), 1, atol=1e-6)
    assert ramp(values, -1, 1)[[0, -1]].tolist() == [0, 1]


def test_a_pose_maps_a_point_of_the_piece_to_where_the_frame_has_its_coordinates() -> None:
    canvas, pose = Canvas(256), Pose(3 - 5j, 0.3, 1.1)
    x, y = pose.frame(canvas)
    column, row = ((np.array(pose.to_image(20 + 30j)) + 128) / canvas.spacing - 0.5).round().astype(int)
    assert abs(x[row, column] - 20) < canvas.spacing
    assert abs(y[row, column] - 30) < canvas.spacing
